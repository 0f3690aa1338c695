#!/usr/bin/env python3
"""Try the built extension in a real Blender, its window included, on a machine without a screen.

    python3 tools/real_blender.py                 install the zip, run tests/gui without and with a window
    python3 tools/real_blender.py -- ARGUMENTS    only run that Blender: -- -b --version

A Debian 13 folder in .env/ gets Debian's Blender, Xvfb and xdotool (once, about
2 GB); nothing is installed on the machine itself. Needs root and Debian.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build
import env

ROOT = env.ROOT
PACKAGES = (
    "blender xvfb xauth xdotool imagemagick libgl1 libglx-mesa0 libegl1 libegl-mesa0 libgl1-mesa-dri mesa-vulkan-drivers "
    "python3-numpy python3-requests python3-zstandard python3-pytest fonts-dejavu-core"
).split()
MARK = env.TRIXIE / "blender-made"
WORK = env.ENVIRONMENTS / "real-blender"
"""Blender's profile, the projects that the tests make, their screenshots."""
SCREEN = (1600, 1000)


def make():
    """Install Blender into the Debian folder, which is made if needed."""
    if MARK.exists():
        return
    env.make_trixie()
    env.say("Installing Blender into the Debian 13 folder (once, about 2 GB).")
    quiet = ["/usr/bin/env", "DEBIAN_FRONTEND=noninteractive"]
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *PACKAGES]):
        env.call(*env.inside("/usr/bin/env"), *quiet[1:], "/usr/bin/apt-get", *arguments)
    MARK.touch()


def inside(program) -> list[str]:
    """As `env.inside`, with the machine's own root folder at /host, for the training environment that lies there."""
    script = f"mkdir -p {env.TRIXIE}/host; mount --rbind / {env.TRIXIE}/host; exec \"$0\" \"$@\""
    return ["unshare", "--mount", "sh", "-c", script, *env.inside(program)]


def training_python() -> Path:
    """The training environment's Python as a command inside."""
    wrapper = WORK / "training-python"
    wrapper.write_text(f'#!/bin/sh\nexec chroot /host {env.ensure("learn")} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def run(*command, **options) -> subprocess.CompletedProcess:
    """Run a command inside, with a profile of its own."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_"))},
        "BLENDER_USER_RESOURCES": str(WORK / "profile"),
        "NANOSYNTH_SHOTS": str(WORK / "shots"),
        "HOME": str(WORK),
        "LANG": "C.UTF-8",
        "LIBGL_ALWAYS_SOFTWARE": "1",
    }
    return subprocess.run([*inside(command[0]), *map(str, command[1:])], cwd=ROOT, env={**variables, **options.pop("variables", {})}, **options)


def blender(*arguments, window=False, **options):
    if window:
        screen = f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24"
        return run("/usr/bin/xvfb-run", "-a", "-s", screen, "/usr/bin/blender", "-p", 0, 0, *SCREEN, *arguments, **options)
    return run("/usr/bin/blender", "-b", *arguments, **options)


def install(package):
    """Install the zip into a new profile."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "shots").mkdir(parents=True)
    (WORK / "profile").mkdir()
    if run("/usr/bin/blender", "--command", "extension", "install-file", "-r", "user_default", "-e", package).returncode:
        raise env.Failure("The extension could not be installed in Blender; see above.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("background", "window"), help="leave the other test out")
    parser.add_argument("--keep", action="store_true", help="keep the installed extension and profile of the last time")
    parser.add_argument("blender", nargs="*", metavar="ARGUMENT", help="after --: arguments of that Blender")
    arguments = parser.parse_args()
    make()
    if arguments.blender:
        return run("/usr/bin/blender", *arguments.blender).returncode
    if not arguments.keep:
        install(build.build(["linux-x64"])[0])
    learn = {"NANOSYNTH_LEARN_PYTHON": str(training_python())}
    tests = ROOT / "tests" / "gui"
    failed = []
    if arguments.only != "window" and blender("--python-exit-code", 9, "--python", tests / "headless.py", variables=learn).returncode:
        failed.append("without a window")
    if arguments.only != "background" and blender("--python", tests / "driver.py", window=True, variables=learn).returncode:
        failed.append("with a window")
    print(f"Screenshots are in {WORK / 'shots'}.")
    print(f"FAILED {' and '.join(failed)}" if failed else "ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
