#!/usr/bin/env python3
"""Try the built extension in a real Blender, its window included, on a machine without a screen.

    python3 tools/real_blender.py                 install the zip, run tests/gui without and with a window
    python3 tools/real_blender.py --release sid   the same in the Blender of Debian's unstable release
    python3 tools/real_blender.py --only guide    make the pictures of docs/guide.md (but the first and the eighth)
    python3 tools/real_blender.py -- ARGUMENTS    only run that Blender: -- -b --version

A Debian folder in .env/ gets Debian's Blender, Xvfb and xdotool (once, about
2 GB); nothing is installed on the machine itself. Needs root and Debian.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build
import env

ROOT = env.ROOT
PACKAGES = (
    "blender xvfb xauth xdotool imagemagick libgl1 libglx-mesa0 libegl1 libegl-mesa0 libgl1-mesa-dri mesa-vulkan-drivers "
    "python3-numpy python3-requests python3-zstandard python3-pytest fonts-dejavu-core"
).split()
INSTEAD_OF_WHEELS = "python3-cattr python3-scipy python3-skimage python3-pil".split()
SCREEN = (1600, 1000)
AFTER_S = 10.0
"""How soon after Blender's end everything that it had started has to be gone."""
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
WRONG = re.compile(r"Traceback|^Error:? |memory leak|Not freed memory|unregister_class|not registered|RNA_", re.MULTILINE)
"""What must not stand in Blender's log."""


