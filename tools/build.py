"""Build the extension's zip for each platform, with the scientific wheels in it.

    python3 tools/build.py                     all platforms, into dist/
    python3 tools/build.py linux-x64           one platform
    python3 tools/build.py --lock              pin requirements/wheels.in anew into requirements/wheels.lock

The lock has a line `SHA256  FILE` for every wheel. Wheels are fetched once into
.env/wheels and their hashes are checked at every build. Blender's own tool,
which comes with the bpy wheel, builds and validates the zips.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import env

ROOT = env.ROOT
WHEELS = env.ENVIRONMENTS / "wheels"
DIST = ROOT / "dist"
SOURCE = ROOT / "requirements" / "wheels.in"
LOCK = ROOT / "requirements" / "wheels.lock"
TOOL_ENVIRONMENT = "bpy-4.5"
PYTHONS = ("3.11", "3.13")
MANYLINUX = ["manylinux2014_x86_64", *(f"manylinux_2_{n}_x86_64" for n in range(17, 29))]  # Blender needs glibc 2.28 itself
PLATFORMS = {
    "linux-x64": MANYLINUX,
    "windows-x64": ["win_amd64"],
    "macos-x64": ["macosx_12_0_x86_64"],
    "macos-arm64": ["macosx_12_0_arm64"],
}
"""Blender's name of a platform -> the wheel tags that fit it (on macOS pip adds the older ones)."""


def download(platform, python, names, folder):
    tags = [f"--platform={tag}" for tag in PLATFORMS[platform]]
    env.call(
        env.ensure("learn"), "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={python}", *tags, "--dest", folder, *names,
    )  # fmt: skip


def digest(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock():
    """Fetch every wheel of requirements/wheels.in for every platform and note its hash."""
    names = [line for line in SOURCE.read_text().splitlines() if line and not line.startswith("#")]
    with tempfile.TemporaryDirectory() as folder:
        for platform in PLATFORMS:
            for python in PYTHONS:
                download(platform, python, names, folder)
        lines = [f"{digest(path)}  {path.name}\n" for path in sorted(Path(folder).iterdir())]
    LOCK.write_text("".join(lines))


def fits(wheel, platform) -> bool:
    tag = wheel.removesuffix(".whl").split("-")[-1]
    system, machine = platform.split("-")
    if tag == "any":
        return True
    if system == "macos":
        return tag.startswith("macosx") and tag.endswith("x86_64" if machine == "x64" else "arm64")
    return tag.startswith("win" if system == "windows" else "manylinux")


def fetch(platform) -> list[Path]:
    """The wheels of a platform, fetched where they are missing and checked against the lock.

    Raises
    ------
    SystemExit
        If a wheel is not the one that was pinned.
    """
    WHEELS.mkdir(parents=True, exist_ok=True)
    wheels = []
    for line in LOCK.read_text().splitlines():
        expected, file = line.split()
        if not fits(file, platform):
            continue
        path = WHEELS / file
        if not path.exists():
            name, version, python = file.split("-")[:3]
            version_of_python = f"3.{python[3:]}" if python.startswith("cp3") else PYTHONS[0]
            with tempfile.TemporaryDirectory(dir=WHEELS) as folder:
                download(platform, version_of_python, [f"{name}=={version}"], folder)
                if not (Path(folder) / file).exists():
                    raise env.Failure(f"{file} could not be fetched, but {', '.join(p.name for p in Path(folder).iterdir())} was.")
                (Path(folder) / file).replace(path)
        if digest(path) != expected:
            raise env.Failure(f"{path} is not the file pinned in {LOCK.name}. Delete it and build again.")
        wheels.append(path)
    return wheels


def blender_tool(*arguments):
    python = env.ensure(TOOL_ENVIRONMENT)
    (tool,) = (env.ENVIRONMENTS / TOOL_ENVIRONMENT).glob("lib/python*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    env.call(python, tool, *arguments)


def tracked_files() -> list[Path]:
    listing = env.call("git", "-C", ROOT, "ls-files", "-z", stdout=subprocess.PIPE, text=True).stdout
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).exists()]


def build(platforms=tuple(PLATFORMS), wheels: bool = True) -> list[Path]:
    """Build and validate a zip for each platform.

    Only files that git tracks can get in, and of those the manifest's
    `paths_exclude_pattern` keeps out what Blender does not need.

    Parameters
    ----------
    platforms : sequence of str
    wheels : bool
        False leaves out those that are for one version of Python: for a Blender that has these packages already.

    Returns
    -------
    list of pathlib.Path
        `dist/nanosynth-VERSION-PLATFORM.zip`, in the order of `platforms`.
    """
    DIST.mkdir(exist_ok=True)
    packages = []
    for platform in platforms:
        with tempfile.TemporaryDirectory(dir=DIST) as folder:
            stage = Path(folder)
            for file in tracked_files():
                (stage / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, stage / file)
            (stage / "wheels").mkdir()
            packed = [wheel for wheel in fetch(platform) if wheels or wheel.name.endswith("-none-any.whl")]
            for wheel in packed:
                shutil.copyfile(wheel, stage / "wheels" / wheel.name)
            manifest = stage / "blender_manifest.toml"
            text = re.sub(r"^platforms = .*$", f'platforms = ["{platform}"]', manifest.read_text(), flags=re.MULTILINE)
            names = json.dumps([f"./wheels/{wheel.name}" for wheel in packed], indent=2)
            text, found = re.subn(r"^# tools/build.py adds .*$", f"wheels = {names}", text, flags=re.MULTILINE)
            assert found == 1, "blender_manifest.toml has lost the line that this script replaces"
            manifest.write_text(text)
            version = re.search(r'^version = "(.*)"$', text, re.MULTILINE)[1]
            package = DIST / f"nanosynth-{version}-{platform}{'' if wheels else '-bare'}.zip"
            part = stage.with_suffix(".zip")
            blender_tool("build", "--source-dir", stage, "--output-filepath", part)
            blender_tool("validate", part)
            part.replace(package)
        packages.append(package)
    return packages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=", ".join(PLATFORMS))
    parser.add_argument("--lock", action="store_true", help="pin the wheels anew")
    arguments = parser.parse_args()
    unknown = set(arguments.platforms) - PLATFORMS.keys()
    if unknown:
        parser.error(f"unknown platform {', '.join(sorted(unknown))}; known are {', '.join(PLATFORMS)}")
    if arguments.lock:
        lock()
    else:
        for package in build(arguments.platforms or tuple(PLATFORMS)):
            print(package)


if __name__ == "__main__":
    main()
