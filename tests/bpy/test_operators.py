"""Every button's operator does without a window what the Python call does."""

import dataclasses
import json
import os
import shutil
import stat
import sys
import threading
import time
import types
from pathlib import Path

import bpy
import numpy as np
import pytest
import tifffile

from nanosynth.fields import to_dict, to_toml
from nanosynth.files import append_line, write_json, write_text
from nanosynth.jobs.generate import generate
from nanosynth.learn.images import read_labels, write_grey
from nanosynth.learn.painting import Painter
from nanosynth.learn.run import Run
from nanosynth.learn.settings import read_settings
from nanosynth.learn.tuning import open_stored
from nanosynth.operators import base, jobs, lines, painter, pictures, preview, results, state
from nanosynth.synth.previewer import small
from nanosynth.synth.recipe import fingerprint, read_recipe
from nanosynth.synth.render import make_pair
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.templates import load_shapes

pytestmark = pytest.mark.usefixtures("file")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "silica"


def home():
    return state.home(bpy.context)


def pixels(name):
    """An image datablock as (H, W, 3), row 0 at the top."""
    image = bpy.data.images[name]
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], -1)[::-1, :, :3]


def test_recipes_come_and_go_unchanged(ops, file):
    assert ops.use_preset(preset="sio2") == {"FINISHED"}
    assert to_dict(state.recipe_of(home())) == to_dict(read_recipe("sio2"))
    assert ops.save_recipe(filepath="//mine.toml") == {"FINISHED"}
    assert home().nanosynth.recipe_file == "//mine.toml"
    assert to_dict(read_recipe(file / "mine.toml")) == to_dict(read_recipe("sio2"))
    home().nanosynth_recipe.seed = 77
    assert ops.load_recipe(filepath=str(file / "mine.toml")) == {"FINISHED"}
    assert home().nanosynth_recipe.seed == read_recipe("sio2").seed


def test_a_recipe_knows_its_preset_whatever_it_is_called(ops, file):
    ops.use_preset(preset="sio2")
    home().nanosynth_recipe.name, home().nanosynth_recipe.seed = "my silica", 77
    assert state.preset_of(home()) == "sio2" and state.model_of(home()).name == "sio2"
    assert ops.reset_recipe() == {"FINISHED"}
    assert to_dict(state.recipe_of(home())) == to_dict(read_recipe("sio2"))
    write_text(file / "own.toml", to_toml(dataclasses.replace(read_recipe("tio2"), name="mine")))
    ops.load_recipe(filepath=str(file / "own.toml"))
    assert state.preset_of(home()) == "" and state.model_of(home()) is None
    with pytest.raises(RuntimeError, match="comes from no preset"):
        ops.reset_recipe()
    assert ops.reset_recipe(preset="ag") == {"FINISHED"} and state.preset_of(home()) == "ag"


def test_a_pixel_size_that_is_typed_says_so_and_a_row_that_is_clicked_is_shown(ops, file):
    for name, level in (("a", 40), ("b", 90)):
        write_grey(file / f"{name}.png", np.uint8(np.indices((60, 80)).sum(0) % 7 + level), nm_per_px=2.0)
        ops.load_references(filepath=str(file / f"{name}.png"))
    first, second = home().nanosynth.references
    home().nanosynth.listed_reference = 0
    plane = bpy.data.objects[pictures.PLANES[0]]
    assert home().nanosynth.reference_index == 0 and plane.data == first.image
    width = plane.empty_display_size
    first.typed_nm_per_px = 5.0
    assert first.nm_per_px == 5.0 and first.scale_source == "typed by the user" and second.nm_per_px == 2.0
    assert plane.empty_display_size == pytest.approx(2.5 * width)


def test_a_wrong_recipe_is_reported_and_changes_nothing(ops, file):
    ops.use_preset(preset="sio2")
    write_text(file / "bad.toml", "seed = -4\n")
    with pytest.raises(RuntimeError, match="bad.toml: seed = -4 is below"):
        ops.load_recipe(filepath="//bad.toml")
    assert home().nanosynth_recipe.templates


