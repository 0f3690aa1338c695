"""The training environment: a virtual environment with TensorFlow, made from the pinned requirements.

Plain Python, so that any Python from 3.11 on, Blender's own too, can make one
for itself. It is built beside its place and renamed at the end: it is there
whole or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import NanosynthError, explained
from ..reporting import Reporter
from . import child

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements" / "learn.txt"
TEST_TOOLS = {"pytest", "pluggy", "iniconfig", "ruff", "pycocotools"}
"""Pinned there for the checkout's tests; nothing that trains or segments needs them."""
PYTHONS = ((3, 11), (3, 13))
"""The oldest and the newest Python that the pinned TensorFlow has wheels for."""
SIZE_GB = 2


def interpreter(folder) -> Path:
    """The Python of an environment."""
    return Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pinned(platform: str = sys.platform) -> list[str]:
    """The pinned packages, by the names that they have on this platform."""
    lines = [line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#") and re.split(r"[=<>@ ]", line)[0].lower() not in TEST_TOOLS]
    # TensorFlow has no package of its own for processors alone on macOS.
    return [line.replace("tensorflow_cpu", "tensorflow") if platform == "darwin" else line for line in wanted]


def make(folder, reporter: Reporter, python: str = sys.executable, requirements: list[str] | None = None):
    """Make the environment, or replace one that is there once the new one is whole.

    Parameters
    ----------
    folder : path-like
    reporter : Reporter
    python : str
        The Python that the environment is made of.
    requirements : list of str, optional
        Lines of pinned packages; by default those of the checkout's own training environment.

    Raises
    ------
    NanosynthError
        If the Python is not fit for it, the network does not answer, or the disk is full.
    KeyboardInterrupt
        With nothing left behind.
    """
    folder, requirements = Path(folder), pinned() if requirements is None else requirements
    part = folder.with_name(folder.name + ".part")
    reporter.started("environment", out=str(folder))
    _refuse_unfit(python)
    shutil.rmtree(part, ignore_errors=True)  # of one that was killed
    with explained(folder.parent):
        part.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(part.parent).free / 1e9
    if free < SIZE_GB + 1:  # what is fetched lies there packed, too
        raise NanosynthError(f"{part.parent}: {free:.1f} GB are free.", f"Making the training environment takes {SIZE_GB + 1} GB; free some space.")
    try:
        total = 2 * len(requirements) + 2
        reporter.progress(0, total, "making the folder")
        _run([python, "-m", "venv", str(part)], "A virtual environment could not be made.")
        listed = part / "requirements.txt"
        listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        pip = [
            str(interpreter(part)),
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar=off",
        ]
        fetched = 0

        def heard(line):
            nonlocal fetched
            found = re.match(r"(Collecting|Using cached|Downloading|Installing collected packages)[: ]+(\S+)", line)
            if not found:
                return
            if found[1] == "Installing collected packages":
                reporter.progress(2 * len(requirements), total, "installing")
            else:
                fetched = min(fetched + 1, total - 3)
                reporter.progress(fetched, total, f"fetching {re.split(r'[=<>-]', Path(found[2]).name)[0]}")

        _run([*pip, "-r", str(listed)], "The packages could not be installed.", heard)
        reporter.progress(total - 1, total, "putting it in place")
        former = folder.with_name(folder.name + ".old")
        shutil.rmtree(former, ignore_errors=True)
        with explained(folder):
            if folder.exists():
                folder.rename(former)
            part.rename(folder)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    reporter.done(out=str(folder), python=str(interpreter(folder)), text=f"The training environment is in {folder}.")


def _refuse_unfit(python):
    try:
        answer = subprocess.run(
            [python, "-c", "import ensurepip, sys, venv; print(*sys.version_info[:2])"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise NanosynthError(
            f"{python}: this Python does not run ({error.strerror}).", "Choose a training environment of your own."
        ) from error
    if answer.returncode:
        raise NanosynthError(
            f"{python}: this Python lacks venv or ensurepip.",
            "Install them (on Debian: python3-venv), or choose an environment of your own.",
        )
    version = tuple(map(int, answer.stdout.split()))
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        raise NanosynthError(
            f"{python} is Python {version[0]}.{version[1]}.",
            f"TensorFlow needs {PYTHONS[0][0]}.{PYTHONS[0][1]} to {PYTHONS[1][0]}.{PYTHONS[1][1]}; choose an environment of your own.",
        )


def _run(command, failure, heard=None):
    """Run a command, its output in the log; it ends with this process, whatever ends that."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables["PYTHONUNBUFFERED"] = "1"
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace", env=variables
    )  # fmt: skip
    child.AT_END.append(process.kill)
    tail = []
    try:
        for line in process.stdout:
            sys.stderr.write(line)
            tail = [*tail, line.strip()][-40:]
            if heard:
                heard(line.strip())
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        child.AT_END.remove(process.kill)
    if code:
        raise NanosynthError(failure, _why(tail))


def _why(lines) -> str:
    text = "\n".join(lines)
    if re.search(r"CERTIFICATE_VERIFY_FAILED", text):
        return "The package index's certificate is not trusted here. Behind a proxy, give pip its certificate (PIP_CERT), then try again."
    if re.search(
        r"NewConnectionError|NameResolutionError|ConnectionError|Temporary failure|Max retries|ProxyError|ReadTimeout|Network is unreachable",
        text,
    ):
        return "The package index does not answer. Check the network (and pip's settings, if you use a proxy), then try again."
    if re.search(r"No space left|ENOSPC|disk full", text, re.IGNORECASE):
        return "The disk is full. Free some space, then try again."
    if "from versions: none" in text:
        return "The package index does not answer, or has nothing for this Python and system. Check the network (and pip's settings), then try again."
    told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or [line for line in lines if line][-2:]
    return " ".join(told)[:400] or "It gave no reason."
