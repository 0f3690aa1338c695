"""What operators say of what they cannot do: an error with its reason, as Blender reports one, never a traceback."""

import json
import re
import shutil
import types
from pathlib import Path

import bpy
import numpy as np
import pytest

import nanosynth
from nanosynth import registration
from nanosynth.fields import to_dict, to_toml
from nanosynth.files import append_line, write_bytes, write_json, write_text
from nanosynth.learn.images import write_grey, write_labels
from nanosynth.learn.settings import read_settings
from nanosynth.operators import painter, pictures, preview, results
from nanosynth.synth.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
NEVER = {"open_workspace", "forget_job"}
"""Operators that nothing can be wrong with: they make what is missing, or take away what may be there."""
CHOICES = {
    "use_preset": "preset",
    "reset_recipe": "preset",
    "add_template": "shape",
    "use_model": "model",
    "draw_line": "target",
    "follow_job": "kind",
}
"""Operators with a choice; Blender itself refuses what is none of it."""
EMPTY = {
    "save_recipe": "No folder is chosen for the recipe",
    "show_reference": "Load a micrograph first",
    "remove_reference": "Load a micrograph first",
    "find_scale_bar": "Load a micrograph first",
    "set_scale": "Draw a line over the scale bar first",
    "edit_template": "Add a template first",
    "remove_template": "Add a template first",
    "load_sizes": "Add a template first",
    "mark_template": "Select a mesh",
    "preview_scene": "templates is empty",
    "open_scene": "templates is empty",
    "close_scene": "This is the scene of the recipe",
    "show_pair": "scene 0 is not finished",
    "show_light": "templates is empty",
    "release_light": "templates is empty",
    "use_light": "The recipe is empty",
    "draw_line": "Load a micrograph, or start the preview, first",
    "start_preview": "templates is empty",
    "stop_preview": "The live preview is off",
    "show_preview": "There is no preview yet",
    "plot_profile": "Draw a line over the reference or the preview first",
    "export_profile": "Draw a line over the reference or the preview first",
    "match_references": "Load one to ten micrographs under References first",
    "undo_match": "After matching, these show what has changed",
    "show_match": "After matching, these show what has changed",
    "drop_looks": "The recipe has no looks",
    "generate_dataset": "templates is empty",
    "train_network": "there is no data set yet",
    "show_training": "Train a network first",
    "show_epoch": "Train a network first",
    "step_epoch": "Train a network first",
    "mark_epoch": "Train a network first",
    "select_epoch": "Train a network first",
    "segment_images": "There is no model yet",
    "show_result": "Segment a micrograph first",
    "tune_segmentation": "Segment a micrograph first",
    "pick_particle": "Segment a micrograph first",
    "click_particles": "There is no window",
    "export_results": "Segment a micrograph first",
    "write_report": "Segment a micrograph first",
    "create_environment": "online access is off",
    "check_environment": "there is no such Python",
    "show_preferences": "There is no window",
    "cancel_job": "Nothing is at work",
    "follow_job": "no detached work is known",
}
"""What is said in a project in which nothing has been done."""


def said(name, **values) -> str:
    """What a script hears of an operator that fails: its message, or why it cannot be run now."""
    with pytest.raises(RuntimeError) as caught:
        getattr(bpy.ops.nanosynth, name)(**values)
    text = str(caught.value).strip()
    assert "Traceback" not in text and "context is incorrect" not in text, text
    assert re.match(rf"Error: \S|Operator bpy\.ops\.nanosynth\.{name}\.poll\(\) \S", text), text
    return text


@pytest.fixture
def without(monkeypatch):
    """No training environment, no network."""
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(ROOT / "nowhere"))
    system = bpy.context.preferences.system
    before, system.use_online_access = system.use_online_access, False
    yield
    system.use_online_access = before


def test_in_an_empty_project_each_operator_says_what_comes_first(file, without):
    for name, message in EMPTY.items():
        assert message in said(name), name
    assert not bpy.data.objects and not bpy.data.images and not bpy.context.scene.nanosynth_recipe.templates


def test_every_operator_is_asked_for_what_it_cannot_do():
    names = {cls.bl_idname.partition(".")[2] for cls in registration.CLASSES if issubclass(cls, bpy.types.Operator)}
    asked = {*EMPTY, *CHOICES, *(name for name, *_ in WRONG)}
    assert not asked & NEVER and asked | NEVER == names


