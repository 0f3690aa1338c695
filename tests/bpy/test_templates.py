"""Templates as objects of the file, the recipe's reset, scale bars, lines and profiles."""

import time
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.fields import to_dict
from nanosynth.files import write_text
from nanosynth.learn.images import write_grey
from nanosynth.learn.profiles import profile_picture, sample_line
from nanosynth.operators import pictures, preview, profiles, state, templates
from nanosynth.synth.recipe import Template, read_recipe
from nanosynth.synth.templates import load_shapes, read_mesh

pytestmark = pytest.mark.usefixtures("file")


def home():
    return state.home(bpy.context)


@pytest.mark.parametrize("shape", templates.BUILT_IN)
def test_every_built_in_shape_becomes_an_object(ops, shape):
    assert ops.add_template(shape=shape) == {"FINISHED"}
    template = home().nanosynth_recipe.templates[0]
    assert template.shape == shape and not bpy.data.objects
    template.size.median = 80.0
    assert ops.edit_template() == {"FINISHED"}
    item = bpy.context.active_object
    assert template.shape == "mesh" and template.object == item.name
    lowest = min((item.matrix_world @ vertex.co).z for vertex in item.data.vertices)
    assert lowest == pytest.approx(0, abs=1e-4)  # it lies on the substrate
    shape = load_shapes(state.recipe_of(home()))[template.name]
    assert len(shape.vertices) == len(item.data.vertices) < 50_000
    assert ops.edit_template() == {"FINISHED"} and len(bpy.data.objects) == 1  # once more: the same object


def test_what_the_artist_changes_goes_into_the_recipe(ops, file):
    ops.add_template(shape="cube", as_object=True)
    item, path = bpy.context.active_object, file / "nanosynth" / "templates" / "cube.blend"
    template = home().nanosynth_recipe.templates[0]
    stamp = path.stat().st_mtime_ns
    templates.freshen(home())
    assert path.stat().st_mtime_ns == stamp  # unchanged, so not written
    before = load_shapes(state.recipe_of(home()))["cube"].vertices
    for vertex in item.data.vertices:
        vertex.co.x *= 3
    item.name = "long"
    bpy.context.view_layer.update()
    assert ops.save_recipe(filepath="//r.toml") == {"FINISHED"}
    assert template.object == "long"
    vertices = load_shapes(read_recipe(file / "r.toml"))["cube"].vertices
    sides, first = np.ptp(vertices, 0), np.ptp(before, 0)
    assert sides[0] / sides[1] == pytest.approx(3 * first[0] / first[1], rel=1e-3)
    item.data.clear_geometry()
    bpy.context.view_layer.update()
    with pytest.raises(RuntimeError, match="encloses no volume"):
        ops.save_recipe(filepath="//r.toml")


def test_two_objects_of_like_names_keep_files_of_their_own(ops, file):
    for _ in range(2):
        bpy.ops.mesh.primitive_cube_add(size=0.8)
        bpy.context.active_object.name = "a/b" if len(bpy.data.objects) == 1 else "a?b"
        assert ops.mark_template() == {"FINISHED"}
    assert [t.mesh for t in home().nanosynth_recipe.templates] == ["//nanosynth/templates/a_b.blend", "//nanosynth/templates/a_b 2.blend"]


def test_a_template_that_rests_is_looked_at_once(ops, file, monkeypatch):
    ops.add_template(shape="cube", as_object=True)
    item, path = bpy.context.active_object, file / "nanosynth" / "templates" / "cube.blend"
    bpy.ops.mesh.primitive_uv_sphere_add(segments=80, ring_count=60)
    ops.mark_template()
    other = bpy.data.scenes.new("other")  # as in a second window
    other.collection.objects.link(item)
    other.nanosynth_home = home()
    looked = []
    monkeypatch.setattr(templates, "read_mesh", lambda template: looked.append(template.name) or read_mesh(template))
    app = SimpleNamespace(background=False, timers=bpy.app.timers)
    monkeypatch.setattr(templates, "bpy", SimpleNamespace(**{**vars(bpy), "app": app}))  # as in a window

    def waiting():
        bpy.context.view_layer.update()
        other.view_layers[0].update()
        return bpy.app.timers.is_registered(templates._rest)

    waiting()
    templates.stop()
    for changes in (False, True):
        stamp = path.stat().st_mtime_ns
        item.location.x += 1
        if changes:
            item.data.vertices[0].co *= 2
            item.data.update()
        assert waiting()
        bpy.app.timers.unregister(templates._rest)
        began = time.monotonic()
        while templates._rest() is not None:
            assert not waiting() and time.monotonic() - began < 2
        assert looked == ["cube"] and not waiting()
        assert (path.stat().st_mtime_ns != stamp) == changes
    path.write_bytes(b"")  # by another program
    templates.freshen(home())
    assert looked == ["cube", "cube", "Sphere"] and path.stat().st_size


