"""Registering in the bpy wheel, again and again."""

import bpy
import pytest

import nanosynth
from nanosynth import registration


@pytest.fixture(autouse=True)
def unregistered():
    yield
    nanosynth.unregister()


def is_known():
    return {
        "NANOSYNTH_PT_project" in dir(bpy.types),
        hasattr(bpy.types, "NANOSYNTH_OT_generate_dataset"),
        hasattr(bpy.types.Scene, "nanosynth_recipe"),
    }


def test_repeatable():
    for _ in range(2):
        nanosynth.register()
        assert is_known() == {True}
        nanosynth.register()
        assert is_known() == {True}
        nanosynth.unregister()
        assert is_known() == {False}
        nanosynth.unregister()


def test_the_command_line_is_registered_once(monkeypatch):
    known = []
    monkeypatch.setattr(bpy.utils, "register_cli_command", lambda name, run: known.append(name) or name)
    monkeypatch.setattr(bpy.utils, "unregister_cli_command", known.remove)
    nanosynth.register()
    nanosynth.register()
    assert known == ["nanosynth"]
    nanosynth.unregister()
    assert known == []


def test_the_command_runs_a_verb(capsys):
    assert registration._command(["--version"]) == 0
    assert nanosynth.__version__ in capsys.readouterr().out
    assert registration._command(["select", "RUN"]) == 2


def test_generating_without_a_folder_is_refused():
    bpy.ops.wm.read_factory_settings(use_empty=True)  # a file that was never saved
    nanosynth.register()
    with pytest.raises(RuntimeError, match="Save the .blend file first"):
        bpy.ops.nanosynth.generate_dataset(recipe="sio2", directory="")


def test_a_wrong_recipe_is_reported(tmp_path):
    nanosynth.register()
    with pytest.raises(RuntimeError, match="no_such_recipe"):
        bpy.ops.nanosynth.generate_dataset(recipe="no_such_recipe", directory=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
