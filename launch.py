"""Run a Nanosynth verb in the Python that runs this file: `python launch.py VERB …`.

Outside Blender nothing else knows where the package is: this loads the folder
it lies in as the package `nanosynth`, whatever the folder is called.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def load_package():
    """Load this folder as the package `nanosynth`; a second call gives the same module."""
    if "nanosynth" not in sys.modules:
        spec = importlib.util.spec_from_file_location("nanosynth", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
        sys.modules["nanosynth"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["nanosynth"])
    return sys.modules["nanosynth"]


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are the package's, not top-level ones
    try:
        load_package()
        from nanosynth.cli import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before or after `main` could answer for it
        sys.stderr.write("nanosynth: interrupted. Run the same command again to go on.\n")
        sys.exit(130)
