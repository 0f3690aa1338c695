"""The built-in shapes."""

import numpy as np
import pytest

from nanosynth.synth.forms import draw_forms, sphere
from nanosynth.synth.recipe import Template
from nanosynth.synth.shapes import UNIT_VOLUME, stretching

DRAWN = ("rough_sphere", "hollow_sphere", "grain", "bipyramid", "cube", "platelet", "rod")


def forms(shape, seed=1, **fields):
    return draw_forms(Template(shape=shape, **fields), np.random.default_rng(seed))


def volume(shape):
    a, b, c = (shape.vertices[shape.triangles[:, i]] for i in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6


@pytest.mark.parametrize("kind", DRAWN)
def test_forms_are_closed_differ_and_come_again(kind):
    made, again, other = forms(kind), forms(kind), forms(kind, seed=2)
    assert len(made) == Template().variants
    for a, b in zip(made, again):
        np.testing.assert_array_equal(a.vertices, b.vertices)
    assert any(a.vertices.shape != b.vertices.shape or not np.allclose(a.vertices, b.vertices) for a, b in zip(made, other))
    for shape in made:
        edges = np.concatenate([shape.triangles[:, [0, 1]], shape.triangles[:, [1, 2]], shape.triangles[:, [2, 0]]])
        ahead, counts = np.unique(edges, axis=0, return_counts=True)
        assert (counts == 1).all()  # each edge once in each direction: closed, and all faces turn the same way
        np.testing.assert_array_equal(np.unique(ahead[:, ::-1], axis=0), ahead)
        assert volume(shape) > 0
        normals, share = shape.faces_to_rest_on
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
        assert share.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ("rough_sphere", "grain", "bipyramid", "cube", "platelet"))
def test_compact_shapes_have_the_volume_of_the_unit_sphere(kind):
    for shape in forms(kind):
        assert volume(shape) == pytest.approx(UNIT_VOLUME)


def test_a_sharp_cube_is_a_cube_and_a_round_one_is_not():
    exact = {"aspect": (1.0, 1.0), "irregularity": (0.0, 0.0), "relief": (0.0, 0.0), "variants": 1}
    sharp = forms("cube", roundness=(0.0, 0.0), **exact)[0]
    side = UNIT_VOLUME ** (1 / 3)
    np.testing.assert_allclose(np.ptp(sharp.vertices, axis=0), side, rtol=0.03)
    assert sharp.shadow(np.eye(3), 1.0) == pytest.approx(side**2, rel=0.05)
    round_one = forms("cube", roundness=(1.0, 1.0), **exact)[0]
    reach = [np.linalg.norm(s.vertices, axis=1).max() for s in (sharp, round_one)]
    assert reach[0] == pytest.approx(side / 2 * 3**0.5, rel=0.05)
    assert reach[1] < 0.9 * reach[0]


def test_aspects_are_those_asked_for():
    same = {"irregularity": (0.0, 0.0), "roundness": (0.0, 0.0), "relief": (0.0, 0.0), "variants": 3, "aspect": (3.0, 3.0)}
    for shape in forms("cube", **same):
        size = np.ptp(shape.vertices, axis=0)
        assert size[2] / size[0] == pytest.approx(3, rel=0.05)
    for shape in forms("platelet", **same):
        size = np.ptp(shape.vertices, axis=0)
        assert size[0] / size[2] == pytest.approx(3, rel=0.05)  # between its flat sides
    for shape in forms("rod", **same):
        assert np.ptp(shape.vertices[:, 2]) == pytest.approx(6)  # half thickness 1
        assert np.ptp(shape.vertices[:, 0]) == pytest.approx(2, rel=0.02)
        normals, _ = shape.faces_to_rest_on
        np.testing.assert_allclose(normals[:, 2], 0)  # it lies on its side


def test_a_bent_rod_lies_flat_and_turns_by_its_angle():
    shape = forms("rod", variants=1, aspect=(8.0, 8.0), bend=(60.0, 60.0), tip=(1.0, 1.0))[0]
    normals, _ = shape.faces_to_rest_on
    np.testing.assert_allclose(np.abs(normals @ [0, 1, 0]), 1)
    assert np.ptp(shape.vertices[:, 1]) == pytest.approx(2, rel=0.01)
    # The ends' directions: the chord of an arc of length 16 that turns by 60 degrees.
    radius = 16 / np.radians(60)
    assert np.ptp(shape.vertices[:, 2]) == pytest.approx(2 * radius * np.sin(np.radians(30)), rel=0.06)


def test_a_hollow_sphere_has_its_hole_and_wall():
    shape = forms("hollow_sphere", variants=1, wall=(0.2, 0.2), opening=(30.0, 30.0))[0]
    distance = np.linalg.norm(shape.vertices, axis=1)
    assert distance.min() >= 0.8 - 1e-9 and distance.max() == pytest.approx(1)
    assert shape.vertices[:, 2].max() == pytest.approx(np.cos(np.radians(30)))
    assert volume(shape) == pytest.approx((UNIT_VOLUME * (1 - 0.8**3)) * (1 + np.cos(np.radians(30))) / 2, rel=0.01)


def test_relief_roughens():
    smooth, rough = (forms("rough_sphere", relief=(r, r), variants=1)[0] for r in (0.0, 0.05))
    spread = [np.std(np.linalg.norm(s.vertices, axis=1)) for s in (smooth, rough)]
    assert spread[0] < 1e-9 and 0.02 < spread[1] < 0.1
    even, bumpy = (forms("cube", relief=(r, r), variants=1)[0] for r in (0.0, 0.05))  # cubes have flat faces
    np.testing.assert_array_equal(even.vertices, bumpy.vertices)


def test_the_shadow_of_shapes_is_that_of_their_pixels():
    rng = np.random.default_rng(4)
    from scipy.spatial.transform import Rotation
    from skimage.draw import polygon

    for kind in ("grain", "cube", "rod"):
        shape = forms(kind, variants=1, aspect=(2.0, 2.0), bend=(0.0, 0.0))[0]
        turn = Rotation.random(random_state=rng).as_matrix()
        scale = 60.0
        flat = (shape.vertices * stretching(1.2)) @ turn[:2].T * scale + 300
        seen = np.zeros((600, 600), bool)
        for t in shape.triangles:
            seen[polygon(*flat[t].T)] = True
        assert shape.shadow(turn, 1.2) == pytest.approx(seen.sum() / scale**2, rel=0.03)


def test_the_perfect_sphere_is_shared():
    assert forms("sphere")[0] is sphere()


def test_few_faces_always_close_a_grain_without_far_tips():
    few = {"faces": (8.0, 10.0), "aspect": (1.0, 1.0), "irregularity": (0.0, 0.0), "relief": (0.0, 0.0), "roundness": (0.7, 0.7)}
    reach = [np.linalg.norm(shape.vertices, axis=1).max() for seed in range(12) for shape in forms("grain", seed=seed, variants=8, **few)]
    assert max(reach) < 1.9
