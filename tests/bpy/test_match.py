"""The quick pictures against true renders, and matching from end to end."""

import dataclasses
import json
import signal
from pathlib import Path

import bpy
import numpy as np
import pytest
from PIL import Image

from nanosynth.errors import NanosynthError
from nanosynth.fields import to_toml
from nanosynth.files import write_text
from nanosynth.learn.match import MatchOptions, match, spare
from nanosynth.operators import state
from nanosynth.operators.match import Opened, take
from nanosynth.properties import from_properties
from nanosynth.reporting import Reporter
from nanosynth.synth.passes import render_passes
from nanosynth.synth.recipe import Camera, Recipe, Size, Template, read_recipe
from nanosynth.synth.render import make_pair, render_photo
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.scene import build_scene
from nanosynth.synth.shading import shade


def small(**change):
    recipe = Recipe(
        templates=[Template(size=Size(median=100.0, spread=1.05))],
        camera=Camera(field_of_view=(400.0, 400.0), image_px=96, render_px=96, samples=16),
    )
    plain = {"coverage": (0.3, 0.3), "stacking": (0.0, 0.0)}
    recipe = dataclasses.replace(recipe, arrangement=dataclasses.replace(recipe.arrangement, **plain))
    for section, values in change.items():
        recipe = dataclasses.replace(recipe, **{section: dataclasses.replace(getattr(recipe, section), **values)})
    return recipe


