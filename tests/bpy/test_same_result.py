"""The operators' results beside those of the Python calls of `synth` and `learn`: equal, not similar.

`test_registration` has the list of operators, and looks which test is marked with each.
"""

import dataclasses
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

from nanosynth import properties
from nanosynth.doctor import learn_python
from nanosynth.fields import canonical, specs, to_toml
from nanosynth.files import read_json, read_lines, write_text
from nanosynth.jobs.generate import generate
from nanosynth.learn.exchange import export
from nanosynth.learn.images import read_labels, read_micrograph, read_probability, write_grey
from nanosynth.learn.particles import measure, read_table, write_table
from nanosynth.learn.profiles import checked_length, profile_picture, profile_text, sample_line
from nanosynth.learn.scalebar import find_bar
from nanosynth.learn.scalereport import examine_scales
from nanosynth.learn.settings import Augmentation, Preprocess, TrainingSettings
from nanosynth.learn.tuning import open_stored
from nanosynth.operators import jobs
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.forms import draw_forms
from nanosynth.synth.previewer import small
from nanosynth.synth.recipe import NM_PER_UNIT, PRESETS, Light, Recipe, Template, read_recipe
from nanosynth.synth.render import make_pair
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.scene import build_scene
from nanosynth.synth.shapes import normalised
from nanosynth.synth.templates import load_shapes, read_mesh

pytestmark = pytest.mark.usefixtures("file")
ROOT = Path(__file__).resolve().parents[2]


def window():
    return bpy.context.scene.nanosynth


def panels() -> Recipe:
    """The recipe that the panels show."""
    return properties.from_properties(Recipe, bpy.context.scene.nanosynth_recipe)


def put(recipe):
    properties.to_properties(recipe, bpy.context.scene.nanosynth_recipe)


def picture(image) -> np.ndarray:
    """What Blender shows of an image: (H, W, 3) uint8, row 0 at the top."""
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return np.rint(values.reshape(image.size[1], image.size[0], -1)[::-1, :, :3] * 255).astype(np.uint8)


def rgb(pixels) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, -1)


def single(*values) -> list[float]:
    """Numbers as Blender's properties keep them."""
    return [float(np.float32(value)) for value in values]


# The recipe


@pytest.mark.operator("use_preset", "save_recipe", "load_recipe", "reset_recipe")
def test_recipes(ops, file):
    for name in sorted(path.stem for path in PRESETS.glob("*.toml")):
        assert ops.use_preset(preset=name) == {"FINISHED"}
        assert panels() == read_recipe(name)
    assert ops.save_recipe(filepath="//saved.toml") == {"FINISHED"}
    assert (file / "saved.toml").read_text(encoding="utf-8") == to_toml(read_recipe(name))

    changed = read_recipe("ag")
    changed.seed, changed.light.strength, changed.shader.base = 77, (0.25, 0.5), (0.1, 0.2)
    write_text(file / "changed.toml", to_toml(changed))
    assert ops.load_recipe(filepath="//changed.toml") == {"FINISHED"}
    assert panels() == read_recipe(file / "changed.toml") == changed
    changed.light = read_recipe("ag").light
    assert ops.reset_recipe(preset="ag", part="light") == {"FINISHED"}
    assert panels() == changed
    assert ops.reset_recipe(preset="ag") == {"FINISHED"}
    assert panels() == read_recipe("ag")


@pytest.mark.operator("add_template", "edit_template", "remove_template")
def test_built_in_templates(ops, file):
    for shape in ("cube", "rod"):
        assert ops.add_template(shape=shape) == {"FINISHED"}
    assert panels().templates == [Template(name=shape, shape=shape) for shape in ("cube", "rod")]
    for index, shape in enumerate(("cube", "rod")):
        window().template_index = index
        assert ops.edit_template() == {"FINISHED"}
        (drawn,) = draw_forms(Template(shape=shape, variants=1), np.random.default_rng(0))
        expected, made = normalised(drawn.vertices, drawn.triangles), read_mesh(kept(file, index))
        np.testing.assert_array_equal(made.triangles, expected.triangles)
        np.testing.assert_allclose(made.vertices, expected.vertices, atol=1e-5)  # a mesh is of single precision
        size = np.ptp(drawn.vertices, 0).max() / np.ptp(expected.vertices, 0).max()  # of a rod it was the thickness
        assert panels().templates[index].size.median == pytest.approx(Template().size.median * size, rel=1e-5)
    second = panels().templates[1]
    assert ops.remove_template(index=0) == {"FINISHED"}
    assert panels().templates == [second]