@dataclass(frozen=True)
class Debian:
    """A Debian folder with its Blender.

    Attributes
    ----------
    release : str
    root : pathlib.Path
        The folder.
    work : pathlib.Path
        Blender's profile, the projects that the tests make, their screenshots.
    wheels : bool
        Whether its Blender has a Python that the zip has wheels for; else Debian's own packages take their place.
    """

    release: str
    root: Path
    work: Path
    wheels: bool = True

    def make(self):
        """Install Blender into the folder, which is made if needed."""
        mark = self.root / "blender-made"
        if mark.exists():
            return
        if self.root == env.TRIXIE:
            env.make_trixie()
        else:
            env.say(f"Making a folder with Debian's {self.release} (once).")
            env.make_debian(self.release, self.root)
        env.say(f"Installing Blender into the folder with Debian's {self.release} (once, about 2 GB).")
        # A mirror's copy of an unstable release may be older than the release allows.
        (self.root / "etc" / "apt" / "apt.conf.d" / "90age").write_text('Acquire::Check-Valid-Until "false";\n')
        wanted = PACKAGES if self.wheels else PACKAGES + INSTEAD_OF_WHEELS
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *wanted]):
            env.call(*env.inside("/usr/bin/env", self.root), "DEBIAN_FRONTEND=noninteractive", "/usr/bin/apt-get", *arguments)
        mark.touch()

    def inside(self, program) -> list[str]:
        """As `env.inside`, with the machine's own root folder at /host, for the training environment that lies there."""
        script = f"mkdir -p {self.root}/host; mount --rbind / {self.root}/host; exec \"$0\" \"$@\""
        return ["unshare", "--mount", "sh", "-c", script, *env.inside(program, self.root)]

    def training_python(self) -> Path:
        """The training environment's Python as a command inside."""
        wrapper = self.work / "training-python"
        wrapper.write_text(f'#!/bin/sh\nexec chroot /host {env.ensure("learn")} "$@"\n')
        wrapper.chmod(0o755)
        return wrapper

    def run(self, *command, variables=None, **options) -> subprocess.CompletedProcess:
        """Run a command inside, with a profile of its own."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_"))}
        variables = {
            **own,
            # The certificates that this machine trusts: pip is asked for packages in there, too.
            **{name: f"/host{own[name]}" for name in CERTIFICATES if Path(own.get(name, "")).is_file()},
            "BLENDER_USER_RESOURCES": str(self.work / "profile"),
            "NANOSYNTH_SHOTS": str(self.shots),
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            **(variables or {}),
        }
        return subprocess.run([*self.inside(command[0]), *map(str, command[1:])], cwd=ROOT, env=variables, **options)

    @property
    def shots(self) -> Path:
        """Where screenshots go; those of some parts of the walk leave those of a whole one alone."""
        return self.work / ("shots-of-parts" if os.environ.get("NANOSYNTH_WALK") else "shots")

    def walk(self, *command, variables) -> bool:
        """Run a Blender whose script has to end well, with a clean log, and with nothing left at work; True if so."""
        log = self.work / "log.txt"
        with open(log, "w+") as file:
            shown = subprocess.Popen(["tail", "-n", "+1", "-f", log])
            code = self.run(*command, variables=variables, stdout=file, stderr=subprocess.STDOUT).returncode
            time.sleep(1)
            shown.terminate()
            file.seek(0)
            wrong = [line for line in file if WRONG.search(line)]
        for line in wrong:
            print(f"In the log: {line.rstrip()}")
        left = self.left()
        for line in left:
            print(f"Still at work: {line}")
        return not (code or wrong or left)

    def left(self) -> list[str]:
        """Processes of this profile that outlive their Blender."""
        profile, found = f"BLENDER_USER_RESOURCES={self.work / 'profile'}\0".encode(), []
        end = time.monotonic() + AFTER_S
        while time.monotonic() < end:
            found = []
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if profile in (folder / "environ").read_bytes():
                        found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:  # it has ended meanwhile
                    continue
            if not found:
                break
            time.sleep(0.5)
        return found

    def install(self, package):
        """Install the zip into a new profile."""
        for left in self.work.iterdir() if self.work.exists() else ():
            if left == self.shots or not left.name.startswith("shots"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.shots.mkdir(parents=True, exist_ok=True)
        (self.work / "profile").mkdir()
        if self.run("/usr/bin/blender", "--command", "extension", "install-file", "-r", "user_default", "-e", package).returncode:
            raise env.Failure("The extension could not be installed in Blender; see above.")


RELEASES = {
    "trixie": Debian("trixie", env.TRIXIE, env.ENVIRONMENTS / "real-blender"),
    "sid": Debian("sid", env.ENVIRONMENTS / "sid", env.ENVIRONMENTS / "real-blender-sid", wheels=False),
}
"""Debian 13 has Blender 4.3; the unstable release has a newer one, with a newer Python."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", choices=tuple(RELEASES), default="trixie", help="Debian release whose Blender is taken (default: trixie)")
    parser.add_argument("--only", choices=("background", "window", "guide"), help="leave the others out")
    parser.add_argument("--keep", action="store_true", help="keep the installed extension and profile of the last time")
    parser.add_argument("blender", nargs="*", metavar="ARGUMENT", help="after --: arguments of that Blender")
    arguments = parser.parse_args()
    debian = RELEASES[arguments.release]
    if arguments.only == "guide":
        os.environ["NANOSYNTH_WALK"] = "guide"
    debian.make()
    if arguments.blender:
        return debian.run("/usr/bin/blender", *arguments.blender).returncode
    if not arguments.keep:
        debian.install(build.build(["linux-x64"], wheels=debian.wheels)[0])
    learn = {"NANOSYNTH_LEARN_PYTHON": str(debian.training_python())}
    tests = ROOT / "tests" / "gui"
    screen = f"-screen 0 {SCREEN[0]}x{SCREEN[1]}x24"
    in_window = ["/usr/bin/xvfb-run", "-a", "-s", screen, "/usr/bin/blender", "-p", 0, 0, *SCREEN, "--python"]
    walks = {
        "background": ["/usr/bin/blender", "-b", "--python-exit-code", 9, "--python", tests / "headless.py"],
        "window": [*in_window, tests / "driver.py"],
    }
    if arguments.only == "guide":
        walks = {"guide": [*in_window, tests / "guide.py"]}
    failed = [name for name, command in walks.items() if arguments.only in (None, name) and not debian.walk(*command, variables=learn)]
    for picture in sorted(debian.shots.glob("guide-*.png")) if "guide" in walks and not failed else ():
        target = ROOT / "docs" / "images" / f"{picture.stem}.jpg"
        debian.run("/usr/bin/convert", picture, "-resize", "1400x", "-quality", "85", target, check=True)
        print(target)
    print(f"Screenshots are in {debian.shots}.")
    print(f"FAILED: {' and '.join(failed)}" if failed else "ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
