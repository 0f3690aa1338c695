"""The quick pictures against true renders, and matching from end to end."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from nanosynth.errors import NanosynthError
from nanosynth.learn.match import MatchOptions, match
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


def test_the_button_matches_and_puts_back(reference, tmp_path):
    import bpy

    import nanosynth
    from nanosynth.fields import to_dict
    from nanosynth.operators import match as button
    from nanosynth.operators import state

    nanosynth.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nanosynth.register()
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project.blend"))
        ops, scene = bpy.ops.nanosynth, state.home(bpy.context)
        assert not ops.match_references.poll() and not ops.undo_match.poll() and not ops.show_match.poll()
        ops.use_preset(preset="sio2")
        ops.load_references(filepath=str(reference))
        before = to_dict(state.recipe_of(scene))
        assert ops.match_references() == {"FINISHED"}
        after = state.recipe_of(scene)
        assert [look.name for look in after.looks] == ["1 reference"] and to_dict(after) != before
        assert to_dict(after) == to_dict(read_recipe(tmp_path / "nanosynth" / "matched.toml"))
        assert button.PICTURE in bpy.data.images and ops.show_match() == {"FINISHED"}
        assert ops.undo_match() == {"FINISHED"}
        assert to_dict(state.recipe_of(scene)) == before and not ops.undo_match.poll()
        state.put_recipe(scene, after)
        assert ops.drop_looks() == {"FINISHED"} and not state.recipe_of(scene).looks
    finally:
        nanosynth.unregister()