# A project that has everything, of which a part is spoilt


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A folder with a project in which all steps have been done."""
    folder, ops = tmp_path_factory.mktemp("everything"), bpy.ops.nanosynth
    nanosynth.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nanosynth.register()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "project.blend"))
    scene, made = bpy.context.scene, folder / "nanosynth"
    noise = np.random.default_rng(0).integers(80, 120, (64, 96), dtype=np.uint8)
    write_grey(folder / "real.png", noise, nm_per_px=2.0)
    ops.load_references(filepath=str(folder / "real.png"))
    ops.use_preset(preset="sio2")
    ops.add_template(shape="cube", as_object=True)
    pictures.show_array(preview.IMAGE, noise).use_fake_user = True
    for target in ("scale", "reference", "preview"):
        ops.draw_line(target=target, start=(10, 10), end=(50, 10))
    scene.nanosynth_matching.before = to_toml(read_recipe("sio2"))
    write_grey(made / "dataset" / "images" / "000000.png", noise)
    append_line(made / "dataset" / "manifest.jsonl", {"index": 0})
    for epoch in (1, 2):
        write_grey(made / "run" / "validation" / f"{epoch:04d}_a.png", np.full((20, 68), 90, np.uint8))
        write_text(made / "run" / "epochs" / f"{epoch:04d}.weights.h5", "weights")
        append_line(made / "run" / "history.jsonl", {"epoch": epoch, "loss": 1 / epoch, "f1": None, "instance_f1": None})
    write_text(made / "run" / "settings.toml", to_toml(read_settings("compact")))
    write_json(made / "run" / "run.json", {"format": 1, "identity": {}})
    found = np.zeros((64, 96), np.int32)
    found[20:40, 30:60] = 1
    write_grey(made / "result" / "probability" / "real.png", np.uint8(found * 230))
    write_labels(made / "result" / "instances" / "real.png", found)
    entry = {
        "name": "real", "image": str(folder / "real.png"), "particles": 1, "nm_per_px": 2.0, "nm_per_px_source": "test", "banner_px": 0,
        "scale": {"zoom": 1.0, "diameter_px": 25.0}, "files": {kind: f"{kind}/real.png" for kind in ("probability", "instances")},
    }  # fmt: skip
    write_json(made / "result" / "segmentation.json", {"training": {"settings": to_dict(read_settings("compact"))}, "images": [entry]})
    bpy.ops.wm.save_mainfile()
    whole = tmp_path_factory.mktemp("kept") / "everything"
    shutil.copytree(folder, whole)
    yield folder, whole
    nanosynth.unregister()


@pytest.fixture
def project(everything, without):
    """Its folder, with the project open as it was saved."""
    folder, whole = everything
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)
    painter.Studio.in_place = None  # it knows the files that were there
    bpy.ops.wm.open_mainfile(filepath=str(folder / "project.blend"))
    return folder


def nothing(folder):
    """It is the values that are wrong."""


def damaged(*parts):
    return lambda folder: write_bytes(folder.joinpath(*parts), b"\x89PNG\r\n\x1a\n, and no more")


def gone(*parts):
    return lambda folder: folder.joinpath(*parts).unlink()


def chosen(index):
    """Another reference is chosen than there is."""
    return lambda folder: setattr(bpy.context.scene.nanosynth, "reference_index", index)


def no_templates(folder):
    bpy.context.scene.nanosynth_recipe.templates.clear()


def no_mesh(folder):
    """The last template's mesh is neither in the file nor beside it."""
    bpy.data.objects.remove(bpy.data.objects["cube"])
    (folder / "nanosynth" / "templates" / "cube.blend").unlink()
    bpy.context.scene.nanosynth.template_index = 2


def other_template(folder):
    bpy.context.scene.nanosynth.template_index = -5


def unpacked(folder):
    bpy.data.images[preview.IMAGE].unpack(method="REMOVE")


def foreign(text, *parts):
    """A file that is JSON, and nothing that Nanosynth has written."""
    return lambda folder: write_text(folder.joinpath("nanosynth", *parts), text)


def flat(folder):
    bpy.ops.mesh.primitive_plane_add()


def own_settings(folder):
    bpy.context.scene.nanosynth.training = "file"


def old_result(folder):
    """A result that does not tell how its network was trained."""
    path = folder / "nanosynth" / "result" / "segmentation.json"
    write_json(path, {"images": json.loads(path.read_text())["images"]})


def online(folder):
    bpy.context.preferences.system.use_online_access = True


