"""What is drawn for a scene, and how particles lie."""

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.synth import forms
from nanosynth.synth.dirt import diamond_square, film
from nanosynth.synth.recipe import Size, read_recipe
from nanosynth.synth.sampling import draw_diameters, sample_scene
from nanosynth.synth.shapes import icosphere, normalised, rotation_matrix, stretching


def same(a, b):
    assert a.drawn == b.drawn and a.field_of_view == b.field_of_view
    for name in a.particles:
        np.testing.assert_array_equal(a.particles[name], b.particles[name])


def test_a_scene_is_the_same_whatever_was_drawn_before():
    recipe = read_recipe("sio2")
    first = [sample_scene(recipe, i) for i in (3, 4)]
    second = [sample_scene(recipe, i) for i in (4, 3)][::-1]
    for a, b in zip(first, second):
        same(a, b)
    assert first[0].field_of_view != first[1].field_of_view
    recipe.count = 7
    same(first[0], sample_scene(recipe, 3))
    recipe.seed = 2
    assert sample_scene(recipe, 3).field_of_view != first[0].field_of_view


def test_heaps_of_spheres_alone_begin_on_the_substrate():
    recipe = read_recipe("sio2")
    recipe.arrangement.stacking, recipe.arrangement.clustering, recipe.arrangement.coverage = (1.0, 1.0), (1.0, 1.0), (0.3, 0.3)
    for index in range(4):
        table = sample_scene(recipe, index).particles
        upper = ~np.asarray(table["on_substrate"])
        assert len(upper) > 20 and upper.sum() > 5


@pytest.mark.parametrize("index", range(12))
def test_spheres_rest_and_do_not_interpenetrate(index):
    recipe = read_recipe("sio2")
    for template in recipe.templates:
        template.stretch = (1.0, 1.0)
    recipe.arrangement.stacking = (0.3, 0.6)
    table = sample_scene(recipe, index).particles
    centre = np.stack([table[c] for c in ("x_nm", "y_nm", "z_nm")], 1)
    radius = table["radius_nm"]
    distance = np.linalg.norm(centre[:, None] - centre[None], axis=-1)
    smaller = np.minimum(radius[:, None], radius[None])
    least = radius[:, None] + radius[None] - recipe.arrangement.overlap * smaller
    np.fill_diagonal(distance, np.inf)
    slack = 0.005  # nm: positions are rounded to 0.001
    assert (distance >= least - slack).all()
    floor = table["on_substrate"]
    np.testing.assert_allclose(centre[floor, 2], radius[floor], atol=slack)
    # The others touch at least three that lie lower, around their own middle.
    for k in np.flatnonzero(~floor):
        touched = (distance[k] <= radius[k] + radius + slack) & (centre[:, 2] < centre[k, 2])
        assert touched.sum() >= 3
        directions = np.sort(np.arctan2(*(centre[touched, :2] - centre[k, :2]).T[::-1]))
        assert np.diff(np.append(directions, directions[0] + 2 * np.pi)).max() < np.pi


def test_clustering_brings_neighbours_together():
    def nearest(clustering):
        recipe = read_recipe("sio2")
        recipe.arrangement.clustering = (clustering, clustering)
        recipe.arrangement.coverage = (0.1, 0.1)
        recipe.arrangement.stacking = (0.0, 0.0)
        gaps = []
        for i in range(5):
            table = sample_scene(recipe, i).particles
            centre = np.stack([table[c] for c in ("x_nm", "y_nm", "z_nm")], 1)
            distance = np.linalg.norm(centre[:, None] - centre[None], axis=-1) - table["radius_nm"] - table["radius_nm"][:, None]
            np.fill_diagonal(distance, np.inf)
            gaps.append(np.median(distance.min(1)))
        return np.mean(gaps)

    assert nearest(0.95) < 0.3 * nearest(0.0)


