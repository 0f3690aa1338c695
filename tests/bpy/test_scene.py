"""Scenes and their two renders, against independent oracles."""

import bpy
import numpy as np
import pytest
from mathutils.bvhtree import BVHTree

from nanosynth.errors import NanosynthError
from nanosynth.fields import from_dict, specs
from nanosynth.synth.degrade import degrade
from nanosynth.synth.recipe import NM_PER_UNIT, Recipe, Template, read_recipe
from nanosynth.synth.render import make_pair, render_label, render_photo
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.scene import build_scene
from nanosynth.synth.shapes import rotation_matrix, stretching
from nanosynth.synth.templates import load_shapes

SIZE = 251
SHAPES = next(spec.choices for name, _, spec in specs(Template) if name == "shape")


def small_recipe(**sections):
    base = {
        "camera": {"field_of_view": [700.0, 900.0], "render_px": 64, "image_px": SIZE, "samples": 1},
        "arrangement": {"coverage": [0.3, 1.0], "stacking": [0.1, 0.5], "overlap": 0.3},
        "templates": [{"stretch": [1.0, 1.3], "size": {"median": 110.0, "spread": 1.3}}],
    }
    return from_dict(Recipe, {**base, **sections})


def built(recipe, index, change=None):
    shapes = load_shapes(recipe)
    sample = sample_scene(recipe, index, shapes)
    if change:
        change(sample)
    return build_scene(recipe, sample), sample, shapes


def quiet(sample):
    """A degradation that leaves everything as it is."""
    return {**dict.fromkeys(sample.drawn["degradation"], 0.0), "gain": 1.0, "gamma": 1.0, "shoulder": 1.0, "field_of_view": sample.field_of_view}


def pixel_centres(sample, size, dx=0.0, dy=0.0):
    across = ((np.arange(size) + 0.5 + dx) / size - 0.5) * sample.field_of_view
    down = (0.5 - (np.arange(size) + 0.5 + dy) / size) * sample.field_of_view
    return np.meshgrid(across, down)


def ellipsoids_seen(sample, size, dx=0.0, dy=0.0):
    """The particle seen at every pixel, solved analytically: highest intersection of a vertical line with each ellipsoid."""
    table = sample.particles
    x, y = pixel_centres(sample, size, dx, dy)
    top = np.zeros((size, size))
    seen = np.zeros((size, size), int)
    for k in range(len(table["x_nm"])):
        turn = rotation_matrix([table[q][k] for q in ("qw", "qx", "qy", "qz")])
        axes = table["radius_nm"][k] * stretching(table["stretch"][k])
        a = turn @ np.diag(axes**-2.0) @ turn.T  # (p - c)^T A (p - c) = 1
        u, v = x - table["x_nm"][k], y - table["y_nm"][k]
        b = a[0, 2] * u + a[1, 2] * v
        c = a[0, 0] * u**2 + 2 * a[0, 1] * u * v + a[1, 1] * v**2 - 1
        square = b**2 - a[2, 2] * c
        z = np.where(square > 0, table["z_nm"][k] + (-b + np.sqrt(np.maximum(square, 0))) / a[2, 2], -np.inf)
        seen[z > top] = k + 1
        top = np.maximum(top, z)
    return seen


def trees_of(built_scene):
    """The particles' world-space meshes: bounds and a tree for ray casting each."""
    trees = []
    for item in built_scene.particles:
        matrix = np.array(item.matrix_basis)
        mesh = item.data
        vertices = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", vertices)
        triangles = np.empty(3 * len(mesh.polygons), np.int32)
        mesh.polygons.foreach_get("vertices", triangles)
        world = vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        trees.append((world.min(0), world.max(0), BVHTree.FromPolygons(world.tolist(), triangles.reshape(-1, 3).tolist())))
    return trees