def content():
    """How many of each kind of data the file holds, and their names."""
    kinds = [kind.identifier for kind in bpy.data.bl_rna.properties if kind.type == "COLLECTION"]
    return {kind: sorted(item.name_full for item in getattr(bpy.data, kind)) for kind in kinds}


def test_reading_a_mesh_leaves_nothing_behind(file):
    bpy.ops.mesh.primitive_cube_add()
    grain = bpy.context.active_object
    gold = bpy.data.materials.new("gold")
    gold.use_nodes = True
    gold.node_tree.nodes.new("ShaderNodeTexImage").image = bpy.data.images.new("scratches", 4, 4)
    gold.node_tree.nodes.new("ShaderNodeGroup").node_tree = bpy.data.node_groups.new("alloy", "ShaderNodeTree")
    grain.data.materials.append(gold)
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.5, location=(1, 1, 1))
    cut = grain.modifiers.new("cut", "BOOLEAN")
    cut.object = bpy.context.active_object
    bumps = grain.modifiers.new("bumps", "DISPLACE")
    bumps.texture, bumps.strength = bpy.data.textures.new("bumps", "CLOUDS"), 0.01
    grain.parent = bpy.data.objects.new("holder", None)
    grain.shape_key_add(name="Basis")
    grain.keyframe_insert("location")
    path = file / "grain.blend"
    bpy.data.libraries.write(str(path), {grain})
    before, template = content(), Template(name="grain", shape="mesh", mesh=str(path), object=grain.name)
    first = read_mesh(template)
    assert content() == before and len(first.vertices) > 8  # the modifiers' objects were there while it was read
    np.testing.assert_array_equal(read_mesh(template).vertices, first.vertices)
    assert content() == before
    template.object = ""
    with pytest.raises(NanosynthError, match="holds several meshes"):
        read_mesh(template)
    assert content() == before
    bpy.ops.wm.obj_export(filepath=str(file / "grain.obj"))  # two objects, with materials
    before = content()
    read_mesh(Template(name="grain", shape="mesh", mesh=str(file / "grain.obj")))
    assert content() == before


def test_a_file_that_was_never_saved_says_so(ops):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with pytest.raises(RuntimeError, match="Save the .blend file first"):
        ops.add_template(shape="cube", as_object=True)
    assert not bpy.data.objects


def test_reset_keeps_what_the_artist_made(ops):
    ops.use_preset(preset="sio2")
    bpy.ops.mesh.primitive_cube_add(size=0.8)
    bpy.context.active_object.name = "small"  # as a template of the preset
    ops.mark_template()
    group = home().nanosynth_recipe
    group.shader.base, group.light.strength, group.templates[0].weight = (0.0, 0.1), (2.0, 3.0), 5.0
    assert ops.reset_recipe(preset="sio2", part="shader") == {"FINISHED"}
    preset = read_recipe("sio2")
    assert tuple(group.shader.base) == pytest.approx(preset.shader.base) and tuple(group.light.strength) == (2.0, 3.0)
    assert ops.reset_recipe(preset="sio2") == {"FINISHED"}
    assert [t.name for t in group.templates] == [*(t.name for t in preset.templates), "small 2"]
    assert "small" in bpy.data.objects
    group.templates.remove(2)
    assert to_dict(state.recipe_of(home())) == to_dict(preset)


def test_everything_is_there_elsewhere(ops, file):
    write_grey(file / "a.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    ops.load_references(filepath=str(file / "a.png"))
    ops.draw_line(target="scale", start=(10, 50), end=(50, 50))
    ops.set_scale(length_nm=100)
    ops.add_template(shape="platelet", as_object=True)
    pictures.show_array(preview.IMAGE, np.full((20, 20), 128, np.uint8)).use_fake_user = True
    bpy.ops.wm.save_mainfile()
    moved = file.parent / f"{file.name} moved"
    file.rename(moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "project.blend"))
    check(moved)
    pictures.show_array(preview.IMAGE, np.full((30, 30), 128, np.uint8))
    other = file.parent / f"{file.name} other"
    other.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(other / "copy.blend"))  # the reference stays where it is
    assert (other / "nanosynth" / "templates" / "platelet.blend").is_file()
    check(moved)
    moved.rename(file)


def paths_kept():
    """What the window keeps of paths."""
    window = home().nanosynth
    return {kept.identifier: getattr(owner, kept.identifier) for owner, kept in state.paths(window)}