def kept(file, index) -> Template:
    """A template of the panels, with the path of its mesh as the recipe's file would have it read."""
    template = panels().templates[index]
    return dataclasses.replace(template, mesh=str(file / template.mesh.removeprefix("//")))


@pytest.mark.operator("mark_template")
def test_meshes_of_the_artists(ops, file):
    bpy.ops.mesh.primitive_cone_add(vertices=7, radius1=0.5, depth=1.0)
    item = bpy.context.active_object
    item.scale = (1.0, 1.0, 2.0)
    bpy.context.view_layer.update()
    item.data.calc_loop_triangles()
    corners = np.array([vertex.co for vertex in item.data.vertices], float) * item.scale
    expected = normalised(corners, [tuple(triangle.vertices) for triangle in item.data.loop_triangles])
    assert ops.mark_template() == {"FINISHED"}
    template = kept(file, 0)
    made = read_mesh(template)
    np.testing.assert_array_equal(made.triangles, expected.triangles)
    np.testing.assert_allclose(made.vertices, expected.vertices, rtol=0, atol=1e-12)
    diameter = 2 * NM_PER_UNIT * np.ptp(corners, 0).max() / np.ptp(expected.vertices, 0).max()  # a shape has the volume of radius 1
    assert (template.size.median, template.size.smallest, template.size.largest) == pytest.approx((diameter, diameter / 10, 10 * diameter))


@pytest.mark.operator("load_sizes")
def test_measured_sizes(ops, file, result):
    out, _ = result
    labels = read_labels(out / "instances" / "real.png")
    labels[:20, :20] = 2
    write_table(file / "particles.csv", measure(labels, nm_per_px=2.0), nm_per_px=2.0)
    sizes = read_table(file / "particles.csv")["diameter_nm"]
    ops.add_template(shape="sphere")
    assert ops.load_sizes(filepath="//particles.csv") == {"FINISHED"}
    size = panels().templates[0].size
    assert size.distribution == "list" and size.sizes() == [float(f"{value:.5g}") for value in sizes] and len(sizes) == 2
    assert size.median == canonical(np.median(sizes))
    assert size.smallest <= min(sizes) and size.largest >= max(sizes)


# Micrographs


@pytest.mark.operator("load_references", "show_reference", "remove_reference")
def test_references(ops, file):
    write_grey(file / "b.png", np.random.default_rng(0).integers(0, 255, (64, 96), dtype=np.uint8), nm_per_px=1.7)
    paths = [ROOT / "examples" / "silica" / "fei" / "K3K4Me3_2-2.tif", file / "b.png"]
    for path in paths:
        assert ops.load_references(filepath=str(path)) == {"FINISHED"}
    for number, path in enumerate(paths):
        reference, called, whole = window().references[number], read_micrograph(path), read_micrograph(path, crop_bottom=0)
        assert os.path.samefile(bpy.path.abspath(reference.path), path) and reference.scale_source == called.scale_source
        assert [reference.nm_per_px] == single(called.nm_per_px or 0)
        assert tuple(reference.size) == whole.pixels.shape[::-1]
        np.testing.assert_array_equal(picture(reference.image), rgb(np.rint(whole.pixels * 255)))
        window().reference_index = number
        assert ops.show_reference() == {"FINISHED"}
        (plane,) = bpy.context.scene.objects
        assert plane.data == reference.image
        assert [plane.empty_display_size] == pytest.approx(single(max(whole.pixels.shape) * (called.nm_per_px or 1.0) / NM_PER_UNIT))
    window().reference_index = 0
    assert ops.remove_reference() == {"FINISHED"}
    assert [reference.name for reference in window().references] == ["b.png"] and all(path.is_file() for path in paths)
    (plane,) = bpy.context.scene.objects
    assert plane.data == window().references[0].image
    assert ops.remove_reference() == {"FINISHED"}
    assert not window().references and not bpy.context.scene.objects


