"""The built zip, installed into a clean profile and driven there."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def package():
    if "NANOSYNTH_ZIP" not in os.environ:
        pytest.skip("NANOSYNTH_ZIP does not name the built zip; make test builds it")
    return Path(os.environ["NANOSYNTH_ZIP"])


@pytest.fixture
def blender_only(tmp_path):
    """A folder with bpy and what it requires, so that the zip's own wheels are what is imported."""
    place = tmp_path / "packages"
    place.mkdir()
    waiting, seen = ["bpy"], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # required on other Pythons or platforms only
            continue
        for top in {Path(file).parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (place / top).exists():
                (place / top).symlink_to(distribution.locate_file(top))
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.match(r"[\w.-]+", requirement)[0].lower())
    return place


def test_install_and_drive(package, blender_only, tmp_path):
    driver = Path(__file__).with_name("drive_zip.py")
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "profile"), "PYTHONPATH": str(blender_only)}
    (tmp_path / "profile").mkdir()
    (tmp_path / "work").mkdir()
    run = subprocess.run(
        [sys.executable, "-S", str(driver), str(package), str(tmp_path / "work")],
        env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert run.returncode == 0 and run.stdout.rstrip().endswith("driven"), run.stdout + run.stderr


def test_contents(package):
    names = zipfile.ZipFile(package).namelist()
    wheels = [name for name in names if name.endswith(".whl")]
    assert not any("numpy" in name for name in wheels)
    for python in ("cp311", "cp313"):
        assert sum(f"-{python}-" in name for name in wheels) == 3, wheels
    roots = {name.split("/")[0] for name in names}
    assert roots.isdisjoint({"tests", "tools", "docs", "benchmarks", "examples", "pyproject.toml", "Makefile", "nanosynth"})
    assert [name for name in names if name.startswith("requirements/") and not name.endswith("/")] == ["requirements/learn.txt"]
    assert {"blender_manifest.toml", "__init__.py", "launch.py", "LICENSE", "presets"} <= roots
