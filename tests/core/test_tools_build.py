"""The pinned wheels and the manifest of the zip."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

import nanosynth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    spec = importlib.util.spec_from_file_location("build_under_test", ROOT / "tools" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("env", None)


def test_every_platform_has_its_wheels(build):
    files = [line.split()[1] for line in build.LOCK.read_text().splitlines()]
    wanted = {line.split("==")[0].replace("-", "_") for line in build.SOURCE.read_text().splitlines() if "==" in line}
    for platform in build.PLATFORMS:
        own = [file for file in files if build.fits(file, platform)]
        assert {file.split("-")[0] for file in own} == wanted
        for name in ("scipy", "scikit_image", "pillow"):
            assert sorted(file.split("-")[2] for file in own if file.startswith(name)) == ["cp311", "cp313"]
    assert all(any(build.fits(file, platform) for platform in build.PLATFORMS) for file in files)
    assert not any(file.startswith("numpy") for file in files)


def test_a_wheel_that_is_not_the_pinned_one_is_refused(build, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "WHEELS", tmp_path / "wheels")
    monkeypatch.setattr(build, "LOCK", tmp_path / "wheels.lock")
    build.LOCK.write_text(f"{'0' * 64}  thing-1.0-py3-none-any.whl\n")
    monkeypatch.setattr(build, "download", lambda platform, python, names, folder: (Path(folder) / "thing-1.0-py3-none-any.whl").touch())
    with pytest.raises(SystemExit, match="not the file pinned"):
        build.fetch("linux-x64")
    build.LOCK.write_text(f"{build.digest(tmp_path / 'wheels' / 'thing-1.0-py3-none-any.whl')}  thing-1.0-py3-none-any.whl\n")
    assert [path.name for path in build.fetch("linux-x64")] == ["thing-1.0-py3-none-any.whl"]


def test_manifest(build):
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text())
    assert (manifest["id"], manifest["schema_version"], manifest["license"]) == ("nanosynth", "1.0.0", ["SPDX:GPL-3.0-or-later"])
    assert manifest["version"] == nanosynth.__version__
    assert manifest["platforms"] == list(build.PLATFORMS)
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text()


def test_the_same_versions_everywhere(build):
    """A mask looks the same in Blender, in the training environment and in the tests."""
    pinned = dict(line.split("==") for line in build.SOURCE.read_text().splitlines() if "==" in line)
    for name in ("learn", "bpy-4.2", "bpy-4.5", "bpy-5.0", "bpy-5.2"):
        lines = [line for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines() if "==" in line]
        there = dict(line.split("==") for line in lines)
        assert (there["scipy"], there["scikit-image"]) == (pinned["scipy"], pinned["scikit-image"])