@pytest.mark.operator("find_scale_bar", "set_scale", "draw_line")
def test_scales(ops, file):
    pixels = np.random.default_rng(0).integers(80, 100, (200, 300), dtype=np.uint8)
    pixels[180:184, 40:137] = 255
    write_grey(file / "bar.png", pixels)
    ops.load_references(filepath=str(file / "bar.png"))
    reference, lines = window().references[0], bpy.context.scene.nanosynth_lines
    bar = find_bar(read_micrograph(file / "bar.png", crop_bottom=0).pixels)
    assert ops.find_scale_bar() == {"FINISHED"}
    row = (bar.top + bar.bottom) / 2 / 200
    assert list(lines.scale) == single(bar.left / 300, row, bar.right / 300, row)
    assert ops.set_scale(length_nm=330) == {"FINISHED"}
    called = read_micrograph(file / "bar.png", bar_nm=330).nm_per_px
    assert canonical(reference.nm_per_px) == called == examine_scales([file / "bar.png"], bar_nm=330)[0]["nm_per_px"]

    assert ops.draw_line(target="scale", start=(40, 182), end=(136.5, 182)) == {"FINISHED"}
    assert list(lines.scale) == single(40 / 300, 182 / 200, 136.5 / 300, 182 / 200)
    ops.set_scale(length_nm=330)
    assert canonical(reference.nm_per_px) == float(f"{330 / checked_length((40, 182), (136.5, 182), 300, 200):.6g}")


@pytest.mark.operator("preview_scene", "draw_line", "plot_profile", "export_profile")
def test_profiles(ops, file, tiny):
    write_grey(file / "real.png", np.random.default_rng(0).integers(0, 255, (64, 128), dtype=np.uint8), nm_per_px=2.5)
    ops.load_references(filepath=str(file / "real.png"))
    put(tiny)
    assert ops.preview_scene(index=1, side=64) == {"FINISHED"}
    pair = make_pair(small(tiny, 64), 1)
    np.testing.assert_array_equal(picture(bpy.data.images["Nanosynth preview"]), rgb(pair.image))

    drawn = {"reference": ((16, 32), (112, 48)), "preview": ((4, 60), (50, 10))}  # of which single precision keeps all
    for target, (start, end) in drawn.items():
        assert ops.draw_line(target=target, start=start, end=end) == {"FINISHED"}
    curves = []
    for name, pixels, nm, ends in (
        ("real.png", read_micrograph(file / "real.png").pixels, 2.5, drawn["reference"]),
        ("preview", pair.image / np.float32(255), pair.record["nm_per_pixel"], drawn["preview"]),
    ):
        distance, intensity = sample_line(pixels, *ends, width_px=bpy.context.scene.nanosynth_lines.width)
        curves.append((name, distance * nm, intensity))
    assert ops.plot_profile() == {"FINISHED"}
    np.testing.assert_array_equal(picture(bpy.data.images["Nanosynth profile"]), profile_picture(curves, unit="nm"))
    assert ops.export_profile(filepath="//profile.csv") == {"FINISHED"}
    assert (file / "profile.csv").read_text(encoding="utf-8") == profile_text(curves, unit="nm")


# Drawn scenes and their light


@pytest.mark.operator("open_scene", "close_scene")
def test_opened_scenes(ops, tiny):
    put(tiny)
    built = build_scene(tiny, sample_scene(tiny, 1, load_shapes(tiny)))
    expected, view = described(built.scene), built.scene.camera.data.ortho_scale
    built.remove()
    before = {name: len(getattr(bpy.data, name)) for name in ("scenes", "objects", "meshes", "materials", "images", "worlds", "lights")}
    assert ops.open_scene(index=1) == {"FINISHED"}
    drawn = bpy.context.scene
    assert described(drawn) == expected and len(expected) > 3 and drawn.camera.data.ortho_scale == view
    assert (drawn.render.resolution_x, drawn.cycles.samples) == (tiny.camera.render_px, tiny.camera.samples)
    assert ops.close_scene() == {"FINISHED"}
    assert {name: len(getattr(bpy.data, name)) for name in before} == before