def test_what_was_chosen_before_the_first_save_moves_with_the_project(ops, file):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    folder = file / "project"
    for name in ("labels", "nanosynth/mine"):
        (folder / name).mkdir(parents=True)
    write_grey(folder / "a.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    ops.load_references(filepath=str(folder / "a.png"))
    window = home().nanosynth
    window.annotations, window.result, window.model = str(folder / "labels"), str(folder / "nanosynth" / "mine"), "sio2"
    window.exported = "3 files"
    absolute = paths_kept()
    bpy.ops.wm.save_as_mainfile(filepath=str(file / "copy.blend"), copy=True)
    assert paths_kept() == absolute  # the open file lies nowhere yet
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "project.blend"))
    assert window.exported == "3 files"  # the results are the same
    moved = file / "moved"
    folder.rename(moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "project.blend"))
    relative = {"path": "//a.png", "annotations": "//labels", "result": "//nanosynth/mine", "dataset": "//nanosynth/dataset"}
    assert {**absolute, **relative} == paths_kept()
    assert Path(bpy.path.abspath(home().nanosynth.references[0].image.filepath)) == moved / "a.png"


def test_saved_elsewhere_what_was_chosen_stays_the_same_file(ops, file):
    write_grey(file / "a.png", np.tile(np.arange(80, dtype=np.uint8), (60, 1)))
    write_text(file / "training.toml", "")
    other, disk = file / "other" / "project", file.parent / f"{file.name} disk"
    for folder in (file / "labels", file / "nanosynth" / "run", other, disk):
        folder.mkdir(parents=True)
    ops.load_references(filepath=str(file / "a.png"))
    window = home().nanosynth
    window.annotations, window.training_file, window.model = "//labels", "//training.toml", "sio2"
    window.dataset = f"//../{disk.name}"
    before = paths_kept()
    bpy.ops.wm.save_as_mainfile(filepath=str(other / "copy.blend"), copy=True)
    assert paths_kept() == before
    with pytest.raises(RuntimeError):
        bpy.ops.wm.save_as_mainfile(filepath=str(other / "none" / "project.blend"))
    assert paths_kept() == before
    bpy.ops.wm.save_as_mainfile(filepath=str(other / "project.blend"))
    after = paths_kept()
    there = {"path": "//../../a.png", "annotations": "//../../labels", "training_file": "//../../training.toml"}
    there["dataset"] = f"//../../../{disk.name}"
    assert after == {**before, **there}  # the run is another one; the data set that lies elsewhere is the same
    for name in ("copy", "project"):
        bpy.ops.wm.open_mainfile(filepath=str(other / f"{name}.blend"))
        assert paths_kept() == after  # it is so in the file, not only in what was open


def check(folder):
    reference = home().nanosynth.references[0]
    assert state.absolute(reference.path) == folder / "a.png" and reference.nm_per_px == pytest.approx(2.5)
    assert tuple(reference.image.size) == (80, 60)
    assert bpy.data.images[preview.IMAGE].pixels[0] == pytest.approx(0.5, abs=0.01)  # it is nowhere but in the file
    item = templates.object_of(home().nanosynth_recipe.templates[0])
    assert item.name == "platelet" and len(load_shapes(state.recipe_of(home()))["platelet"].vertices) == len(item.data.vertices)


def test_measured_sizes_come_from_a_table(ops, file):
    ops.add_template(shape="sphere")
    write_text(file / "sizes.csv", "label,diameter_nm\n1,80.5\n2,91\n3,\n4,120\n")
    assert ops.load_sizes(filepath="//sizes.csv") == {"FINISHED"}
    size = state.recipe_of(home()).templates[0].size
    assert size.distribution == "list" and size.sizes() == [80.5, 91.0, 120.0] and size.median == 91.0
    write_text(file / "plain.txt", "12.5\n13\n")
    ops.load_sizes(filepath="//plain.txt")
    assert state.recipe_of(home()).templates[0].size.sizes() == [12.5, 13.0]
    write_text(file / "none.txt", "a b\n")
    with pytest.raises(RuntimeError, match="holds no sizes"):
        ops.load_sizes(filepath="//none.txt")


# Scale bars, lines, profiles


@pytest.fixture
def picture(file):
    pixels = np.full((200, 300), 90, np.uint8)
    pixels[60:100, 100:200] = 180
    pixels[180:184, 40:140] = 255  # a scale bar
    write_grey(file / "real.png", pixels)
    bpy.ops.nanosynth.load_references(filepath=str(file / "real.png"))
    return pixels


