"""Particles of any shape come to rest on each other."""

import numpy as np
import pytest

from nanosynth.synth.columns import Draft, Ground, body_of, lean
from nanosynth.synth.forms import draw_forms, sphere
from nanosynth.synth.recipe import Template, read_recipe
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.shapes import rotation_matrix, stretching


def ball(radius=50.0):
    return Draft(Template(), sphere(), radius, 1.0)


def upright(draft):
    return body_of(draft.vertices(np.array([1.0, 0, 0, 0])), 5.0)


def test_a_ball_rests_on_the_substrate_on_a_ball_and_beside_it():
    ground, body = Ground(500, 5.0, 60), upright(ball())
    middle = ground.cell(0, 0)
    assert ground.rest(body, middle) == pytest.approx(50)
    ground.add(body, middle, 50.0)
    assert ground.rest(body, middle) == pytest.approx(150, abs=2)
    # Beside it: spheres of one size touch a diameter apart.
    cell = ground.beside(body, middle, 0.0, 200.0)
    assert ground.place(cell)[0] == pytest.approx(100, abs=8)  # a cell and a half
    assert ground.rest(body, cell) == pytest.approx(50, abs=0.1)
    # Let down off centre it rolls to the substrate.
    cell, z = ground.settle(body, ground.cell(40, 10))
    assert z == pytest.approx(50, abs=0.1) and np.hypot(*ground.place(cell)) > 90


def test_a_ball_settles_in_the_hollow_of_three():
    ground, body = Ground(500, 5.0, 60), upright(ball())
    for turn in (0, 120, 240):
        at = 100 / 3**0.5 * np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        ground.add(body, ground.cell(*at), 50.0)
    cell, z = ground.settle(body, ground.cell(15, 10))
    assert np.hypot(*ground.place(cell)) < 12
    assert z == pytest.approx(50 + 100 * (2 / 3) ** 0.5, abs=8)  # the height of a tetrahedron


def test_shrunken_bodies_let_neighbours_interpenetrate():
    ground, body = Ground(500, 5.0, 60), upright(ball())
    ground.add(body, ground.cell(0, 0), 50.0)
    less = body_of(ball().vertices(np.array([1.0, 0, 0, 0])), 5.0, shrink=0.7)
    x = ground.place(ground.beside(less, ground.cell(0, 0), 0.0, 200.0))[0]
    assert x == pytest.approx(85, abs=8)


def test_a_rod_leans_on_another():
    rod = draw_forms(Template(shape="rod", aspect=(10.0, 10.0), tip=(1.0, 1.0), variants=1), np.random.default_rng(0))[0]
    draft = Draft(Template(shape="rod"), rod, 20.0, 1.0)
    half = np.sqrt(0.5)
    along_x = np.array([half, 0, half, 0])  # z to x
    ground = Ground(800, 4.0, 250)
    along_y = np.array([half, half, 0, 0])
    lower = body_of(draft.vertices(along_y), ground.pitch)
    ground.add(lower, ground.cell(100, 0), lower.floor)
    body = body_of(draft.vertices(along_x), ground.pitch)
    np.testing.assert_allclose(np.abs(draft.axis(along_x)), [1, 0], atol=1e-9)
    height, slope = lean(ground, body, ground.cell(0, 0), np.array([1.0, 0.0]))
    # One end on the substrate 200 to the left, the rest on the rod 40 thick at 100: the middle is lifted by 2/3 of 40.
    assert height == pytest.approx(20 + 40 * 2 / 3, abs=6)
    assert slope == pytest.approx(40 / 300, abs=0.03)
    tilted = draft.tilt(along_x, slope)
    front = rotation_matrix(tilted)[:, 2] * np.sign(rotation_matrix(tilted)[0, 2])
    assert front[2] > 0 and front[2] / front[0] == pytest.approx(slope, rel=0.02)


