"""Everything that must hold before a change lands; `make test` runs this.

Runs every step even after a failure, closes with one summary, and exits
non-zero if any step failed or ran no test.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build
import env

ROOT = env.ROOT
BLENDERS = ["bpy-4.2", "bpy-4.5"]
MORE_BLENDERS = ["bpy-5.0", "bpy-5.2"]


@dataclass
class Result:
    name: str
    ok: bool
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def run(name, python, *arguments, variables=None) -> Result:
    """Run one step; a pytest step counts its tests, and none that passed is a failure."""
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    variables = {**os.environ, "PYTHONPATH": "", **(variables or {})}
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        tests = arguments[0] == "pytest"
        extra = [f"--junitxml={report.name}"] if tests else []
        code = subprocess.run([str(python), "-m", *map(str, arguments), *extra], cwd=ROOT, env=variables).returncode
        result = Result(name, code == 0, time.monotonic() - start)
        if tests and Path(report.name).stat().st_size:
            suite = ElementTree.parse(report.name).getroot().find("testsuite").attrib
            result.skipped = int(suite["skipped"])
            result.failed = int(suite["failures"]) + int(suite["errors"])
            result.passed = int(suite["tests"]) - result.skipped - result.failed
    if tests and not result.passed:  # a step that skips everything has tested nothing
        result.ok = False
    if not result.ok:
        result.failed = max(result.failed, 1)
    return result


def steps(everything):
    learn = env.ensure("learn")
    yield run("lint", learn, "ruff", "check", "--quiet", ".")
    yield run("plain Python", learn, "pytest", "-q", "tests/core")
    yield run("training", learn, "pytest", "-q", "tests/learn", variables={"TF_CPP_MIN_LOG_LEVEL": "3"})
    package = build.build(["linux-x64"])[0]
    yield run("plain Python, oldest NumPy", env.ensure("bpy-4.2"), "pytest", "-q", "tests/core")
    for name in BLENDERS + (MORE_BLENDERS if everything else []):
        python = env.ensure(name)
        yield run(f"Blender, {name}", python, "pytest", "-q", "tests/bpy")
        yield run(f"extension zip, {name}", python, "pytest", "-q", "tests/blender", variables={"NANOSYNTH_ZIP": str(package)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help=f"also on {' and '.join(MORE_BLENDERS)}")
    # Started in the background, this process ignores Ctrl-C, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = list(steps(parser.parse_args().all))
    print("\n== summary")
    for r in results:
        print(f"{'ok    ' if r.ok else 'FAILED'} {r.name:<32} {r.seconds:6.0f} s   {r.passed} passed, {r.failed} failed, {r.skipped} skipped")
    total = {kind: sum(getattr(r, kind) for r in results) for kind in ("passed", "failed", "skipped")}
    print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
    return 0 if all(r.ok for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