def described(scene) -> dict:
    """The objects of a scene: where they are, their form, and their materials' numbers."""
    found = {}
    for item in scene.objects:
        turned = [round(value, 6) for row in item.matrix_basis.to_3x3() for value in row]
        if item.type == "LIGHT":  # a sun's place tells nothing: Nanosynth's lamp stands where it can be seen
            found[item.name] = (turned, round(item.data.energy, 5), item.data.angle)
            continue
        marks = {name: tuple(value) if hasattr(value, "__len__") else value for name, value in item.items()}
        numbers = []
        for slot in item.material_slots:
            for node in slot.material.node_tree.nodes:
                if node.type == "TEX_IMAGE":
                    numbers.append(float(np.sum(node.image.pixels)))
                for socket in node.inputs:
                    value = getattr(socket, "default_value", None)
                    numbers.append((node.bl_idname, socket.identifier, tuple(value) if hasattr(value, "__len__") else value))
        vertices = np.empty(3 * len(item.data.vertices) if item.type == "MESH" else 0, np.float32)
        if vertices.size:
            item.data.vertices.foreach_get("co", vertices)
        found[item.name] = (item.pass_index, turned, tuple(item.location), marks, numbers, vertices.tobytes())
    return found


@pytest.mark.operator("show_light", "release_light", "use_light")
def test_light(ops, tiny):
    put(tiny)
    window().scene_index = 1
    sample = sample_scene(tiny, 1, load_shapes(tiny))
    values = [sample.drawn["light"][name] for name in ("azimuth", "elevation", "strength")]
    built = build_scene(tiny, sample)
    (lamp,) = (item for item in built.scene.objects if item.type == "LIGHT")
    expected, energy = [*lamp.rotation_euler], lamp.data.energy
    built.remove()
    tuning = bpy.context.scene.nanosynth_tuning

    def shown():
        return [tuning.azimuth, tuning.elevation, tuning.strength]

    assert ops.show_light() == {"FINISHED"}
    assert shown() == single(*values) and not tuning.own_light
    assert [*tuning.lamp.rotation_euler, tuning.lamp.data.energy] == pytest.approx([*expected, energy], abs=1e-6)
    tuning.azimuth, tuning.elevation, tuning.strength = 90.0, 85.0, 1.0
    assert tuning.own_light
    assert ops.use_light(width=0.5) == {"FINISHED"}
    ranges = {}
    bounds = {name: spec for name, _, spec in specs(Light)}
    for name, value in (("azimuth", 90.0), ("elevation", 85.0), ("strength", 1.0)):
        first, last = getattr(tiny.light, name)
        half, spec = (last - first) / 4, bounds[name]
        ranges[name] = (canonical(max(value - half, spec.low)), canonical(min(value + half, spec.high)))
    tiny.light = dataclasses.replace(tiny.light, **ranges)
    assert panels() == tiny
    assert ops.release_light() == {"FINISHED"}
    drawn = sample_scene(tiny, 1, load_shapes(tiny)).drawn["light"]
    assert shown() == single(*(drawn[name] for name in ranges)) and not tuning.own_light


# Work in processes of their own


@pytest.mark.operator("generate_dataset", "follow_job", "show_pair", "forget_job")
def test_data_sets(ops, file, tiny):
    put(tiny)
    generate(tiny, file / "called")
    called = Dataset.open(file / "called")
    assert ops.generate_dataset(detached=True) == {"FINISHED"}
    jobs.RUNNING.clear()  # as if by a Blender that has gone
    assert ops.follow_job(kind="generate") == {"FINISHED"}
    made = Dataset.open(file / "nanosynth" / "dataset")
    assert made.recipe == called.recipe == tiny and sorted(made.finished()) == sorted(called.finished()) == [0, 1]
    for index in range(2):
        assert made.records[index] == called.records[index]
        for one, other in zip(made.paths(index), called.paths(index), strict=True):
            assert one.read_bytes() == other.read_bytes()
        for label, pixels in ((False, called.read(index)[0]), (True, called.read(index)[1])):
            assert ops.show_pair(index=index, label=label) == {"FINISHED"}
            np.testing.assert_array_equal(picture(bpy.data.images["Nanosynth pair"]), rgb(pixels))
    assert ops.forget_job(kind="generate") == {"FINISHED"} and not jobs.RUNNING
    assert ops.generate_dataset(directory="//tethered", count=1) == {"FINISHED"}
    (one,) = Dataset.open(file / "tethered").records.values()
    assert one == called.records[0]


