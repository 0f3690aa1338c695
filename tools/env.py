#!/usr/bin/env python3
"""The project's Python environments, each made from its pinned requirements at first use.

    python3 tools/env.py learn            make .env/learn if needed and print its interpreter
    python3 tools/env.py --lock learn     pin requirements/learn.in anew into requirements/learn.txt

Standard library only, and any Python from 3.9 on can run it: it looks for the
Python version that an environment needs. An environment is ready when its
stamp equals the hash of its requirements; the stamp is written last, so one
that was interrupted is simply made again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".env"
PYTHON = {"learn": "3.11", "bpy-4.2": "3.11", "bpy-4.5": "3.11", "bpy-5.0": "3.11", "bpy-5.2": "3.13"}
TRIXIE = ENVIRONMENTS / "trixie"
"""A Debian 13 root folder, made only where there is no Python 3.13."""

LIBRARIES = {
    "libX11.so.6": "libx11-6", "libXrender.so.1": "libxrender1", "libXxf86vm.so.1": "libxxf86vm1", "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6", "libXext.so.6": "libxext6", "libXcursor.so.1": "libxcursor1", "libXrandr.so.2": "libxrandr2",
    "libXinerama.so.1": "libxinerama1", "libxkbcommon.so.0": "libxkbcommon0", "libSM.so.6": "libsm6", "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1", "libEGL.so.1": "libegl1", "libgomp.so.1": "libgomp1", "libdbus-1.so.3": "libdbus-1-3",
    "libwayland-client.so.0": "libwayland-client0", "libdecor-0.so.0": "libdecor-0-0",
}  # fmt: skip
"""The Debian package of each system library that the bpy wheel is linked with."""


class Failure(SystemExit):
    """One line for the user; `sys.exit` prints it to stderr and returns 1."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(*command, **options):
    """Run a command with its output on stderr, so that stdout stays clean for the caller."""
    options.setdefault("stdout", sys.stderr)
    try:
        return subprocess.run([str(part) for part in command], check=True, **options)
    except FileNotFoundError as error:
        raise Failure(f"{command[0]} is not installed.") from error
    except subprocess.CalledProcessError as error:
        raise Failure(f"{' '.join(map(str, command[:4]))} … failed with exit code {error.returncode}; see above.") from error


def requirements(name) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def interpreter(name) -> Path:
    """The environment's Python: a wrapper that enters the Debian root where there is one."""
    wrapper = ENVIRONMENTS / name / "python-inside"
    return wrapper if wrapper.exists() else ENVIRONMENTS / name / "bin" / "python"


def stamp(name) -> str:
    return hashlib.sha256(requirements(name).read_bytes()).hexdigest()


def ready(name) -> bool:
    try:
        return (ENVIRONMENTS / name / "stamp").read_text() == stamp(name) and interpreter(name).exists()
    except FileNotFoundError:
        return False


def ensure(name) -> Path:
    """Make the environment unless it is ready; return its interpreter."""
    if not ready(name):
        with locked(name):
            if not ready(name):  # another process may have made it while this one waited
                make(name)
    return interpreter(name)


@contextmanager
def locked(name):
    ENVIRONMENTS.mkdir(exist_ok=True)
    with open(ENVIRONMENTS / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(name):
    folder = ENVIRONMENTS / name
    say(f"Making the environment {name} in {folder} (once; this downloads its packages).")
    if folder.exists():
        (folder / "stamp").unlink(missing_ok=True)
        shutil.rmtree(folder)
    python = find_python(PYTHON[name])
    if python:
        make_venv(python, folder)
        call(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements(name))
        install_libraries(folder)
    else:
        make_inside_trixie(name)
    part = folder / "stamp.part"
    part.write_text(stamp(name))
    part.replace(folder / "stamp")


def make_venv(python, folder):
    if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        install_packages(f"python{python_version(python)}-venv")
    call(python, "-m", "venv", folder)


def python_version(python):
    """ "3.11" and the like, or None if it does not run (a version manager's shim may be there and fail)."""
    try:
        test = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True)
    except OSError:
        return None
    return test.stdout.strip() if test.returncode == 0 else None