def test_templates(ops, file):
    for _ in range(2):
        assert ops.add_template(shape="sphere") == {"FINISHED"}
    assert [t.name for t in home().nanosynth_recipe.templates] == ["sphere", "sphere 2"]
    bpy.ops.mesh.primitive_cube_add(size=0.8)
    bpy.context.active_object.name = "würfel"
    assert ops.mark_template() == {"FINISHED"}
    template = home().nanosynth_recipe.templates[-1]
    assert template.mesh.startswith("//nanosynth/templates/") and template.object == "würfel"
    assert template.size.median == pytest.approx(80 * (6 / np.pi) ** (1 / 3), rel=1e-4)  # 1 unit is 100 nm
    assert ops.mark_template() == {"FINISHED"}  # again: the same template, not a second one
    assert len(home().nanosynth_recipe.templates) == 3
    for _ in range(2):
        assert ops.remove_template(index=0) == {"FINISHED"}
    ops.save_recipe(filepath="//elsewhere/cube.toml")
    recipe = read_recipe(file / "elsewhere" / "cube.toml")
    assert Path(recipe.templates[0].mesh) == file / "nanosynth" / "templates" / "würfel.blend"
    assert len(load_shapes(recipe)["würfel"].vertices) == 8


def test_a_flat_mesh_is_no_template(ops, file):
    bpy.ops.mesh.primitive_plane_add()
    with pytest.raises(RuntimeError, match="encloses no volume"):
        ops.mark_template()
    assert not (file / "nanosynth").exists() and not home().nanosynth_recipe.templates


def test_references_bring_their_scale_and_lie_in_the_scene(ops, file):
    source = np.tile(np.arange(80, dtype=np.uint8), (60, 1))
    write_grey(file / "a.png", source, nm_per_px=2.5)
    write_text(file / "b.png", "no image")
    files = [{"name": "a.png"}, {"name": "b.png"}]
    assert ops.load_references(directory=str(file), files=files) == {"FINISHED"}
    assert ops.load_references(filepath=str(file / "a.png")) == {"FINISHED"}
    (reference,) = home().nanosynth.references
    assert (reference.path, reference.image.filepath) == ("//a.png", "//a.png")
    assert reference.nm_per_px == pytest.approx(2.5)
    bpy.data.objects.remove(bpy.data.objects[pictures.PLANES[0]])
    assert ops.show_reference() == {"FINISHED"}
    plane = home().collection.objects[pictures.PLANES[0]]
    assert plane.empty_display_size == pytest.approx(80 * 2.5 / 100)
    assert ops.remove_reference() == {"FINISHED"}
    assert not home().nanosynth.references
    with pytest.raises(RuntimeError, match="b.png"):
        ops.load_references(filepath=str(file / "b.png"))


