"""The whole workflow by operators in `blender -b`, with the installed extension and a real training environment.

Prints `walked` at the end; any error ends Blender with the exit code it was told.
"""

import importlib
import sys
import tempfile
from pathlib import Path

import bpy

NAME = "bl_ext.user_default.nanosynth"
CONTENT = "scenes objects meshes materials node_groups images worlds lights cameras collections texts".split()
TRAINING = """
base_width = 2
depth = 2
patch_px = 32
batch = 2
iterations_per_epoch = 2
epochs = 2
keep = "all"
diameter_px = 16.0
"""


def module(name):
    return importlib.import_module(f"{NAME}.{name}")


def content():
    """The names of what the file holds."""
    return {name: sorted(item.name for item in getattr(bpy.data, name)) for name in CONTENT}


def hooks():
    """The functions of the extension that Blender calls at its events."""
    lists = [(name, found) for name in dir(bpy.app.handlers) if isinstance(found := getattr(bpy.app.handlers, name), list)]
    return [(name, function) for name, functions in lists for function in functions if (function.__module__ or "").startswith(NAME)]


def tiny_recipe(folder):
    """A recipe that renders in a moment, and a micrograph of its kind."""
    recipe = module("synth.recipe").read_recipe("sio2")
    recipe.name, recipe.count = "tiny", 3
    recipe.camera.render_px = recipe.camera.image_px = 96
    recipe.camera.field_of_view = (1500.0, 1500.0)
    recipe.camera.samples = 1
    recipe.arrangement.coverage = (0.2, 0.3)
    (folder / "tiny.toml").write_text(module("fields").to_toml(recipe), encoding="utf-8")
    (folder / "training.toml").write_text(TRAINING, encoding="utf-8")
    pair = module("synth.render").make_pair(recipe, 1000)
    module("learn.images").write_grey(folder / "real.png", pair.image, nm_per_px=1500 / 96)
    module("learn.images").write_labels(folder / "annotations" / "real.png", pair.instances)
    return folder / "tiny.toml"


def main():
    assert NAME in bpy.context.preferences.addons, "the extension is not installed"
    ops, state = bpy.ops.nanosynth, module("operators.state")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "größe 1")
        folder.mkdir()
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / "project.blend"))
        recipe = tiny_recipe(folder)
        assert ops.load_recipe(filepath=str(recipe)) == {"FINISHED"}
        assert ops.load_references(filepath=str(folder / "real.png")) == {"FINISHED"}
        assert ops.preview_scene(index=2, side=64) == {"FINISHED"}
        assert ops.check_environment() == {"FINISHED"}
        assert ops.generate_dataset(detached=True) == {"FINISHED"}
        assert ops.follow_job(kind="generate") == {"FINISHED"}
        assert state.made_pairs(folder / "nanosynth" / "dataset") == 3
        assert ops.train_network(settings=str(folder / "training.toml")) == {"FINISHED"}
        assert len(state.history(folder / "nanosynth" / "run")) == 2
        assert ops.show_epoch(step=-1) == {"FINISHED"}
        assert ops.show_training() == {"FINISHED"}
        assert ops.mark_epoch() == {"FINISHED"}
        assert ops.select_epoch() == {"FINISHED"}
        assert ops.segment_images() == {"FINISHED"}
        for kind in ("overlay", "outlines", "mask", "probability", "instances", "histogram"):
            assert ops.show_result(kind=kind) == {"FINISHED"}
        bpy.context.scene.nanosynth.threshold = 0.3
        assert ops.tune_segmentation() == {"FINISHED"}
        assert ops.pick_particle(x=48, y=48) == {"FINISHED"}
        assert ops.export_results(directory=str(folder / "taken")) == {"FINISHED"}
        assert (folder / "taken" / "real.csv").is_file()
        for name in ("report.html", "report.pdf"):
            assert ops.write_report(filepath=str(folder / name)) == {"FINISHED"}
            assert (folder / name).stat().st_size > 10_000
        bpy.ops.wm.save_mainfile()
        before = content()
        for _ in range(20):
            sys.modules[NAME].unregister()
            assert not hasattr(bpy.types.Scene, "nanosynth") and not hooks()
            sys.modules[NAME].register()
        assert content() == before and len(hooks()) == len(set(hooks()))
        for _ in range(2):  # slow: Blender takes the wheels away and brings them again
            bpy.ops.preferences.addon_disable(module=NAME)
            bpy.ops.preferences.addon_enable(module=NAME)
    print("walked")


if __name__ == "__main__":
    main()