outside = pytest.mark.skipif(
    bpy.app.version >= (4, 3), reason="made in the training environment, whatever the Blender: tried with the oldest"
)


CALLS = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import launch
sys.path.pop(0)
launch.load_package()
from nanosynth.learn.model import load_model
from nanosynth.learn.report import write_report
from nanosynth.learn.segmentation import SegmentationOptions, segment_files
from nanosynth.learn.settings import read_settings
from nanosynth.learn.training import train

folder = Path(sys.argv[1])
out = folder / "called"
train(folder / "dataset", read_settings(folder / "settings.toml"), out / "run", validation=[folder / "real.png"])
segment_files(load_model("sio2"), [folder / "real.png"], out / "result", SegmentationOptions(threshold=0.4, diameter=20.0))
write_report(out / "report.html", segmentation=[out / "result"], dataset=folder / "dataset", run=out / "run")
"""
"""What the operators below are to do, as calls, in the one Python that can."""


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """A folder with a data set of drawn discs, a micrograph, settings, and in `called` what the Python calls make of them."""
    python = learn_python()
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip("there is no training environment that runs here")
    folder = tmp_path_factory.mktemp("discs")
    discs = runpy.run_path(str(ROOT / "tests" / "learn" / "conftest.py"))
    discs["make_dataset"](folder / "dataset", count=2)
    write_grey(folder / "real.png", discs["disc_pair"](90).image, nm_per_px=5.0)
    settings = TrainingSettings(
        base_width=2, depth=2, patch_px=32, batch=2, iterations_per_epoch=3, epochs=2, learning_rate=0.01, diameter_px=12.0,
        preprocess=Preprocess(clahe_kernel_px=16), augmentation=Augmentation(),
    )  # fmt: skip
    write_text(folder / "settings.toml", to_toml(settings))
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([python, "-E", "-c", CALLS, str(folder)], check=True, env=variables)
    return folder


def alike(one, other):
    """Whether two JSON files tell the same, but for how long it took and by which command."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in ("command", "seconds", "data_wait_share")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    read = read_lines if one.suffix == ".jsonl" else read_json
    return plain(read(one)) == plain(read(other))


@pytest.mark.operator("train_network")
@outside
def test_trainings(ops, called):
    window().dataset, window().run = str(called / "dataset"), "//run"
    ops.load_references(filepath=str(called / "real.png"))
    assert ops.train_network(settings=str(called / "settings.toml")) == {"FINISHED"}
    made, other = Path(bpy.path.abspath("//run")), called / "called" / "run"
    assert alike(made / "run.json", other / "run.json") and alike(made / "history.jsonl", other / "history.jsonl")
    files = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert files == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    whole = [path for path in files if path.suffix in (".toml", ".png", ".h5")]
    assert any(path.suffix == ".h5" for path in whole) and any(path.suffix == ".png" for path in whole)
    for path in whole:
        assert (made / path).read_bytes() == (other / path).read_bytes(), path


@pytest.mark.operator("use_model", "segment_images")
@outside
def test_segmentations(ops, called, file):
    ops.load_references(filepath=str(called / "real.png"))
    assert ops.use_model(model="sio2") == {"FINISHED"}
    options = bpy.context.scene.nanosynth_options
    options.threshold, options.diameter = 0.4, 20.0
    assert ops.segment_images() == {"FINISHED"}
    made, other = file / "nanosynth" / "result", called / "called" / "result"
    assert alike(made / "segmentation.json", other / "segmentation.json")
    files = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert files == {path.relative_to(other) for path in other.rglob("*") if path.is_file()} and len(files) == 7
    for path in files - {Path("segmentation.json")}:
        assert (made / path).read_bytes() == (other / path).read_bytes(), path
    assert read_labels(made / "instances" / "real.png").max() > 3