def rays_seen(trees, sample, size, dx=0.0, dy=0.0):
    """The particle seen at every pixel, by a ray cast straight down onto the world-space meshes."""
    x, y = (a / NM_PER_UNIT for a in pixel_centres(sample, size, dx, dy))
    seen = np.zeros((size, size), int)
    top = np.zeros((size, size))
    for k, (low, high, tree) in enumerate(trees, 1):
        inside = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
        for i, j in zip(*np.nonzero(inside)):
            hit, *_ = tree.ray_cast((x[i, j], y[i, j], 1000.0), (0, 0, -1))
            if hit is not None and hit.z > top[i, j]:
                top[i, j], seen[i, j] = hit.z, k
    return seen


def without_ties(oracle, label, tie=0.02):
    """Pixels where the oracle says the same within `tie` pixels around the centre."""
    at = oracle()
    clear = np.ones_like(at, bool)
    for dx, dy in ((tie, 0), (-tie, 0), (0, tie), (0, -tie)):
        clear &= oracle(dx, dy) == at
    # Ties are the rim alone: a check that left out more would check nothing.
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(label[clear], at[clear])


@pytest.mark.parametrize("index", range(6))
def test_labels_equal_the_analytic_oracle(index):
    scene, sample, _ = built(small_recipe(), index)
    try:
        label = render_label(scene, SIZE)
    finally:
        scene.remove()
    assert len(np.unique(label)) > 5
    without_ties(lambda dx=0.0, dy=0.0: ellipsoids_seen(sample, SIZE, dx, dy), label)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s not in ("sphere", "mesh")])
def test_labels_of_every_shape_equal_ray_casting(shape):
    template = {
        "shape": shape,
        "aspect": [30.0, 60.0] if shape == "wire" else [1.5, 4.0],
        "bend": [0.0, 20.0],
        "sides": 5,
        "variants": 3,
        "size": {"median": 60.0 if shape in ("rod", "wire") else 200.0, "spread": 1.2},
    }
    recipe = small_recipe(templates=[template], arrangement={"coverage": [0.4, 0.4], "stacking": [0.5, 0.5], "overlap": 0.1})
    scene, sample, _ = built(recipe, 0)
    try:
        label = render_label(scene, 71)
        trees = trees_of(scene)
        without_ties(lambda dx=0.0, dy=0.0: rays_seen(trees, sample, 71, dx, dy), label)
    finally:
        scene.remove()
    assert len(np.unique(label)) > 5


def test_wires_that_cross_stay_two_instances():
    recipe = small_recipe(templates=[{"shape": "wire", "aspect": [60.0, 60.0], "size": {"median": 50.0, "spread": 1.0}}], arrangement={"coverage": [0.3, 0.3]})
    scene, sample, _ = built(recipe, 1)
    try:
        label = render_label(scene, SIZE)
    finally:
        scene.remove()
    from scipy import ndimage

    # Straight wires: one that is in two pieces passes below another, which is whole there.
    count = len(sample.particles["x_nm"])
    pieces = [ndimage.label(label == k, np.ones((3, 3)))[1] for k in range(1, count + 1)]
    assert count > 4 and max(pieces) > 1 and 1 in pieces


@pytest.fixture
def artists_mesh(tmp_path):
    """A lopsided, concave mesh with a modifier, as an artist might leave it, saved as .blend and .ply."""
    bpy.ops.mesh.primitive_monkey_add(size=3.0, rotation=(0.3, 0.2, 0.1))
    item = bpy.context.object
    item.name = "Grain"
    item.scale = (1.0, 0.7, 1.2)
    item.modifiers.new("Bumps", "SUBSURF").levels = 1
    other = bpy.data.objects.new("A lamp", bpy.data.lights.new("A lamp", "POINT"))
    blend = tmp_path / "my grains é.blend"
    bpy.data.libraries.write(str(blend), {item, other})
    ply = tmp_path / "grain.ply"
    bpy.ops.wm.ply_export(filepath=str(ply), export_selected_objects=True)
    bpy.data.objects.remove(item)
    bpy.data.objects.remove(other)
    return {"blend": blend, "ply": ply}