NO_FILE = "no such file or folder"
WRONG = [
    ("load_recipe", {"filepath": ""}, nothing, "No folder is chosen for the recipe"),
    ("load_recipe", {"filepath": "//nowhere.toml"}, nothing, f"nowhere.toml: {NO_FILE}"),
    ("load_recipe", {"filepath": "//real.png"}, nothing, "real.png: not valid TOML"),
    ("save_recipe", {"filepath": "//nanosynth"}, nothing, "this is a folder, not a file"),
    ("save_recipe", {"filepath": "//r.toml"}, no_mesh, "cube.blend does not exist"),
    ("save_recipe", {"filepath": "//r.toml"}, no_templates, "templates is empty"),
    ("load_references", {}, nothing, "No folder is chosen for the micrographs"),
    ("load_references", {"filepath": "//nowhere.png"}, nothing, f"nowhere.png: {NO_FILE}"),
    ("load_references", {"filepath": "//bad.png"}, damaged("bad.png"), "bad.png: "),
    ("load_references", {"directory": "//nanosynth"}, nothing, "no images in this folder"),
    ("show_reference", {}, chosen(9), "Choose a micrograph in the list first"),
    ("remove_reference", {}, chosen(-1), "Choose a micrograph in the list first"),
    ("find_scale_bar", {}, chosen(9), "Choose a micrograph in the list first"),
    ("find_scale_bar", {}, nothing, "no scale bar was found"),
    ("find_scale_bar", {}, gone("real.png"), f"real.png: {NO_FILE}"),
    ("set_scale", {}, nothing, "The length of the scale bar was not told"),
    ("set_scale", {"length_nm": 5}, chosen(9), "Draw a line over the scale bar first"),
    ("edit_template", {}, no_mesh, "not a mesh that Blender can read"),
    ("mark_template", {}, flat, "encloses no volume"),
    ("remove_template", {"index": 50}, nothing, "There is no template 50"),
    ("remove_template", {}, other_template, "There is no template -5"),
    ("load_sizes", {"filepath": ""}, nothing, "No folder is chosen for the table"),
    ("load_sizes", {"filepath": "//nanosynth"}, nothing, "this is a folder, not a file"),
    ("load_sizes", {"filepath": "//real.png"}, nothing, "real.png: holds no sizes"),
    ("load_sizes", {"filepath": "//long.csv"}, lambda folder: write_text(folder / "long.csv", 200_000 * "x"), "long.csv: not a table"),
    ("preview_scene", {}, no_mesh, "cube.blend does not exist"),
    ("preview_scene", {"side": 3}, nothing, "A preview of 3 px is too small"),
    ("open_scene", {}, no_mesh, "cube.blend does not exist"),
    ("open_scene", {"dataset": "//nowhere"}, nothing, "nowhere: "),
    ("show_pair", {"index": 7}, nothing, "scene 7 is not finished"),
    ("show_pair", {"index": 0}, damaged("nanosynth", "dataset", "images", "000000.png"), "000000.png: missing or damaged"),
    ("draw_line", {"target": "reference"}, nothing, "The line is 0 px long"),
    ("draw_line", {"target": "reference", "end": (1e6, 5.0)}, nothing, "lies outside the image"),
    ("draw_line", {"target": "scale", "end": (float("nan"), 5.0)}, nothing, "px long"),
    ("draw_line", {"target": "scale", "end": (5.0, 5.0)}, chosen(9), "There is no image to draw a line over"),
    ("start_preview", {}, no_mesh, "cube.blend does not exist"),
    ("plot_profile", {}, gone("real.png"), f"real.png: {NO_FILE}"),
    ("plot_profile", {}, unpacked, "Nanosynth preview has lost its picture"),
    ("export_profile", {"filepath": ""}, nothing, "No folder is chosen for the table"),
    ("export_profile", {"filepath": "//real.png/p.csv"}, nothing, "real.png"),
    ("match_references", {}, gone("real.png"), f"real.png: {NO_FILE}"),
    ("generate_dataset", {"recipe": "gold"}, nothing, "no preset of that name"),
    ("generate_dataset", {"recipe": "//real.png"}, nothing, "real.png: not valid TOML"),
    ("train_network", {"dataset": "//nowhere"}, nothing, "there is no data set yet"),
    ("train_network", {"settings": "huge"}, nothing, "no such settings file or preset"),
    ("train_network", {}, own_settings, "No folder is chosen for the training settings"),
    ("train_network", {}, nothing, "there is no such Python"),
    ("show_training", {}, damaged("nanosynth", "run", "validation", "0002_a.png"), "0002_a.png: missing or damaged"),
    ("show_epoch", {}, damaged("nanosynth", "run", "validation", "0002_a.png"), "0002_a.png: missing or damaged"),
    ("step_epoch", {"step": -1}, damaged("nanosynth", "run", "validation", "0001_a.png"), "0001_a.png: missing or damaged"),
    ("show_epoch", {}, foreign("{}\n5\n", "run", "history.jsonl"), "Train a network first"),
    ("show_training", {}, foreign("{}\n5\n", "run", "history.jsonl"), "Train a network first"),
    ("mark_epoch", {"epoch": 9}, nothing, "epoch 9 is not finished"),
    ("mark_epoch", {}, gone("nanosynth", "run", "run.json"), "not a training run"),
    ("select_epoch", {"epoch": 9}, nothing, "the weights of epoch 9 are not there"),
    ("select_epoch", {"best": "f1"}, nothing, "no validation image is annotated"),
    ("select_epoch", {"best": "beauty"}, nothing, "There is no score beauty"),
    ("segment_images", {"images": "//nowhere.png"}, nothing, f"nowhere.png: {NO_FILE}"),
    ("segment_images", {"images": "//project.blend"}, nothing, "not a kind of image that can be read"),
    ("segment_images", {}, nothing, "there is no such Python"),
    ("show_result", {"kind": "colour"}, nothing, "There is no picture 'colour'"),
    ("show_result", {}, gone("nanosynth", "result", "instances", "real.png"), f"real.png: {NO_FILE}"),
    ("show_result", {}, foreign('{"images": [5, {}]}', "result", "segmentation.json"), "Segment a micrograph first"),
    ("write_report", {}, foreign('{"images": 5}', "result", "segmentation.json"), "Segment a micrograph first"),
    ("show_result", {}, old_result, "does not tell how its network was trained"),
    ("tune_segmentation", {}, gone("nanosynth", "result", "probability", "real.png"), "real.png: missing or damaged"),
    ("tune_segmentation", {}, old_result, "does not tell how its network was trained"),
    ("pick_particle", {"x": 5, "y": 5}, gone("real.png"), f"real.png: {NO_FILE}"),
    ("export_results", {"directory": ""}, nothing, "No folder is chosen for the export"),
    ("export_results", {"directory": "//real.png"}, nothing, "real.png"),
    ("write_report", {"filepath": ""}, nothing, "No folder is chosen for the report"),
    ("write_report", {"filepath": "//report.html"}, nothing, "there is no such Python"),
    ("create_environment", {"directory": "//real.png/training"}, online, "real.png"),
    ("follow_job", {"kind": "train"}, nothing, "no detached work is known"),
]
"""Operator, values, what is spoilt, and what is said."""