def find_python(version):
    """A Python of this version that really runs, or None."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = os.environ.get("PATH", "").split(os.pathsep)
    candidates = [sys.executable, *(os.path.join(f, f"python{version}") for f in folders)]
    candidates += sorted(map(str, managed.glob(f"{version}.*/bin/python{version}")))
    for candidate in candidates:
        if python_version(candidate) == version:
            return candidate
    if version == "3.11":
        raise Failure("Python 3.11 was not found. Install it (Debian 12: apt-get install python3 python3-venv) and run this again.")
    return None


# System packages


def install_packages(*packages):
    """Install Debian packages as root; say which are needed where that is not possible."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(f"Missing system packages. Install them and run this again: apt-get install {' '.join(packages)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    call("apt-get", "update", "-q", env=quiet)
    call("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages, env=quiet)


def install_libraries(folder):
    """Install the system libraries that the bpy wheel of an environment is linked with."""
    missing = set()
    for module in folder.glob("lib/python*/site-packages/bpy/__init__*.so"):
        listing = subprocess.run(["ldd", str(module)], capture_output=True, text=True).stdout
        missing |= {line.split()[0] for line in listing.splitlines() if "not found" in line}
    if missing:
        unknown = missing - LIBRARIES.keys()
        if unknown:
            raise Failure(f"bpy needs the system libraries {', '.join(sorted(unknown))}; install them and run this again.")
        install_packages(*sorted(LIBRARIES[name] for name in missing))


# Python 3.13 where the system has none: Debian 13 in a folder


def make_inside_trixie(name):
    """Make an environment for the Python 3.13 of Debian 13, whose root folder is made if needed.

    The machine's own pip fetches the wheels, so nothing in the root folder
    needs the network.
    """
    make_trixie()
    folder = ENVIRONMENTS / name
    version = PYTHON[name]
    folder.mkdir(parents=True)
    wrapper = folder / "python-inside"
    wrapper.write_text(f"#!/bin/sh\nexec {shlex.join(inside(folder / 'bin' / 'python'))} \"$@\"\n")
    call(*inside(f"/usr/bin/python{version}"), "-m", "venv", "--without-pip", folder)
    fetcher = ENVIRONMENTS / "fetcher"  # the machine's Python may come without pip
    if not (fetcher / "bin" / "pip").exists():
        make_venv(find_python("3.11"), fetcher)
    tags = [f"--platform=manylinux_2_{n}_x86_64" for n in range(41, 4, -1)] + ["--platform=manylinux2014_x86_64"]
    target = folder / "lib" / f"python{version}" / "site-packages"
    call(fetcher / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp",
         "--ignore-requires-python",  # an older pip compares with its own Python
         f"--python-version={version}", *tags, "--target", target, "-r", requirements(name))  # fmt: skip
    wrapper.chmod(0o755)


def inside(program, root=TRIXIE) -> list[str]:
    """The command that runs a program inside a Debian root folder, where the same files are at the same paths.

    The mounts are in a namespace of their own, so nothing is left to unmount.
    """
    root = shlex.quote(str(root))
    linked = shlex.quote(str(ENVIRONMENTS.resolve())) if ENVIRONMENTS.is_symlink() else ""  # one for several checkouts
    script = f"""
set -e
for place in /proc /sys /dev /tmp {shlex.quote(str(ROOT))} {linked} ${{NANOSYNTH_DATA:+"$NANOSYNTH_DATA"}}; do
    mkdir -p {root}"$place"
    mount --rbind "$place" {root}"$place"
done
exec chroot {root} /usr/bin/env -C "$PWD" "$0" "$@"
"""
    return ["unshare", "--mount", "sh", "-c", script, str(program)]


def make_trixie():
    if (TRIXIE / "made").exists():
        return
    say("There is no Python 3.13 here; making a Debian 13 folder that has it (once, about 500 MB).")
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure("Python 3.13 was not found. Install it and run this again, or run this on Debian as root.")
    make_debian("trixie", TRIXIE, ["python3", "python3-venv", *sorted(set(LIBRARIES.values()))])


def make_debian(release, root, include=()):
    """Make a root folder of a Debian release, with packages, unless it is there."""
    if (root / "made").exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(f"A folder with Debian's {release} can be made on Debian only, by root.")
    install_packages("debootstrap")
    shutil.rmtree(root, ignore_errors=True)
    chosen = [f"--include={','.join(include)}"] if include else []
    call("debootstrap", "--variant=minbase", *chosen, release, root, debian_mirror())
    (root / "etc" / "mtab").symlink_to("/proc/self/mounts")  # Blender lists the file systems
    (root / "made").touch()


def debian_mirror() -> str:
    """The mirror of Debian's main archive in the machine's own apt configuration."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)", "Created-By: Packages"],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    for line in targets.splitlines():
        address, origin, label = line.split("|")
        if origin == label == "Debian":
            return address
    raise Failure("apt has no Debian archive configured, so Python 3.13 cannot be set up here. Install it and run this again.")


# Pinning


def lock(name):
    """Install requirements/NAME.in into a fresh environment and freeze what came."""
    source = ROOT / "requirements" / f"{name}.in"
    python = find_python(PYTHON[name]) or sys.exit(f"Pinning {name} needs Python {PYTHON[name]}.")
    with tempfile.TemporaryDirectory() as folder:
        make_venv(python, folder)
        pip = [Path(folder) / "bin" / "python", "-m", "pip"]
        call(*pip, "install", "--quiet", "-r", source)
        frozen = call(*pip, "freeze", stdout=subprocess.PIPE, text=True).stdout
    requirements(name).write_text(f"# Made by: python3 tools/env.py --lock {name}\n{frozen}")


def main(argv=None):
    parser = argparse.ArgumentParser(description="Make the project's Python environments from their pinned requirements.")
    parser.add_argument("names", nargs="+", choices=sorted(PYTHON), metavar="NAME", help=", ".join(PYTHON))
    parser.add_argument("--lock", action="store_true", help="pin requirements/NAME.in anew into requirements/NAME.txt")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if arguments.lock:
            lock(name)
        else:
            print(ensure(name))


if __name__ == "__main__":
    main()