@pytest.mark.parametrize("kind", ["blend", "ply"])
def test_labels_of_an_artists_mesh_equal_ray_casting(artists_mesh, kind):
    template = {"name": "grain", "shape": "mesh", "mesh": str(artists_mesh[kind]), "size": {"median": 160.0}}
    recipe = small_recipe(templates=[template, {"name": "ball", "size": {"median": 120.0}}])
    recipe.camera.image_px = 101
    before = {k: len(getattr(bpy.data, k)) for k in ("objects", "meshes", "materials", "scenes", "images", "worlds")}
    for index in range(2):
        scene, sample, _ = built(recipe, index)
        try:
            assert {o.data.name.rsplit(" ", 1)[-1] for o in scene.particles} == {"grain", "ball"} or index
            label = render_label(scene, 101)
            trees = trees_of(scene)
            without_ties(lambda dx=0.0, dy=0.0: rays_seen(trees, sample, 101, dx, dy), label)
        finally:
            scene.remove()
    assert before == {k: len(getattr(bpy.data, k)) for k in before}


def test_a_mesh_rests_on_the_substrate(artists_mesh):
    recipe = small_recipe(templates=[{"name": "grain", "shape": "mesh", "mesh": str(artists_mesh["ply"])}])
    recipe.arrangement.stacking = (0.0, 0.0)
    scene, _, _ = built(recipe, 0)
    try:
        for item in scene.particles:
            matrix = np.array(item.matrix_basis)
            lowest = min((matrix @ np.array([*v.co, 1.0]))[2] for v in item.data.vertices)
            assert abs(lowest) < 1e-3
    finally:
        scene.remove()


def test_mesh_files_that_cannot_serve(tmp_path, artists_mesh):
    def load(**template):
        load_shapes(from_dict(Recipe, {"templates": [{"shape": "mesh", **template}]}))

    with pytest.raises(NanosynthError, match="no object 'Missing'.*Grain"):
        load(mesh=str(artists_mesh["blend"]), object="Missing")
    flat = tmp_path / "flat.ply"
    bpy.ops.mesh.primitive_plane_add()
    bpy.ops.wm.ply_export(filepath=str(flat), export_selected_objects=True)
    bpy.data.objects.remove(bpy.context.object)
    with pytest.raises(NanosynthError, match="encloses no volume"):
        load(mesh=str(flat))
    with pytest.raises(NanosynthError, match="not a mesh format"):
        load(mesh=str(tmp_path / "grain.step"))
    for suffix in ("blend", "obj", "ply", "stl"):
        damaged = tmp_path / f"damaged é.{suffix}"
        for content in (b"", b"\x00\xffnothing\n" * 20):
            damaged.write_bytes(content)
            with pytest.raises(NanosynthError, match="not a mesh that Blender can read|holds no mesh|encloses no volume"):
                load(mesh=str(damaged))


def test_the_label_pass_restores_everything():
    scene, _, _ = built(small_recipe(), 0)
    try:
        first = render_photo(scene, 64, 2, seed=5)
        settings = (scene.scene.cycles, scene.scene.render)

        def values():
            plain = (int, float, str, bool)
            names = [(owner, p.identifier) for owner in settings for p in owner.bl_rna.properties if not p.is_readonly]
            return {name: value for owner, name in names if isinstance(value := getattr(owner, name), plain)}

        before = values()
        assert {"samples", "filter_width", "device", "resolution_x", "filepath", "engine"} <= before.keys()
        render_label(scene, 96)
        assert values() == before
        assert scene.scene.view_layers[0].material_override is None
        np.testing.assert_array_equal(render_photo(scene, 64, 2, seed=5), first)
    finally:
        scene.remove()


def test_linked_meshes():
    scene, _, _ = built(small_recipe(), 1)
    try:
        assert len({o.data.name for o in scene.particles}) == 1 < len(scene.particles)
        assert [o.pass_index for o in scene.particles] == list(range(1, len(scene.particles) + 1))
    finally:
        scene.remove()