@pytest.mark.parametrize("name, values, spoil, message", WRONG, ids=[f"{number} {row[0]}" for number, row in enumerate(WRONG)])
def test_what_is_wrong_is_said(project, name, values, spoil, message):
    spoil(project)
    assert message in said(name, **values)


def test_a_choice_file_of_somebody_else_chooses_nothing(project):
    for name in ("selected.json", "favourites.json"):
        foreign("5", "run", name)(project)
    assert bpy.ops.nanosynth.show_epoch() == {"FINISHED"}


def test_what_is_no_choice_is_refused_by_blender(project):
    for name, choice in CHOICES.items():
        with pytest.raises(TypeError, match='enum "nonsense" not found'):
            getattr(bpy.ops.nanosynth, name)(**{choice: "nonsense"})


def test_a_file_that_was_never_saved_gets_nothing_beside_it(project):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert "Save the .blend file first" in said("add_template", shape="cube", as_object=True)
    assert not bpy.context.scene.nanosynth_recipe.templates and not bpy.data.objects
    bpy.ops.nanosynth.use_preset(preset="sio2")
    for name in ("generate_dataset", "train_network"):
        assert "Save the .blend file first" in said(name)


def test_a_click_that_fails_is_told(project, monkeypatch):
    """As by the window, which is not here: the results are gone when the mouse is pressed."""
    (project / "nanosynth" / "result" / "segmentation.json").unlink()
    monkeypatch.setattr(results, "pixel_under", lambda context, event: (5, 5))
    monkeypatch.setattr(results.Clicking, "now", True)
    told = []
    operator = types.SimpleNamespace(report=lambda kind, text: told.append((kind, text)))
    event = types.SimpleNamespace(type="LEFTMOUSE", value="PRESS")
    assert results.ClickParticles.modal(operator, bpy.context, event) == {"RUNNING_MODAL"}
    ((kind, text),) = told
    assert kind == {"ERROR"} and "Segment a micrograph first" in text


def test_a_program_that_is_no_python_is_not_believed(project, monkeypatch):
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", "/bin/echo")
    assert "ended with exit code 0" in said("check_environment")
    assert "ended with exit code 0" in said("train_network")
