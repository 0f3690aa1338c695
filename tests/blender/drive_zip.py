"""Runs inside a Python that has bpy and nothing else; `test_zip.py` starts it.

Usage: drive_zip.py ZIP FOLDER. Prints `driven` at the end.
"""

import importlib
import sys
from pathlib import Path

import bpy

NAME = "bl_ext.user_default.nanosynth"


def main(package, folder):
    answer = bpy.ops.extensions.package_install_files(repo="user_default", filepath=package, enable_on_install=True)
    assert answer == {"FINISHED"}, answer
    assert NAME in bpy.context.preferences.addons, list(bpy.context.preferences.addons.keys())
    extension = sys.modules[NAME]
    place = Path(extension.__file__).parent
    assert place.is_relative_to(Path(bpy.utils.user_resource("EXTENSIONS")).resolve()), place

    for name in ("tests", "tools", "docs", "pyproject.toml", "Makefile", ".env"):
        assert not (place / name).exists(), f"{name} is in the zip"
    assert (place / "LICENSE").exists() and (place / "presets" / "sio2.toml").exists()

    for _ in range(2):
        extension.register()
        extension.register()
        assert hasattr(bpy.types, "NANOSYNTH_PT_project")
        extension.unregister()
        extension.unregister()
        assert not hasattr(bpy.types, "NANOSYNTH_PT_project")
    extension.register()
    assert bpy.context.preferences.addons[NAME].preferences.learn_python == ""

    doctor = importlib.import_module(f"{NAME}.doctor").examine(folder, devices=False)
    assert doctor["ok"], doctor["problems"]

    # Wheels of the extension, but Blender's own NumPy.
    import numpy
    import scipy
    import skimage

    site = Path(bpy.utils.user_resource("EXTENSIONS")) / ".local"
    assert Path(scipy.__file__).is_relative_to(site) and Path(skimage.__file__).is_relative_to(site), scipy.__file__
    assert not Path(numpy.__file__).is_relative_to(site)
    assert (scipy.__version__, skimage.__version__) == ("1.15.3", "0.25.2")

    for part in ("synth.recipe", "synth.dataset", "synth.labels", "learn.images", "learn.postprocess", "learn.metrics", "cli"):
        importlib.import_module(f"{NAME}.{part}")
    labels = importlib.import_module(f"{NAME}.learn.postprocess").distance_transform_watershed(numpy.eye(40, dtype=bool))
    assert labels.max() >= 1

    generate(folder)

    assert bpy.ops.preferences.addon_disable(module=NAME) == {"FINISHED"}
    assert not hasattr(bpy.types, "NANOSYNTH_PT_project")
    print("driven")


def generate(folder):
    """Two tiny pairs, through the operator and its worker processes, and read back."""
    recipes = importlib.import_module(f"{NAME}.synth.recipe")
    fields = importlib.import_module(f"{NAME}.fields")
    recipe = recipes.read_recipe("sio2")
    recipe.camera.image_px = recipe.camera.render_px = 64
    recipe.arrangement.most = 10
    path = Path(folder, "tiny.toml")
    path.write_text(fields.to_toml(recipe))
    out = Path(folder, "größe 64")
    assert bpy.ops.nanosynth.generate_dataset(recipe=str(path), directory=str(out), count=2, seed=5) == {"FINISHED"}
    dataset = importlib.import_module(f"{NAME}.synth.dataset").Dataset.open(out)
    assert sorted(dataset.finished()) == [0, 1] and dataset.check(deep=True) == []
    image, _, instances = dataset.read(0)
    assert image.shape == instances.shape == (64, 64) and instances.max() > 0 and image.std() > 1


main(*sys.argv[1:])