def lit(elevation=60.0, azimuth=0.0, strength=1.0):
    def change(sample):
        sample.drawn["light"].update(elevation=elevation, azimuth=azimuth, strength=strength)
        sample.drawn["shader"].update(diffuse=0.4, shadowing=0.0, roughness=0.0)
        sample.drawn["dirt"]["present"] = False

    recipe = small_recipe()
    recipe.arrangement.stacking = (0.0, 0.0)
    recipe.arrangement.coverage = (0.1, 0.1)
    scene, sample, _ = built(recipe, 2, change)
    try:
        return render_photo(scene, 128, 4, seed=1), render_label(scene, 128), sample
    finally:
        scene.remove()


def test_the_light_shows_on_the_particles():
    bright, label, sample = lit(strength=1.5)
    dim, _, _ = lit(strength=0.3)
    inside = label > 0
    assert bright[inside].mean() > 1.15 * dim[inside].mean()

    def right_minus_left(image):
        k = int(np.bincount(label.ravel())[1:].argmax()) + 1
        columns = np.arange(128)[None].repeat(128, 0)
        centre = columns[label == k].mean()
        mine = label == k
        return image[mine & (columns > centre + 2)].mean() - image[mine & (columns < centre - 2)].mean()

    from_right, _, _ = lit(elevation=20.0, azimuth=0.0)
    from_left, _, _ = lit(elevation=20.0, azimuth=180.0)
    assert right_minus_left(from_right) > 0.02 > -0.02 > right_minus_left(from_left)


def test_a_core_shines_through_its_shell():
    recipe = small_recipe(templates=[{"shape": "core_shell", "core": [0.5, 0.5], "core_contrast": [1.0, 1.0], "size": {"median": 300.0, "spread": 1.0}}])
    recipe.arrangement.coverage, recipe.arrangement.stacking = (0.05, 0.05), (0.0, 0.0)
    recipe.camera.field_of_view = (700.0, 700.0)
    profiles = []

    def plain(sample):
        sample.drawn["shader"].update(shadowing=0.0, roughness=0.0, diffuse=0.0)
        for column, values in sample.particles.items():
            sample.particles[column] = values[:1]
        sample.particles["x_nm"][:] = sample.particles["y_nm"][:] = 0.0

    for contrast in (1.0, 0.0):
        recipe.templates[0].core_contrast = (contrast, contrast)
        scene, sample, _ = built(recipe, 0, plain)
        try:
            photo = render_photo(scene, SIZE, 4, 0)
        finally:
            scene.remove()
        x, y = pixel_centres(sample, SIZE)
        table = sample.particles
        away = np.hypot(x, y) / table["radius_nm"][0]
        profiles.append([photo[away < 0.1].mean(), photo[(away > 0.6) & (away < 0.8)].mean()])
    with_core, without = np.array(profiles)
    assert with_core[0] / without[0] == pytest.approx(2, rel=0.05)
    assert with_core[1] == pytest.approx(without[1], rel=0.02)


def test_micrograph_and_label_are_registered():
    """The micrograph's edges lie where the label's do: below a tenth of a rendered pixel, at the paper's sizes."""
    recipe = read_recipe("sio2")
    recipe.arrangement.stacking = (0.0, 0.0)
    recipe.arrangement.coverage = (0.1, 0.1)

    def change(sample):
        sample.drawn["shader"].update(edge=0.0, shadowing=0.0, roughness=0.0, diffuse=0.0, base=0.5)
        sample.drawn["substrate"].update(relative_yield=0.0, texture=0.0)
        sample.drawn["dirt"]["present"] = False
        sample.particles["deviation"][:] = 0.0

    scene, sample, _ = built(recipe, 5, change)
    try:
        photo, label = render_photo(scene, 507, 32, seed=3), render_label(scene, 2031)
    finally:
        scene.remove()
    image = degrade(photo, quiet(sample), 2031, np.random.default_rng(0)) / 255
    truth = (label > 0) * 0.5
    assert truth.any()
    axis = np.arange(2031)
    for along in (0, 1):
        moved = (image.sum(along) @ axis) / image.sum() - (truth.sum(along) @ axis) / truth.sum()
        assert abs(moved) * 507 / 2031 < 0.1
    assert image.sum() == pytest.approx(truth.sum(), rel=0.01)