def test_sizes_follow_their_distribution():
    rng = np.random.default_rng(0)
    diameters = draw_diameters(Size(median=100.0, spread=1.3, smallest=50.0, largest=300.0), 20_000, rng)
    assert abs(np.median(diameters) - 100) < 2
    assert abs(np.std(np.log(diameters)) - np.log(1.3)) < 0.02
    assert diameters.min() >= 50 and diameters.max() <= 300
    flat = draw_diameters(Size("uniform", 100.0, 0.5), 20_000, rng)
    assert 49.9 < flat.min() < 51 and 149 < flat.max() < 150.1
    two = draw_diameters(Size("bimodal", 80.0, 1.05, second_median=200.0, second_spread=1.05, second_share=0.3), 20_000, rng)
    assert (two > 126).mean() == pytest.approx(0.3, abs=0.02)
    assert np.median(two[two < 126]) == pytest.approx(80, rel=0.01) and np.median(two[two > 126]) == pytest.approx(200, rel=0.01)
    listed = draw_diameters(Size("list", measured="30 50, 90.5"), 3000, rng)
    assert set(listed) == {30.0, 50.0, 90.5}


@pytest.mark.parametrize("measured, says", [("", "empty"), ("30 forty", "no number"), ("30 5e6", "outside")])
def test_a_bad_list_of_sizes_is_named(measured, says):
    from nanosynth.fields import from_dict
    from nanosynth.synth.recipe import Recipe

    with pytest.raises(NanosynthError, match=f"measured.*{says}"):
        from_dict(Recipe, {"templates": [{"size": {"distribution": "list", "measured": measured}}]})


def test_both_size_classes_appear_and_single_ones():
    recipe = read_recipe("sio2")
    kinds = [set(sample_scene(recipe, i).particles["template"].tolist()) for i in range(16)]
    assert {0, 1} in kinds and {0} in kinds and {1} in kinds


def test_shapes_have_unit_volume_and_rest_on_the_plane():
    sphere = forms.sphere()
    np.testing.assert_allclose(np.linalg.norm(sphere.vertices, axis=1), 1)
    corners = np.array([[x, y, z] for x in (0, 2) for y in (0, 2) for z in (0, 2)], float)
    from scipy.spatial import ConvexHull

    hull = ConvexHull(corners)
    triangles = np.array([s if e[:3] @ np.cross(*(corners[s[1:]] - corners[s[0]])) > 0 else s[::-1] for s, e in zip(hull.simplices, hull.equations)])
    cube = normalised(corners, triangles, smooth=False)
    side = (4 / 3 * np.pi) ** (1 / 3)
    np.testing.assert_allclose(np.ptp(cube.vertices, axis=0), side)
    normals, share = cube.faces_to_rest_on
    assert len(normals) == 6
    np.testing.assert_allclose(share, 1 / 6)
    assert cube.height(np.eye(3), 1.0) == pytest.approx(side / 2)
    assert cube.shadow(np.eye(3), 1.0) == pytest.approx(side**2)
    vertices, _ = icosphere(5)
    turn = rotation_matrix(np.array([0.8, 0.36, 0.48, 0.0]))
    turned = (vertices * stretching(1.5)) @ turn.T
    assert sphere.height(turn, 1.5) == pytest.approx(-turned[:, 2].min(), rel=1e-3)
    assert sphere.shadow(turn, 1.5) == pytest.approx(ConvexHull(turned[:, :2]).volume, rel=3e-3)


def test_diamond_square_is_rough_at_every_scale_and_fresh_each_time():
    a = diamond_square(7, 0.6, np.random.default_rng(1))
    b = diamond_square(7, 0.6, np.random.default_rng(1))
    c = diamond_square(7, 0.6, np.random.default_rng(2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    # The mean square difference grows with the lag as a fractal's does: by 2 * log2(1 / roughness) an octave.
    difference = [np.mean((a[:, lag:] - a[:, :-lag]) ** 2) for lag in (2, 4, 8, 16)]
    growth = np.diff(np.log2(difference)).mean()
    assert 0.8 < growth < 2.0
    dirt = film(0.3, 0.6, np.random.default_rng(3))
    assert dirt.min() == 0 and dirt.max() == 1
    assert abs((dirt > 0).mean() - 0.3) < 0.01
