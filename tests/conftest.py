"""Loads the checkout as the package `nanosynth`, with the loader that `launch.py` uses."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("nanosynth_launch", ROOT / "launch.py")
launch = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(launch)
launch.load_package()


@pytest.fixture
def development_data():
    """The folder of annotated real micrographs that only developers have."""
    if not os.environ.get("NANOSYNTH_DATA"):
        pytest.skip("NANOSYNTH_DATA does not name the folder of development images")
    return Path(os.environ["NANOSYNTH_DATA"])
