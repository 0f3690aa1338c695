"""Making environments: stamps, interruption, finding Python."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def env(tmp_path, monkeypatch):
    """tools/env.py with its folders in a temporary place and an environment without packages."""
    spec = importlib.util.spec_from_file_location("env_under_test", ROOT / "tools" / "env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "learn.txt").write_text("")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENTS", tmp_path / ".env")
    made = []

    def make_venv(python, folder):
        made.append(folder)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to("/bin/true")

    monkeypatch.setattr(module, "make_venv", make_venv)
    module.made = made
    return module


def test_made_once(env):
    assert not env.ready("learn")
    python = env.ensure("learn")
    assert python.exists() and env.ready("learn")
    env.ensure("learn")
    assert len(env.made) == 1


def test_changed_requirements_make_it_anew(env):
    env.ensure("learn")
    env.requirements("learn").write_text("# changed\n")
    assert not env.ready("learn")
    env.ensure("learn")
    assert len(env.made) == 2


def test_an_interrupted_one_is_made_anew(env, monkeypatch):
    def interrupted(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(env, "install_libraries", interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.ensure("learn")
    assert not env.ready("learn")
    (env.ENVIRONMENTS / "learn" / "half-installed").touch()
    env.ensure("learn")
    assert env.ready("learn") and not (env.ENVIRONMENTS / "learn" / "half-installed").exists()


def test_a_vanished_interpreter_is_noticed(env):
    env.ensure("learn")
    (env.ENVIRONMENTS / "learn" / "bin" / "python").unlink()
    assert not env.ready("learn")


def test_a_shim_that_does_not_run_is_passed_over(env, tmp_path, monkeypatch):
    for folder, script in (("shims", "echo no such version >&2; exit 127"), ("real", 'echo "3.13"')):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "python3.13"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    monkeypatch.setattr(env.sys, "executable", "/bin/false")
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'real'}")
    assert env.find_python("3.13") == str(tmp_path / "real" / "python3.13")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    assert env.find_python("3.13") is None


def test_a_failed_command_is_named(env):
    with pytest.raises(SystemExit, match="false … failed with exit code 1"):
        env.call("false")
    with pytest.raises(SystemExit, match="no-such-command is not installed"):
        env.call("no-such-command")


def test_missing_libraries_without_root_are_named(env, monkeypatch):
    monkeypatch.setattr(env.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="apt-get install libx libsm6"):
        env.install_packages("libx", "libsm6")


def test_requirements_are_pinned():
    for name in ("learn", "bpy-4.2", "bpy-4.5", "bpy-5.0", "bpy-5.2"):
        lines = [line for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines() if not line.startswith("#")]
        assert len(lines) > 10 and all("==" in line for line in lines)