def test_the_scale_is_read_off_a_line(ops, picture):
    assert not ops.set_scale.poll()
    assert ops.draw_line(target="scale", start=(40, 182), end=(140, 182)) == {"FINISHED"}
    with pytest.raises(RuntimeError, match="length of the scale bar was not told"):
        ops.set_scale()
    assert home().nanosynth.references[0].nm_per_px == 0
    assert ops.set_scale(length_nm=250) == {"FINISHED"}
    (reference,) = home().nanosynth.references
    assert reference.nm_per_px == pytest.approx(2.5) and reference.scale_source == "scale bar, 100 px for 250 nm"
    assert home().collection.objects[pictures.PLANES[0]].empty_display_size == pytest.approx(300 * 2.5 / 100)


def test_the_scale_goes_to_the_others_of_its_size_that_have_none(ops, picture, file):
    for name, height, nm in (("same", 200, None), ("known", 200, 7.0), ("other", 180, None)):
        write_grey(file / f"{name}.png", np.random.default_rng(0).integers(0, 99, (height, 300)).astype(np.uint8), nm_per_px=nm)
        ops.load_references(filepath=str(file / f"{name}.png"))
    home().nanosynth.reference_index = 0
    ops.draw_line(target="scale", start=(40, 182), end=(140, 182))
    ops.set_scale(length_nm=250)
    assert [r.nm_per_px for r in home().nanosynth.references] == [pytest.approx(2.5), 0, 7, 0]
    ops.set_scale(length_nm=500, others=True)
    assert [r.nm_per_px for r in home().nanosynth.references] == [pytest.approx(5), pytest.approx(5), 7, 0]
    assert home().nanosynth.references[1].scale_source == "scale bar, 100 px for 500 nm, in real.png"


def test_the_scale_bar_is_found(ops, picture, file):
    assert ops.find_scale_bar() == {"FINISHED"}
    ops.set_scale(length_nm=1000)
    assert home().nanosynth.references[0].nm_per_px == pytest.approx(10, rel=1e-3)
    assert ops.set_scale.poll()
    write_grey(file / "none.png", np.random.default_rng(0).integers(80, 120, (100, 100)).astype(np.uint8))
    ops.load_references(filepath=str(file / "none.png"))
    assert not ops.set_scale.poll()  # the line is the other micrograph's
    with pytest.raises(RuntimeError, match="no scale bar was found"):
        ops.find_scale_bar()


def test_profiles_are_plotted_together(ops, picture, file):
    assert not ops.plot_profile.poll()
    with pytest.raises(RuntimeError, match="no image to draw a line over"):
        ops.draw_line(target="preview", start=(1, 1), end=(5, 5))
    image = pictures.show_array(preview.IMAGE, np.tile(np.linspace(0, 255, 50).astype(np.uint8), (40, 1)))
    uneven = np.random.default_rng(0).integers(0, 255, (30, 20), dtype=np.uint8)
    np.testing.assert_array_equal(pictures.array_of(pictures.show_array("uneven", uneven)), uneven)
    image["nm_per_px"] = 4.0
    home().nanosynth.references[0].nm_per_px = 2.0
    ops.draw_line(target="reference", start=(80, 80), end=(220, 80))
    ops.draw_line(target="preview", start=(5, 20), end=(45, 20))
    assert ops.plot_profile() == {"FINISHED"}
    (name, distance, values), (_, other, _) = profiles.curves_of(home())[0]
    expected = sample_line(picture / 255, (80, 80), (220, 80), width_px=3)
    assert name == "real.png" and distance[-1] == pytest.approx(280) and other[-1] == pytest.approx(160)
    np.testing.assert_allclose(values, expected[1], atol=1e-5)
    shown = np.empty(len(bpy.data.images[profiles.PROFILE].pixels), np.float32)
    bpy.data.images[profiles.PROFILE].pixels.foreach_get(shown)
    drawn = profile_picture(profiles.curves_of(home())[0], unit="nm")
    np.testing.assert_allclose(shown.reshape(*drawn.shape[:2], 4)[::-1, :, :3], drawn / 255, atol=1 / 255)
    assert ops.export_profile(filepath="//p.csv") == {"FINISHED"}
    lines = (file / "p.csv").read_text().splitlines()
    assert lines[0] == "curve,distance_nm,intensity" and len(lines) == 1 + 141 + 41
    home().nanosynth.references[0].nm_per_px = 0.0
    assert profiles.curves_of(home())[1] == "px"
    with pytest.raises(RuntimeError, match="0 px long"):
        ops.draw_line(target="reference", start=(5, 5), end=(5, 5))
    assert Path(state.absolute(home().nanosynth.references[0].path)).name == "real.png"