def test_a_pair_is_deterministic_and_described():
    recipe = small_recipe()
    a, b = make_pair(recipe, 3), make_pair(recipe, 3)
    np.testing.assert_array_equal(a.instances, b.instances)
    np.testing.assert_array_equal(a.label, b.label)
    np.testing.assert_array_equal(a.image, b.image)
    assert a.record == b.record
    assert a.image.dtype == a.label.dtype == np.uint8 and a.instances.dtype == np.uint16
    assert a.image.shape == a.label.shape == a.instances.shape == (SIZE, SIZE)
    table = a.record["particles"]
    assert np.array_equal(np.bincount(a.instances.ravel(), minlength=len(table["id"]) + 1)[1:], table["area_px"])
    visible, full = np.array(table["area_px"]), np.array(table["full_area_px"])
    assert (visible <= full + 4 * np.sqrt(full) + 4).all()
    assert set(np.unique(a.label)) == {0, 255}
    assert (a.label > 0).sum() < (a.instances > 0).sum()


def test_dirt_is_on_some_scenes_only_and_new_each_time():
    recipe = small_recipe()
    recipe.dirt.strength = (0.3, 0.3)
    present = [sample_scene(recipe, i).drawn["dirt"]["present"] for i in range(20)]
    assert 4 < sum(present) < 16

    def clean(sample):
        sample.drawn["dirt"].update(present=False)

    def dirty(sample):
        sample.drawn["dirt"].update(present=True, sign=1.0)

    images = []
    for index, change in ((0, clean), (0, dirty)):
        scene, _, _ = built(recipe, index, change)
        try:
            images.append((render_photo(scene, 96, 4, seed=0), render_label(scene, 96)))
        finally:
            scene.remove()
    background = images[0][1] == 0
    gain = (images[1][0] - images[0][0])[background]
    assert gain.max() > 0.1 and (np.abs(gain) < 0.02).mean() > 0.1
    np.testing.assert_array_equal(images[0][1], images[1][1])


def test_a_kept_scene_can_be_opened(tmp_path):
    path = tmp_path / "scene é.blend"
    recipe = small_recipe()
    make_pair(recipe, 0, save_blend=path)
    with bpy.data.libraries.load(str(path)) as (source, _):
        assert source.scenes == ["Nanosynth"]
        assert sum(o.startswith("particle ") for o in source.objects) == len(sample_scene(recipe, 0).particles["x_nm"])
    with bpy.data.libraries.load(str(path)) as (_, target):
        target.scenes = ["Nanosynth"]
    (kept,) = target.scenes
    try:  # it renders as the micrograph was rendered
        assert (kept.render.engine, kept.render.resolution_x, kept.cycles.samples) == ("CYCLES", 64, 1)
        assert kept.view_layers[0].material_override is None and kept.camera is not None
    finally:
        bpy.data.scenes.remove(kept)


def test_an_unknown_device_is_named():
    with pytest.raises(NanosynthError, match="--device NOSUCH"):
        make_pair(small_recipe(), 0, device="NOSUCH")


def test_an_empty_scene():
    recipe = small_recipe()
    recipe.arrangement.coverage = (0.0, 0.0)
    pair = make_pair(recipe, 0)
    assert pair.instances.max() == 0 and pair.record["particles"]["id"] == []


def test_the_bare_substrate_is_even():
    def bare(sample):
        sample.drawn["substrate"]["texture"] = 0.0
        sample.drawn["dirt"]["present"] = False

    recipe = small_recipe()
    recipe.arrangement.coverage = (0.0, 0.0)
    scene, _, _ = built(recipe, 0, bare)
    try:
        image = render_photo(scene, 64, 4, seed=0)
    finally:
        scene.remove()
    assert np.ptp(image) < 0.01 * image.mean()
