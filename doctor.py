"""What this Python can run, and the command that mends what it cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from . import __version__
from .errors import NanosynthError
from .jobs.environment import interpreter

FOLDER = Path(__file__).resolve().parent
CORE = ("numpy", "scipy", "scikit-image", "imageio", "tifffile", "roifile", "tomli-w")
NEEDS = {
    "generate": "bpy",
    "match": "bpy",
    "train": "keras",
    "segment": "keras",
    "cross-validate": "keras",
    "compare": "keras",
    "analyse": "matplotlib",
    "report": "matplotlib",
    "select": "",
    "evaluate": "",
    "scale": "",
    "export": "",
}
"""Verb -> the package that decides which of the two Pythons runs it; none: both can."""
DISK_WANTED_GB = 5
TIME_LIMIT_S = 120


NESTED = "NANOSYNTH_NESTED"
"""The environment variable that tells a process that it is the training environment: it looks for no other, and so never for itself."""


def foreign_environment() -> dict:
    """The environment variables for the training environment, without those that tie a Python to its own packages."""
    own = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE")
    return {name: value for name, value in os.environ.items() if name not in own} | {NESTED: "1"}


def made_environment() -> Path | None:
    """Where the window makes the training environment; None outside Blender."""
    if "bpy" not in sys.modules:
        return None
    import bpy

    return Path(bpy.utils.user_resource("DATAFILES"), "nanosynth", "training")


def learn_python() -> Path | None:
    """The training environment's Python: the environment variable, the preference, the checkout's own, or the one that the window has made."""
    chosen = os.environ.get("NANOSYNTH_LEARN_PYTHON")
    if not chosen and "bpy" in sys.modules:
        from .registration import preferences

        chosen = getattr(preferences(), "learn_python", "")
    if chosen:
        return Path(chosen)
    own = FOLDER / ".env" / "learn" / "bin" / "python"
    if own.exists():
        return own
    made = made_environment()
    return interpreter(made) if made is not None and interpreter(made).exists() else None


def examine(folder=".", *, devices=True) -> dict:
    """Look at this Python.

    Parameters
    ----------
    folder : path-like
        Where the free disk space is measured.
    devices : bool
        Also ask Keras's backend or Cycles for their devices, which loads them.

    Returns
    -------
    dict
        `python`, `versions` (package -> version or None), `devices`, `disk_free_gb`,
        `learn_python`, `problems` (a list of `{"message", "remedy"}`) and `ok`: whether
        the verbs of this environment can run. JSON-serialisable.
    """
    versions = {"nanosynth": __version__, **{name: _version(name) for name in (*CORE, "tensorflow", "keras", "bpy")}}
    in_blender = importable("bpy")
    side = "bpy" if in_blender else "learn"
    problems = []
    missing = [name for name in CORE if versions[name] is None]
    if missing:
        problems.append({"message": f"Missing packages: {', '.join(missing)}.", "remedy": _remedy(side, missing)})
    found = {}
    if not in_blender:
        lacking = [name for name in dict.fromkeys(("keras", os.environ.get("KERAS_BACKEND", "tensorflow"))) if not importable(name)]
        if lacking:
            problems.append({"message": f"Training and segmenting need {' and '.join(lacking)}.", "remedy": _remedy(side, lacking)})
        elif devices:
            found = _learn_devices(problems)
    elif devices:
        found = _cycles_devices()
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_WANTED_GB:
        problems.append({"message": f"Only {free:.1f} GB free on this disk.", "remedy": "Free some space; 180 pairs and a run take about 3 GB."})
    outermost = in_blender and not os.environ.get(NESTED)
    learn = learn_python() if outermost else None
    findings = {
        "python": f"{platform.python_version()} ({sys.executable or 'inside Blender'})",
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions,
        "devices": found,
        "disk_free_gb": round(free, 1),
        "learn_python": None if learn is None else str(learn),
        "verbs": [verb for verb, package in NEEDS.items() if not package or (package == "bpy") == in_blender],
        "problems": problems,
        "ok": not problems,
    }
    if outermost and devices:
        findings["learn"] = examine_learn(learn)
    return findings


def examine_learn(python) -> dict:
    """Ask the training environment's own doctor; its verbs are not this Python's, so it never makes this one ill."""
    remedy = "Name its Python in the preferences or in NANOSYNTH_LEARN_PYTHON; 'docs/dependencies.md' tells how to make one."
    if python is None:
        return {"ok": False, "problems": [{"message": "No training environment is set.", "remedy": remedy}]}
    try:
        answer = subprocess.run(
            [str(python), str(FOLDER / "launch.py"), "doctor", "--json"],
            capture_output=True, text=True, timeout=TIME_LIMIT_S, env=foreign_environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        findings = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        return {"ok": False, "problems": [{"message": f"{python} did not answer ({error}).", "remedy": remedy}]}
    findings.pop("kind", None)
    return findings


def report(findings) -> str:
    """The findings for people."""
    lines = [f"Python       {findings['python']}", f"Platform     {findings['platform']}"]
    lines += [f"{name:<12} {version or 'missing'}" for name, version in findings["versions"].items() if version or name in CORE]
    lines += [f"{name:<12} {', '.join(found) or 'none'}" for name, found in findings["devices"].items()]
    lines.append(f"Free disk    {findings['disk_free_gb']} GB")
    lines += [f"Problem: {p['message']}\n  {p['remedy']}" for p in findings["problems"]]
    lines.append(f"{'Ready' if findings['ok'] else 'Not ready'} for: {', '.join(findings['verbs'])}.")
    if "learn" in findings:
        learn = findings["learn"]
        lines += ["", f"Training environment: {findings['learn_python'] or 'none'}"]
        lines += ["  " + line for line in (report(learn).splitlines() if "python" in learn else [])]
        if "python" not in learn:
            lines += [f"  Problem: {p['message']}\n    {p['remedy']}" for p in learn["problems"]]
    return "\n".join(lines)


def importable(name) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _version(name):
    for distribution in (name, f"{name}-cpu", f"{name}-macos"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    if name == "bpy" and "bpy" in sys.modules:  # inside the application there is no package to ask
        return sys.modules["bpy"].app.version_string
    return None


def _remedy(side, missing):
    if (FOLDER / "tools" / "env.py").exists():
        return f"Run: python3 tools/env.py {'bpy-4.5' if side == 'bpy' else 'learn'}"
    if side == "bpy":
        return "Install the extension's zip for this platform and this Blender again; it brings them."
    return f"Run: {sys.executable} -m pip install {' '.join(missing)}"


def _cycles_devices() -> dict:
    import bpy

    cycles = bpy.context.preferences.addons.get("cycles")
    if cycles is None:
        return {"Cycles": []}
    kinds = ["CPU", *(kind[0] for kind in cycles.preferences.get_device_types(bpy.context) if kind[0] != "NONE")]
    devices = [(device.type, device.name) for kind in kinds for device in cycles.preferences.get_devices_for_type(kind)]
    return {"Cycles": [f"{name} ({kind})" for kind, name in dict.fromkeys(devices)]}


def _learn_devices(problems) -> dict:
    from .learn.backend import load_keras, without_native_chatter

    try:
        with without_native_chatter():
            keras = load_keras()
            if keras.backend.backend() != "tensorflow":
                return {"Keras": [keras.backend.backend()]}
            import tensorflow

            devices = tensorflow.config.list_physical_devices()
    except NanosynthError as error:
        problems.append({"message": error.message, "remedy": _remedy("learn", ["--force-reinstall", "keras", "tensorflow"])})
        return {}
    return {"TensorFlow": [device.name.removeprefix("/physical_device:") for device in devices]}