def test_the_shaded_passes_are_like_the_render():
    recipe = small(
        shader={
            "base": (0.5, 0.5),
            "edge": (0.4, 0.4),
            "edge_width": (2.0, 2.0),
            "shadowing": (1.0, 1.0),
            "roughness": (0.0, 0.0),
            "diffuse": (0.0, 0.0),
        },
        substrate={"relative_yield": (0.4, 0.4), "texture": (0.0, 0.0), "diffuse": (0.0, 0.0)},
        dirt={"probability": 0.0},
    )
    sample = sample_scene(recipe, 2)
    built = build_scene(recipe, sample)
    try:
        photo = render_photo(built, 96, 64, 0)
        passes = render_passes(built, sample, 96)
    finally:
        built.remove()
    made = shade(passes, sample.drawn["shader"], sample.drawn["substrate"], sample.drawn["light"], np.random.default_rng(0))
    inside = passes.instances > 0
    assert 0.1 < inside.mean() < 0.6
    assert np.corrcoef(made.ravel(), photo.ravel())[0, 1] > 0.97
    for region in (inside, ~inside):
        assert made[region].mean() == pytest.approx(photo[region].mean(), rel=0.05)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A bright, grainy micrograph of a recipe that the preset is not."""
    path = tmp_path_factory.mktemp("reference") / "reference.png"
    recipe = small(
        shader={"base": (0.75, 0.75), "edge": (0.1, 0.1), "roughness": (0.0, 0.0)},
        substrate={"relative_yield": (0.6, 0.6), "texture": (0.02, 0.02)},
        degradation={"noise": (0.08, 0.08), "gain": (1.0, 1.0), "offset": (0.0, 0.0), "gamma": (1.0, 1.0), "dose": (0.0, 0.0)},
        camera={"image_px": 160, "render_px": 160, "samples": 4},
        dirt={"probability": 0.0},
    )
    Image.fromarray(make_pair(recipe, 1).image).save(path)
    return path


def test_matching_writes_a_better_recipe_and_keeps_the_old_one(reference, tmp_path):
    before = small()
    out = tmp_path / "matched.toml"
    record = match(before, [reference], out, MatchOptions(field_px=96, steps=4))
    after = read_recipe(out)
    assert read_recipe(tmp_path / "matched.before.toml") == before
    assert json.loads((tmp_path / "matched.json").read_text()) == json.loads(json.dumps(record))
    assert Image.open(tmp_path / "matched.png").size[0] > 3 * 96
    (entry,) = record["references"]
    assert entry["off_after"] < 0.7 * entry["off_before"]
    (look,) = after.looks
    assert look.degradation.noise[0] < 0.08 < look.degradation.noise[1] + 0.02
    assert make_pair(dataclasses.replace(after, camera=dataclasses.replace(after.camera, samples=1)), 0).image.shape == (160, 160)
    spare(tmp_path / "matched.json", (out, tmp_path / "matched.before.toml", tmp_path / "matched.png"))  # its own may be replaced
    out.write_text(out.read_text() + "# by hand\n")
    with pytest.raises(NanosynthError, match=r"matched\.toml exists.*replaced"):
        match(before, [reference], out)


def test_a_reference_is_never_replaced_by_a_picture(reference):
    before = reference.read_bytes()
    with pytest.raises(NanosynthError, match=f"{reference.name} exists.*another --out"):
        match(small(), [reference], reference.with_suffix(".toml"))
    assert reference.read_bytes() == before and [entry.name for entry in reference.parent.iterdir()] == [reference.name]


def test_a_cancelled_match_writes_nothing(reference, tmp_path):
    class Impatient(Reporter):
        def send(self, kind, **values):
            if kind == "progress":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        match(small(), [reference], tmp_path / "matched.toml", MatchOptions(field_px=96, steps=2), reporter=Impatient())
    assert not list(tmp_path.iterdir())


def test_an_image_without_particles_is_refused(tmp_path):
    Image.fromarray(np.uint8(np.full((64, 64), 90) + np.eye(64))).save(tmp_path / "empty.png")
    with pytest.raises(NanosynthError, match="stand out"):
        match(small(), [tmp_path / "empty.png"], tmp_path / "m.toml")


@pytest.mark.operator("match_references", "show_match", "undo_match", "drop_looks")
def test_the_buttons_match_as_the_call_does_and_put_back(reference, ops, file):
    scene = bpy.context.scene

    def panels():
        return from_properties(Recipe, scene.nanosynth_recipe)

    assert not ops.match_references.poll() and not ops.undo_match.poll() and not ops.show_match.poll()
    ops.use_preset(preset="sio2")
    ops.load_references(filepath=str(reference))
    assert ops.match_references() == {"FINISHED"}
    called, made = file / "called", file / "nanosynth"
    match("sio2", [reference], called / "matched.toml")
    for name in ("matched.toml", "matched.before.toml", "matched.json", "matched.png"):
        assert (made / name).read_bytes() == (called / name).read_bytes(), name
    after = read_recipe(called / "matched.toml")
    assert panels() == after and [look.name for look in after.looks] == ["1 reference"]
    assert ops.show_match() == {"FINISHED"}
    assert Path(bpy.path.abspath(bpy.data.images["Nanosynth match"].filepath)) == made / "matched.png"
    assert ops.undo_match() == {"FINISHED"}
    assert panels() == read_recipe("sio2") and not ops.undo_match.poll()
    assert ops.load_recipe(filepath="//nanosynth/matched.toml") == {"FINISHED"} and panels() == after
    assert ops.drop_looks() == {"FINISHED"}
    assert panels() == dataclasses.replace(after, looks=[])


def test_matching_keeps_what_was_changed_meanwhile_and_leaves_other_projects_alone(ops, file, tmp_path):
    scene, out = bpy.context.scene, file / "nanosynth" / "matched.toml"
    ops.use_preset(preset="sio2")
    write_text(out, to_toml(dataclasses.replace(read_recipe("tio2"), name="sio2-matched")))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(out.with_suffix(".png"))
    scene.nanosynth_recipe.seed = 4711  # while it was matched
    take(scene.name, out, read_recipe("sio2"), Opened.files)
    assert scene.nanosynth_recipe.name == "sio2-matched" and state.preset_of(scene) == "sio2"
    assert ops.undo_match() == {"FINISHED"} and from_properties(Recipe, scene.nanosynth_recipe).seed == 4711
    begun = Opened.files
    (tmp_path / "other").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "other" / "other.blend"))  # the same project, elsewhere
    scene.nanosynth_recipe.templates[0].size.smallest = 1e5  # which no recipe may be
    take(scene.name, out, read_recipe("sio2"), begun)
    assert scene.nanosynth_recipe.name == "sio2-matched"
    assert ops.undo_match() == {"FINISHED"} and from_properties(Recipe, scene.nanosynth_recipe) == read_recipe("sio2")
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    take(bpy.context.scene.name, out, read_recipe("sio2"), begun)
    assert bpy.context.scene.nanosynth_recipe.name == "sio2"


def test_ctrl_c_during_a_render_ends_what_renders():
    from nanosynth.synth.render import signals_after

    passed = []
    with pytest.raises(KeyboardInterrupt):
        with signals_after():
            signal.raise_signal(signal.SIGINT)  # Blender would take the exception for its engine's
            passed.append("rendered on")
    assert passed and signal.getsignal(signal.SIGINT) is signal.default_int_handler