@pytest.mark.operator("write_report")
@outside
def test_reports(ops, called, file):
    window().dataset, window().run, window().result = (str(called / path) for path in ("dataset", "called/run", "called/result"))
    assert ops.write_report(filepath="//report.html") == {"FINISHED"}
    assert (file / "report.html").read_bytes() == (called / "called" / "report.html").read_bytes()


@pytest.mark.operator("check_environment")
def test_the_check_of_the_environment(ops, file, monkeypatch):
    script = file / "python.sh"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # a Python without packages
    script.chmod(0o755)
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(script))
    call = f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); import launch; launch.load_package()\nfrom nanosynth.doctor import examine\nprint(json.dumps(examine()))"
    found = json.loads(subprocess.run([script, "-E", "-c", call], capture_output=True, text=True, check=True).stdout)
    with pytest.raises(RuntimeError) as caught:
        ops.check_environment()
    told = jobs.RUNNING["environment"].result
    assert {**told, "disk_free_gb": 0} == {**found, "disk_free_gb": 0, "kind": "done"} and len(found["problems"]) > 1
    assert all(problem["message"] in str(caught.value) for problem in found["problems"])


# Results


@pytest.mark.operator("show_result", "pick_particle", "tune_segmentation", "export_results")
def test_results(ops, result, file):
    out, entry = result
    micrograph, probability = read_micrograph(entry["image"]), read_probability(out / "probability" / "real.png")
    stored = read_labels(out / "instances" / "real.png")
    values = {"threshold": 0.4, "min_area": 0.02, "dynamic_share": 0.1, "dynamic": 0.05, "join": 1.0, "outline": 0.7, "min_confidence": 0.5}
    found = open_stored(out, entry).separate(**{name: canonical(value) for name, value in values.items()})
    assert ops.show_result(kind="mask") == {"FINISHED"}
    for labels, folder, count in ((stored, "stored", 1), (found, "tuned", 2)):
        if folder == "tuned":
            for name, value in values.items():
                setattr(window(), name, value)
            window().pick = (-1, -1)  # else its particle would be marked in the picture
            assert ops.tune_segmentation() == {"FINISHED"}
        np.testing.assert_array_equal(picture(bpy.data.images["Nanosynth result"]), rgb(np.uint8(labels > 0) * 255))
        table = measure(labels, micrograph.pixels, probability=probability, nm_per_px=2.0)
        assert len(table["label"]) == count
        for row in range(count):
            y, x = np.argwhere(labels == table["label"][row])[7]
            assert ops.pick_particle(x=int(x), y=int(y)) == {"FINISHED"}
            facts = json.loads(window().facts)
            assert facts["count"] == count and facts["median"] == pytest.approx(np.median(table["diameter_nm"]), rel=1e-12)
            for name, value in facts["particle"].items():
                expected = table[name][row]
                if isinstance(value, float):
                    assert value == pytest.approx(expected, rel=1e-6), name
                else:
                    assert value == expected or (value is None and np.isnan(expected)), name
        assert ops.export_results(directory=f"//{folder}") == {"FINISHED"}
        np.testing.assert_array_equal(read_labels(file / folder / "real_instances.png"), labels)
        write_table(file / "called.csv", table, nm_per_px=2.0, scale_source=entry["nm_per_px_source"])
        assert (file / folder / "real.csv").read_bytes() == (file / "called.csv").read_bytes()
    export(out, ["csv", "labels"], file / "exported")
    assert (file / "stored" / "real.csv").read_bytes() == (file / "exported" / "csv" / "real.csv").read_bytes()
    exported = read_labels(file / "exported" / "labels" / "real.tif")
    np.testing.assert_array_equal(read_labels(file / "stored" / "real_instances.png"), exported)