def lowest(sample):
    return [
        float(((form.vertices * stretching(t["stretch"][k])) @ rotation_matrix([t[q][k] for q in ("qw", "qx", "qy", "qz")]).T)[:, 2].min() * t["radius_nm"][k] + t["z_nm"][k])
        for t in [sample.particles]
        for k, form in enumerate(sample.forms[f] for f in t["form"])
    ]


@pytest.mark.parametrize("name", ("tio2", "ag"))
def test_presets_draw_scenes_in_which_nothing_hangs_or_sinks(name):
    recipe = read_recipe(name)
    stacked = 0
    for index in range(6):
        sample, again = sample_scene(recipe, index), sample_scene(recipe, index)
        for column, values in sample.particles.items():
            np.testing.assert_array_equal(values, again.particles[column])
        for a, b in zip(sample.forms, again.forms, strict=True):
            np.testing.assert_array_equal(a.vertices, b.vertices)
        radius, floor = sample.particles["radius_nm"], sample.particles["on_substrate"]
        under = np.array(lowest(sample))
        assert (under > -0.12 * radius).all()
        wires = np.array([recipe.templates[t].shape == "wire" for t in sample.particles["template"]])
        assert (under[floor & ~wires] < 0.06 * radius[floor & ~wires]).all()
        stacked += (~floor).sum()
    assert stacked > 3


def test_chains_have_fewer_neighbours_than_heaps():
    def neighbours(chaining, compactness):
        recipe = read_recipe("tio2")
        recipe.camera.field_of_view = (6000.0, 6000.0)
        how = recipe.arrangement
        how.chaining, how.compactness, how.stacking = (chaining, chaining), (compactness, compactness), (0.0, 0.0)
        how.clustering, how.coverage, how.agglomerate = (0.97, 0.97), (0.04, 0.04), (1000.0, 1000.0)
        counts = []
        for index in range(3):
            table = sample_scene(recipe, index).particles
            place = np.stack([table["x_nm"], table["y_nm"]], 1)
            distance = np.linalg.norm(place[:, None] - place, axis=-1)
            counts += ((distance < 1.2 * (table["radius_nm"][:, None] + table["radius_nm"])).sum(1) - 1).tolist()
        return np.mean(counts)

    assert neighbours(0.0, 1.0) > 1.25 * neighbours(1.0, 0.0)


def test_wires_cross_above_each_other_and_keep_their_thickness():
    recipe = read_recipe("ag")
    for template in recipe.templates:
        template.weight = float(template.shape == "wire")
    recipe.arrangement.coverage = (0.6, 0.6)
    sample = sample_scene(recipe, 0)
    table = sample.particles
    assert len(table["x_nm"]) > 8
    tops = []
    for k, f in enumerate(table["form"]):
        vertices = sample.forms[f].vertices
        assert len(np.unique(table["form"])) == len(table["form"])  # each has its own
        tops.append(vertices[:, 2].max() * table["radius_nm"][k] + table["z_nm"][k])
    thickness = 2 * np.median(table["radius_nm"])
    assert max(tops) > 1.8 * thickness  # some lie on others
    assert 38 <= thickness <= 52


def test_user_meshes_lie_by_columns_too():
    from nanosynth.synth.shapes import normalised

    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 4)], float)
    from scipy.spatial import ConvexHull

    hull = ConvexHull(corners)
    triangles = np.array([s if e[:3] @ np.cross(*(corners[s[1:]] - corners[s[0]])) > 0 else s[::-1] for s, e in zip(hull.simplices, hull.equations)])
    recipe = read_recipe("tio2")
    recipe.templates = [Template(name="own", shape="mesh", mesh="own.ply")]
    sample = sample_scene(recipe, 1, {"own": normalised(corners, triangles, smooth=False)})
    table = sample.particles
    assert len(table["x_nm"]) > 5
    lying = table["on_substrate"]
    under = np.array(lowest(sample))
    assert (np.abs(under[lying]) < 0.05 * table["radius_nm"][lying]).all()
