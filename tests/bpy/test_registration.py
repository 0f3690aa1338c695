"""Registering in the bpy wheel, again and again; what is registered, and that each operator has its test."""

import ast
import re
from pathlib import Path

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


def operators():
    return {cls.bl_idname.partition(".")[2]: cls for cls in registration.CLASSES if issubclass(cls, bpy.types.Operator)}


def test_names_are_those_of_the_interface():
    """A script relies on them: nanosynth.verb_noun, NANOSYNTH_OT_…, NANOSYNTH_PT_…"""
    nanosynth.register()
    assert sorted(operators()) == sorted(dir(bpy.ops.nanosynth))
    for name, cls in operators().items():
        assert cls.bl_idname == f"nanosynth.{name}" and re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
        assert hasattr(bpy.types, f"NANOSYNTH_OT_{name}") and cls.bl_rna.identifier == f"NANOSYNTH_OT_{name}"
    panels = [cls for cls in registration.CLASSES if issubclass(cls, bpy.types.Panel)]
    assert panels and all(cls.bl_rna.identifier.startswith("NANOSYNTH_PT_") for cls in panels)


OPS = ("ops", "bpy.ops.nanosynth")


def marked() -> dict[str, list[str]]:
    """Operator -> the tests that are marked with it.

    From their source, so that it is the same whatever tests are chosen to run. A test counts that also calls the operator.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for test in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in getattr(test, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.operator":
                    used = {node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute) and ast.unparse(node.value) in OPS}
                    for name in map(ast.literal_eval, mark.args):
                        assert name in used, f"{path.name}: {test.name} does not run {name}"
                        found.setdefault(name, []).append(f"{path.name}::{test.name}")
    return found


def test_every_operator_has_a_test_of_its_result():
    assert marked().keys() == operators().keys()


@pytest.mark.operator("click_particles", "show_preferences")
def test_what_needs_a_window_says_so():
    """What these do is to be seen only there: the walk in tests/gui has them."""
    nanosynth.register()
    ops = bpy.ops.nanosynth
    walk = "".join(path.read_text(encoding="utf-8") for path in (Path(__file__).parents[1] / "gui").glob("*.py"))
    for name, operator in (("click_particles", ops.click_particles), ("show_preferences", ops.show_preferences)):
        assert not operator.poll() and name in walk
        with pytest.raises(RuntimeError, match="There is no window"):
            operator()
