"""A project in Blender for the tests of the operators."""

import bpy
import numpy as np
import pytest

import nanosynth
from nanosynth.fields import to_dict
from nanosynth.files import write_json
from nanosynth.learn.images import write_grey, write_labels
from nanosynth.learn.settings import read_settings
from nanosynth.synth.recipe import read_recipe


@pytest.fixture
def file(tmp_path):
    """The folder of an empty .blend, saved, with Nanosynth registered."""
    nanosynth.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nanosynth.register()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project.blend"))
    yield tmp_path
    nanosynth.unregister()


@pytest.fixture
def ops():
    return bpy.ops.nanosynth


@pytest.fixture
def tiny():
    """A recipe whose pairs take a moment."""
    recipe = read_recipe("sio2")
    recipe.count, recipe.camera.render_px, recipe.camera.image_px, recipe.camera.samples = 2, 48, 96, 1
    recipe.arrangement.most = 20
    return recipe


@pytest.fixture
def result(file):
    """A segmented image of two discs that touch, found as one, and the model that might have made it."""
    y, x = np.mgrid[:120, :160]
    probability = np.where((np.hypot(y - 60, x - 50) < 31) | (np.hypot(y - 60, x - 108) < 31), 0.9, 0.05)
    rng = np.random.default_rng(1)
    out = file / "nanosynth" / "result"
    write_grey(file / "real.png", (probability * 200 + rng.normal(0, 3, probability.shape)).clip(0, 255).astype(np.uint8), nm_per_px=2.0)
    write_grey(out / "probability" / "real.png", np.round(probability * 255).astype(np.uint8))
    write_labels(out / "instances" / "real.png", (probability > 0.5).astype(np.int32))
    entry = {
        "name": "real", "image": str(file / "real.png"), "particles": 1, "nm_per_px": 2.0, "nm_per_px_source": "test", "banner_px": 0,
        "scale": {"zoom": 0.8, "diameter_px": 60.0}, "warnings": [], "options": {"threshold": 0.45, "min_area": 0.07, "join": 1.0},
        "files": {"probability": "probability/real.png", "instances": "instances/real.png"},
    }  # fmt: skip
    write_json(out / "segmentation.json", {"training": {"settings": to_dict(read_settings("compact"))}, "images": [entry]})
    bpy.ops.nanosynth.load_references(filepath=str(file / "real.png"))
    return out, entry