def test_a_damaged_file_among_others_does_not_keep_them_out(ops, file):
    write_grey(file / "a.tif", np.zeros((60, 80), np.uint8))
    with tifffile.TiffFile(file / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(0)
    for name in ("b.png", "c.png"):
        write_grey(file / name, np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    assert ops.load_references(directory=str(file)) == {"FINISHED"}
    assert [reference.name for reference in home().nanosynth.references] == ["b.png", "c.png"]


def test_steps_are_made_for_a_moment_and_wait_for_what_is_done_aside():
    gate, done = threading.Event(), []

    def steps():
        for number in range(50):
            time.sleep(base.MOMENT_S / 10)
            yield
            done.append(number)
        awaited = base.aside(gate.wait)
        yield awaited
        done.append(awaited.result())

    at_work = types.SimpleNamespace(work=steps(), awaited=None)
    calls = 0
    while len(done) < 50:
        before, calls = len(done), calls + 1
        assert base.Gradual.go_on(at_work, None) == {"RUNNING_MODAL"}
        assert len(done) - before <= 11
    assert calls >= 5
    assert base.Gradual.go_on(at_work, None) == {"RUNNING_MODAL"} and len(done) == 50
    gate.set()
    assert at_work.awaited.result(timeout=10)
    assert base.Gradual.go_on(at_work, None) == {"FINISHED"} and done[-1] is True


@pytest.mark.parametrize("error", [ZeroDivisionError("by\nnothing"), OSError("no file's"), KeyboardInterrupt()])
def test_steps_that_fail_leave_neither_timer_nor_cursor(error):
    """As by the window, which is not here."""

    def steps():
        yield
        raise error

    class AtWork(types.SimpleNamespace):
        alone, attempt, go_on, modal, cancel = True, base.Action.attempt, base.Gradual.go_on, base.Gradual.modal, base.Gradual.cancel

    left, reported = [], []
    context = types.SimpleNamespace(
        window_manager=types.SimpleNamespace(event_timer_remove=left.append),
        window=types.SimpleNamespace(cursor_modal_restore=lambda: left.append("cursor")),
    )
    at_work = AtWork(work=steps(), awaited=None, timer="timer", report=lambda kind, text: reported.append((kind, text)))
    event = types.SimpleNamespace(type="TIMER")
    if isinstance(error, Exception):
        assert at_work.modal(context, event) == {"CANCELLED"}
        ((kind, text),) = reported
        assert kind == {"ERROR"} and f"{type(error).__name__} {' '.join(str(error).split())} (test_operators.py, line " in text
        assert "\n" not in text
    else:
        with pytest.raises(KeyboardInterrupt):
            at_work.modal(context, event)
    assert left == ["timer", "cursor"]


@pytest.mark.parametrize("kind", [lines.DrawLine, results.ClickParticles])
@pytest.mark.parametrize("by", ["user", "blender"])
def test_what_waits_for_the_mouse_cleans_up_whoever_ends_it(monkeypatch, kind, by):
    """As in a window, which is not here; another workspace is looked at than at the beginning."""
    texts = {}
    monkeypatch.setattr(bpy.types.WorkSpace, "status_text_set", lambda _, text: texts.update({bpy.context.workspace.name: text}))
    monkeypatch.setitem(lines.DrawLine.at_work, "scale", [0.0, 0.0, 1.0, 1.0])
    monkeypatch.setattr(results.Clicking, "now", True)
    waits = types.SimpleNamespace(target="scale", at_work=lines.DrawLine.at_work, hint=base.Hint(bpy.context, "Click"))
    waits.cancel = types.MethodType(kind.cancel, waits)
    assert texts == {"Layout": "Click"}
    with bpy.context.temp_override(workspace=bpy.data.workspaces["Scripting"]):
        if by == "user":
            assert kind.modal(waits, bpy.context, types.SimpleNamespace(type="ESC")) in ({"CANCELLED"}, {"FINISHED"})
        else:
            waits.cancel(bpy.context)
    assert texts == {"Layout": None}
    assert "scale" not in lines.DrawLine.at_work if kind is lines.DrawLine else not results.Clicking.now


@pytest.mark.parametrize("name", ["save_recipe", "write_report"])
def test_the_file_browser_warns_of_a_file_that_exists(ops, name):
    """By the property that Blender's browser looks for; what a script writes is written."""
    properties = getattr(ops, name).get_rna_type().properties
    assert properties["check_existing"].default and properties["check_existing"].is_hidden
    assert properties["filepath"].subtype == "FILE_PATH"


def test_the_preview_is_the_pair_in_few_pixels(ops, tiny):
    state.put_recipe(home(), tiny)
    assert ops.preview_scene(index=1, side=40) == {"FINISHED"}
    expected = make_pair(small(state.recipe_of(home()), 40), 1).image
    shown = pixels(preview.IMAGE)
    assert shown.shape == (40, 40, 3)
    np.testing.assert_allclose(shown[..., 0], expected / 255, atol=0.5 / 255)


def test_a_drawn_scene_is_opened_and_closed_without_leftovers(ops, tiny):
    state.put_recipe(home(), tiny)
    before = {
        name: len(getattr(bpy.data, name))
        for name in ("scenes", "objects", "meshes", "materials", "node_groups", "images", "worlds", "lights", "cameras")
    }
    for _ in range(2):
        assert ops.open_scene(index=0) == {"FINISHED"}
        drawn = bpy.data.scenes[f"Nanosynth {tiny.name} 0"]
        assert drawn.nanosynth_home == bpy.data.scenes[0] or drawn.nanosynth_home in list(bpy.data.scenes)
        assert bpy.context.scene == drawn and home() == drawn.nanosynth_home != drawn
        with bpy.context.temp_override(scene=drawn.nanosynth_home), pytest.raises(RuntimeError, match="scene of the recipe"):
            ops.close_scene()
        assert ops.close_scene() == {"FINISHED"}
    project = home()
    assert ops.open_scene(index=0) == {"FINISHED"}
    drawn, bpy.context.window.scene = bpy.context.scene, project
    with bpy.context.temp_override(scene=drawn), pytest.raises(RuntimeError, match="window"):
        ops.close_scene()  # Blender would go on with the freed scene of the override
    bpy.context.window.scene = drawn
    assert ops.close_scene() == {"FINISHED"}
    assert before == {name: len(getattr(bpy.data, name)) for name in before}


def particles_of(scene):
    """x, y and z of the particles of a scene, by their number [nm]."""
    return {item.pass_index: tuple(item.location * 100) for item in scene.objects if item.pass_index}


def test_an_opened_scene_has_the_particles_of_the_call(ops, tiny, file):
    state.put_recipe(home(), tiny)
    recipe = state.recipe_of(home())
    generate(recipe, file / "pairs")
    table = sample_scene(recipe, 1, load_shapes(recipe)).particles
    for values in ({}, {"dataset": "//pairs"}):
        assert ops.open_scene(index=1, **values) == {"FINISHED"}
        found = particles_of(bpy.context.scene)
        assert len(found) == len(table["x_nm"]) > 0
        for number, place in found.items():
            assert place == pytest.approx([table[f"{axis}_nm"][number - 1] for axis in "xyz"], abs=0.01)
        assert ops.close_scene() == {"FINISHED"}
        home().nanosynth_recipe.seed += 1  # the data set's own recipe holds


# With a stand-in for the training environment: it says what the real one would, and keeps what it was told


@pytest.fixture
def environment(file, monkeypatch):
    script = file / "learn.sh"
    script.write_text(
        f"#!/bin/sh\nexec {sys.executable} - \"$@\" <<'EOF'\n"
        "import json, os, sys\n"
        f"open({str(file / 'told.json')!r}, 'w').write(json.dumps(sys.argv[1:]))\n"
        "def say(**m): print(json.dumps(m), flush=True)\n"
        "say(kind='started', task='x')\n"
        "say(kind='progress', done=1, total=2, text='half', seconds_left=1)\n"
        f"if os.path.exists({str(file / 'ill')!r}):\n"
        "    say(kind='error', message='The disk is full.', remedy='Free some.'); sys.exit(2)\n"
        "say(kind='done')\nEOF\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(script))
    return file


def told(folder):
    words = json.loads((folder / "told.json").read_text())
    assert words[:1] == ["-E"] and words[-2:] == ["--json", "--tethered"]
    return words[2:-2]


def test_training_is_the_verb(ops, environment):
    write_grey(environment / "a.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    ops.load_references(filepath=str(environment / "a.png"))
    with pytest.raises(RuntimeError, match="no data set yet"):
        ops.train_network()
    (environment / "nanosynth" / "dataset").mkdir(parents=True)
    append_line(environment / "nanosynth" / "dataset" / "manifest.jsonl", {"index": 0})
    assert ops.train_network(epochs=3) == {"FINISHED"}
    verb, dataset, _, run, *rest = told(environment)
    assert (verb, Path(dataset), Path(run)) == ("train", environment / "nanosynth" / "dataset", environment / "nanosynth" / "run")
    assert rest[0] == "--preset" and rest[2:] == ["--validation", str(environment / "a.png")]
    home().nanosynth.references[0].nm_per_px = 4.0  # as a line drawn over the bar tells
    ops.train_network(epochs=3)
    assert told(environment)[6:9] == ["--validation", str(environment / "a.png"), "--validation-scale-file"]
    assert jobs.RUNNING["train"].state == "done" and not jobs.RUNNING["train"].desk.exists()
    home().nanosynth.annotations = "//annotations"
    with pytest.raises(RuntimeError, match="no annotation of a.png"):
        ops.train_network(epochs=3)
    write_text(environment / "annotations" / "a.tif", "")
    ops.train_network(epochs=3)
    assert told(environment)[-2:] == ["--truth", str(environment / "annotations" / "a.tif")]


def test_an_error_of_the_job_is_reported_with_its_remedy(ops, environment):
    write_text(environment / "ill", "")
    (environment / "m").mkdir()
    write_json(environment / "m" / "model.json", {})
    with pytest.raises(RuntimeError, match="The disk is full. Free some."):
        ops.segment_images(model="//m", images=str(EXAMPLES / "fei" / "K3K4Me3_2-2.tif"))
    assert jobs.RUNNING["segment"].state == "failed"


def test_without_a_training_environment_the_reason_is_given(ops, file, monkeypatch):
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(file / "nowhere"))
    (file / "m").mkdir()
    with pytest.raises(RuntimeError, match="there is no such Python"):
        ops.segment_images(model="//m", images=str(EXAMPLES / "fei" / "K3K4Me3_2-2.tif"))


def test_flags_say_what_differs_from_the_defaults(file):
    group = home().nanosynth_options
    assert results.option_flags(group) == []
    group.threshold, group.flips, group.crop_bottom = 0.25, True, "12"
    assert results.option_flags(group) == ["--crop-bottom", "12", "--threshold", "0.25", "--flips"]


RESULT = painter.IMAGES["result"][0]


def painted(what, **request):
    """What the Python call gives, as (H, W, 3) in [0, 1], and its facts."""
    *_, last = Painter().answer({"what": what, **request})
    return last.picture / 255, last.facts


def test_results_are_shown_tuned_and_exported(ops, result, file):
    out, entry = result
    window, place = home().nanosynth, {"folder": str(out), "name": "real"}
    assert ops.show_result(kind="mask") == {"FINISHED"}
    expected, facts = painted("result", shown="mask", **place)
    np.testing.assert_allclose(pixels(RESULT), expected, atol=1e-6)
    assert facts["count"] == 1 == results.facts_of(home())["count"]
    assert (window.threshold, window.min_area) == (pytest.approx(0.45), pytest.approx(0.07)) and not window.tuned
    over = home().collection.objects[pictures.PLANES[1]]
    assert over.empty_display_size == pytest.approx(160 * 2 / 100) and over.data.name == RESULT

    window.threshold, window.min_area, window.dynamic_share, window.dynamic, window.opacity = 0.4, 0.02, 0.1, 0.05, 0.5
    values = {name: getattr(window, name) for name in state.TUNED}
    labels = open_stored(out, entry).separate(**values)
    assert labels.max() == 2
    assert ops.tune_segmentation() == {"FINISHED"}
    expected, facts = painted("result", values=values, shown="mask", opacity=0.5, **place)
    np.testing.assert_allclose(pixels(RESULT), expected, atol=1e-6)
    assert results.facts_of(home())["count"] == 2 and window.tuned
    assert ops.tune_segmentation(longest_px=80) == {"FINISHED"}
    assert pixels(RESULT).shape == (60, 80, 3)

    assert ops.pick_particle(x=108, y=60) == {"FINISHED"}
    particle = results.facts_of(home())["particle"]
    assert particle["label"] == labels[60, 108] and particle["diameter_nm"] == pytest.approx(2 * 2 * 31, rel=0.05)
    assert ops.pick_particle(x=0, y=0) == {"FINISHED"} and results.facts_of(home())["particle"] is None

    assert ops.export_results(directory="//taken") == {"FINISHED"}
    assert window.exported == f"2 particles of real are in {file / 'taken'}"
    np.testing.assert_array_equal(read_labels(file / "taken" / "real_instances.png"), labels)
    assert len((file / "taken" / "real.csv").read_text().splitlines()) == 3
    window.threshold = 0.95
    assert ops.tune_segmentation() == {"FINISHED"} and results.facts_of(home())["count"] == 0
    assert ops.show_result(kind="overlay") == {"FINISHED"} and results.facts_of(home())["count"] == 1 and not window.tuned
    with pytest.raises(RuntimeError, match="no picture 'colour'"):
        ops.show_result(kind="colour")


def test_a_result_is_tuned_as_its_own_network_was_trained(ops, result, file):
    out, entry = result
    settings = read_settings("compact")
    settings.threshold, settings.border_radius_px = 0.55, 4.0
    del entry["options"]["threshold"]  # the training's own
    write_json(out / "segmentation.json", {"training": {"settings": to_dict(settings)}, "images": [entry]})
    append_line_in(file / "nanosynth" / "run" / "history.jsonl", {"epoch": 1, "loss": 1.0})  # another network since, with other settings
    write_text(file / "nanosynth" / "run" / "settings.toml", to_toml(read_settings("compact")))
    assert state.model_of(home()) == file / "nanosynth" / "run"
    assert ops.show_result() == {"FINISHED"} and home().nanosynth.threshold == pytest.approx(0.55)
    home().nanosynth.shown = "mask"
    assert ops.tune_segmentation() == {"FINISHED"}
    values = {name: getattr(home().nanosynth, name) for name in state.TUNED}
    labels = open_stored(out, entry).separate(**values)
    np.testing.assert_array_equal(pixels(RESULT)[..., 0] > 0.5, labels > 0)
    write_json(out / "segmentation.json", {"training": {"settings": to_dict(read_settings("compact"))}, "images": [entry]})
    assert (open_stored(out, entry).separate(**values) > 0).sum() < (labels > 0).sum()  # the settings do make a difference


def test_the_scale_of_the_references_reaches_the_results(ops, environment):
    for name in "ab":
        write_grey(environment / f"{name}.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)), nm_per_px=2.0 if name == "b" else None)
        ops.load_references(filepath=str(environment / f"{name}.png"))
    (environment / "m").mkdir()
    write_json(environment / "m" / "model.json", {})
    out = environment / "nanosynth" / "result"

    def told_of_segmenting():
        with pytest.raises(RuntimeError, match="no result yet"):  # the stand-in makes none
            ops.segment_images(model="//m")
        return told(environment)

    assert told_of_segmenting()[-2:] == ["--out", str(out)]  # what the files say needs no telling
    home().nanosynth.reference_index = 0
    ops.draw_line(target="scale", start=(10, 20), end=(60, 20))
    ops.set_scale(length_nm=200)
    assert told_of_segmenting()[-2:] == ["--scale-file", str(out / "references.csv")]
    assert (out / "references.csv").read_text().splitlines() == ["image,nm_per_px", "a.png,4.0", "b.png,2.0"]
    home().nanosynth_options.nm_per_px = 3.0  # said under Options: it goes before
    assert told_of_segmenting()[-2:] == ["--nm-per-px", "3.0"]


def test_the_report_is_the_verb(ops, result, environment):
    out, _ = result
    assert ops.write_report(filepath="//report.html") == {"FINISHED"} and home().nanosynth.reported == "//report.html"
    assert told(environment) == ["report", str(out), "--out", str(environment / "report.html")]
    home().nanosynth.model = ""  # the project's own network: the report tells of its making
    append_line_in(environment / "nanosynth" / "dataset" / "manifest.jsonl", {"index": 0})
    append_line_in(environment / "nanosynth" / "run" / "history.jsonl", {"epoch": 1, "loss": 1.0})
    assert ops.write_report(filepath="//report.pdf") == {"FINISHED"}
    made = [str(environment / "nanosynth" / name) for name in ("dataset", "run")]
    assert told(environment) == ["report", str(out), "--dataset", made[0], "--run", made[1], "--out", str(environment / "report.pdf")]


def test_a_shipped_model_is_chosen_by_its_name(ops, file):
    assert ops.use_model(model="sio2") == {"FINISHED"} and state.model_of(home()).name == "sio2"
    assert ops.use_model(model="RUN") == {"FINISHED"} and state.model_of(home()) is None
    ops.use_preset(preset="tio2")  # as long as the file has no network of its own
    assert state.model_of(home()).name == "tio2"
    append_line_in(file / "nanosynth" / "run" / "history.jsonl", {"epoch": 1, "loss": 1.0})
    assert state.model_of(home()) == file / "nanosynth" / "run"


def test_every_value_of_a_template_is_shown_where_it_matters(ops):
    from nanosynth.fields import specs
    from nanosynth.panels.prepare import FORMS
    from nanosynth.synth.recipe import Template

    assert {name for name, *_ in specs(Template)} - FORMS.keys() == {"name", "shape", "weight", "size", "yield_factor"}


def test_a_tuned_result_stays_in_the_file(ops, result, file):
    out, _ = result
    home().nanosynth.threshold = 0.3
    ops.tune_segmentation()
    ops.pick_particle(x=50, y=60)
    before, facts = pixels(RESULT).copy(), results.facts_of(home())
    bpy.ops.wm.save_mainfile()
    for path in (out / "probability" / "real.png", out / "segmentation.json"):
        path.unlink()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    np.testing.assert_array_equal(pixels(RESULT), before)
    assert results.facts_of(home()) == facts and home().nanosynth.threshold == pytest.approx(0.3) and home().nanosynth.tuned


def test_a_moved_project_finds_the_micrographs_of_its_results(ops, result, file):
    bpy.ops.wm.save_mainfile()
    moved = file.with_name(f"{file.name} moved")
    file.rename(moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "project.blend"))
    home().nanosynth.threshold = 0.3
    assert ops.tune_segmentation() == {"FINISHED"}
    (entry,) = json.loads((moved / "nanosynth" / "result" / "segmentation.json").read_text())["images"]
    assert entry["image"] == str(moved / "real.png") and results.facts_of(home())["count"] == 2
    assert home().collection.objects[pictures.PLANES[1]].data.name == RESULT
    moved.rename(file)


DONE, READY, WAITING = "CHECKMARK", "RADIOBUT_ON", "RADIOBUT_OFF"


def marks():
    """What the headers of the steps say."""
    names = "project references templates look scene generate train select segment analyse".split()
    return {name: getattr(bpy.types, f"NANOSYNTH_PT_{name}").mark(None, home()) for name in names}


def test_the_marks_tell_what_is_done_and_what_can_be(ops, file, environment, monkeypatch):
    ops.use_preset(preset="sio2")
    ready = {"project": DONE, "references": READY, "templates": READY, "look": READY, "scene": READY, "generate": READY}
    assert marks() == {**dict.fromkeys(marks(), WAITING), **ready}
    write_grey(file / "a.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    ops.load_references(filepath=str(file / "a.png"))
    assert marks()["references"] == READY  # its scale is not known
    assert marks()["segment"] == READY  # with the shipped model
    home().nanosynth.references[0].nm_per_px = 2.0
    assert marks()["references"] == DONE
    dataset, run, result = (file / "nanosynth" / name for name in ("dataset", "run", "result"))
    append_line_in(dataset / "manifest.jsonl", {"index": 0})
    write_json(dataset / "dataset.json", {"recipe": fingerprint(state.recipe_of(home()))})
    assert [marks()[name] for name in ("templates", "look", "scene", "generate", "train")] == [DONE, DONE, DONE, READY, READY]
    home().nanosynth_recipe.count = 1
    assert marks()["generate"] == DONE
    home().nanosynth_recipe.shader.edge = (0.1, 0.2)
    time.sleep(2 * state.DRAWING_S)
    assert [marks()[name] for name in ("templates", "look", "scene", "generate")] == [READY] * 4  # it was made of another recipe
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(file / "nowhere"))
    assert (marks()["train"], marks()["segment"]) == (WAITING, WAITING)
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(file / "learn.sh"))
    write_text(run / "settings.toml", "epochs = 2\n")
    append_line_in(run / "history.jsonl", {"epoch": 1, "loss": 1.0})
    assert (marks()["train"], marks()["select"]) == (READY, READY)  # it can go on
    append_line_in(run / "history.jsonl", {"epoch": 2, "loss": 1.0})
    write_json(run / "selected.json", {"epoch": 2})
    assert (marks()["train"], marks()["select"]) == (DONE, DONE)
    write_json(result / "segmentation.json", {"images": [{"name": "a", "image": str(file / "a.png"), "particles": 1}]})
    assert (marks()["segment"], marks()["analyse"]) == (DONE, READY)
    write_grey(file / "b.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    ops.load_references(filepath=str(file / "b.png"))
    assert marks()["segment"] == READY  # one is not segmented yet
    home().nanosynth.exported = "1 particles of a are in /there"
    assert marks()["analyse"] == DONE
    home().nanosynth.result = "//nanosynth/other"
    assert (marks()["analyse"], home().nanosynth.exported) == (WAITING, "")


def test_what_is_grey_says_why(ops, file):
    from nanosynth.operators import match, templates

    assert not ops.mark_template.poll() and "Select a mesh" in templates.MarkTemplate.needs(bpy.context)
    bpy.ops.mesh.primitive_cube_add()
    assert ops.mark_template.poll() and not templates.MarkTemplate.needs(bpy.context)
    assert not ops.match_references.poll() and "Load one to ten" in match.MatchReferences.needs(bpy.context)
    assert not ops.show_match.poll() and not ops.undo_match.poll()
    assert match.ShowMatch.needs(bpy.context) == match.UndoMatch.needs(bpy.context)  # said once
    bpy.data.images.new(match.PICTURE, 8, 8)
    assert ops.show_match.poll() and "Nothing to put back" in match.UndoMatch.needs(bpy.context)


def test_results_are_chosen_by_their_names(ops, result):
    out, entry = result
    record = json.loads((out / "segmentation.json").read_text())
    write_json(out / "segmentation.json", {**record, "images": [entry, {**entry, "name": "again"}]})
    window = home().nanosynth
    assert (window.shown_name, window.shown_result) == ("0", 0)
    window.shown_name = "1"
    assert window.shown_result == 1 and results.entry_of(home())["name"] == "again"
    window.shown_result = 7  # of results that are gone
    assert window.shown_name == "1"


def test_without_results_the_buttons_are_grey(ops, file):
    names = "show_result tune_segmentation pick_particle click_particles export_results write_report show_training show_epoch step_epoch mark_epoch select_epoch"
    for name in (*names.split(), "show_reference", "cancel_job"):
        assert not getattr(ops, name).poll(), name


@pytest.mark.operator("show_epoch", "step_epoch", "mark_epoch", "select_epoch", "show_training")
def test_epochs_are_looked_at_marked_and_chosen(ops, file):
    run = file / "nanosynth" / "run"
    gap = np.full((40, 4), 255, np.uint8)
    for epoch in (1, 2, 3):
        append_line_in(run / "history.jsonl", {"epoch": epoch, "loss": 1 / epoch, "f1": None, "instance_f1": None})
        parts = [np.full((40, 50), level, np.uint8) for level in (20, 200, 40 * epoch)]
        write_grey(run / "validation" / f"{epoch:04d}_a.png", np.concatenate([parts[0], gap, parts[1], gap, parts[2]], 1))
        write_text(run / "epochs" / f"{epoch:04d}.weights.h5", "weights")
    write_text(run / "settings.toml", to_toml(read_settings("compact")))
    write_json(run / "run.json", {"format": 1})
    for operator, step, epoch in (
        (ops.show_epoch, 0, 3),
        (ops.show_epoch, -1, 2),
        (ops.step_epoch, -1, 1),
        (ops.step_epoch, -1, 1),
        (ops.step_epoch, 1, 2),
    ):
        assert operator(step=step) == {"FINISHED"}
        assert home().nanosynth.epoch == epoch
        expected, _ = painted("epoch", run=str(run), epoch=epoch)
        np.testing.assert_allclose(pixels(painter.IMAGES["epoch"][0]), expected, atol=1e-6)
    called = Run.open(shutil.copytree(run, file / "called"))
    called.mark(2)
    assert ops.mark_epoch() == {"FINISHED"} and ops.mark_epoch(epoch=3) == {"FINISHED"} and ops.mark_epoch(epoch=3) == {"FINISHED"}
    assert state.favourites(run) == [2] == Run.open(run).favourites()
    assert (run / "favourites.json").read_bytes() == (called.path / "favourites.json").read_bytes()
    expected, _ = painted("gallery", run=str(run), epoch=2, favourites=[2])
    np.testing.assert_allclose(pixels(painter.IMAGES["gallery"][0]), expected, atol=1e-6)
    assert ops.show_training() == {"FINISHED"}
    expected, _ = painted("training", run=str(run))
    np.testing.assert_allclose(pixels(painter.IMAGES["training"][0]), expected, atol=1e-6)
    home().nanosynth.model = "sio2"
    assert ops.select_epoch() == {"FINISHED"} and not home().nanosynth.model
    called.select(epoch=2)
    assert (run / "selected.json").read_bytes() == (called.path / "selected.json").read_bytes() and state.selected(run) == 2
    assert state.model_of(home()) == run


def append_line_in(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    append_line(path, value)


@pytest.mark.operator("open_workspace")
def test_the_workspace_begins_with_a_recipe_and_hides_the_cube_of_a_new_file(ops, file):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    assert ops.open_workspace() == {"FINISHED"}
    assert to_dict(state.recipe_of(home())) == to_dict(read_recipe("sio2"))
    assert {item.name for item in bpy.context.scene.objects} == {"Cube", "Light", "Camera"}
    assert not any(item.visible_get() for item in bpy.context.scene.objects)
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.wm.save_as_mainfile(filepath=str(file / "other.blend"))
    ops.open_workspace()
    assert bpy.context.object.visible_get()  # what the user has made stays


def test_state_survives_the_file(ops, file):
    ops.use_preset(preset="sio2")
    write_grey(file / "a.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)), nm_per_px=2.5)
    ops.load_references(filepath=str(file / "a.png"))
    home().nanosynth_recipe.light.strength = (0.5, 0.75)
    bpy.ops.wm.save_mainfile()
    moved = file / "moved"
    moved.mkdir()
    for name in ("project.blend", "a.png"):
        os.replace(file / name, moved / name)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "project.blend"))
    assert tuple(home().nanosynth_recipe.light.strength) == (0.5, 0.75)
    reference = home().nanosynth.references[0]
    assert state.absolute(reference.path) == moved / "a.png" and tuple(reference.image.size) == (80, 60)


def test_every_operator_is_found_and_described(ops):
    from nanosynth.operators import OPERATORS

    labels = [cls.bl_label for cls in OPERATORS if issubclass(cls, bpy.types.Operator)]
    assert len(set(labels)) == len(labels)  # F3 shows nothing else
    for cls in OPERATORS:
        if issubclass(cls, bpy.types.Operator):
            assert cls.bl_idname.startswith("nanosynth.") and cls.__name__ and cls.bl_label and cls.bl_description
            assert "INTERNAL" not in getattr(cls, "bl_options", ())  # F3 leaves those out
