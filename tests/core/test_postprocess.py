"""Area opening, watersheds against MorphoLibJ's own output, separation of particles."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from nanosynth.learn import postprocess

GOLDEN = Path(__file__).parents[1] / "data" / "distance_transform_watershed.npz"
"""Made with MorphoLibJ 1.4.2 in ImageJ 1.53t: 13 masks, 204 runs."""


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def runs(golden):
    for i, key in enumerate(golden["run_key"].tolist()):
        weights = tuple(int(w) for w in str(golden["run_weights"][i]).split(","))
        settings = {
            "weights": weights,
            "normalize": bool(golden["run_normalize"][i]),
            "dynamic": int(golden["run_dynamic"][i]),
            "connectivity": int(golden["run_connectivity"][i]),
        }
        yield i, golden[f"mask__{golden['run_case'][i]}"] > 0, settings, golden[key]


def discs(shape, circles):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 <= r * r for cy, cx, r in circles], axis=0)


def test_chamfer_distances_are_those_of_morpholibj(golden):
    compared = 0
    for name in golden["cases"].tolist():
        for weights, key in (((3, 4), "w34"), ((5, 7, 11), "w5711")):
            expected = golden.get(f"dist__{name}__{key}")
            mask = golden[f"mask__{name}"] > 0
            if expected is not None and mask.any():
                assert np.array_equal(postprocess.chamfer_distance(mask, weights), expected), (name, key)
                compared += 1
    assert compared >= 20


def test_labels_are_those_of_morpholibj(golden):
    differing = [
        golden["run_key"][i]
        for i, mask, settings, expected in runs(golden)
        if not np.array_equal(postprocess.distance_transform_watershed(mask, mode="morpholibj", **settings), expected)
    ]
    assert len(golden["run_key"]) == 204 and not differing


def test_fast_mode_labels_the_mask_and_finds_as_many(golden):
    compared = 0
    for i, mask, settings, expected in runs(golden):
        labels = postprocess.distance_transform_watershed(mask, **settings)
        assert np.array_equal(labels > 0, mask)
        assert labels.dtype == np.int32
        parts, count = ndimage.label(mask, np.ones((3, 3)) if settings["connectivity"] == 8 else None)
        deleted = count - np.unique(parts[(expected > 0) & mask]).size
        # Where nothing floods beyond the mask and not all is one label, the program finds the same particles but for those it deletes.
        if mask.any() and not golden["run_n_outside"][i] and golden["run_n_labels"][i] > 1:
            assert labels.max() == golden["run_n_labels"][i] + deleted, golden["run_key"][i]
            compared += 1
    assert compared > 100


def test_the_papers_choices():
    mask = discs((300, 400), [(60, 60, 30), (60, 104, 30), (150, 60, 8), (150, 140, 11), (220, 250, 60), (220, 340, 60)])
    found = {name: postprocess.separate_as_paper(mask.astype(float), name).max() for name in postprocess.PAPER}
    # Radius 8 has 200 px, radius 11 about 380. The necks are 30 - 20 = 10 and 60 - 40 = 20 px less wide than the discs.
    assert found == {"sio2": 4, "tio2": 4, "tio2-normalized": 2}
    half = mask[::2, ::2].astype(float)  # the same at 2 nm per pixel
    assert {name: postprocess.separate_as_paper(half, name, nm_per_px=2).max() for name in found} == found
    exact = postprocess.separate_as_paper(mask.astype(float), "sio2", mode="morpholibj")
    opened = postprocess.area_opening(mask, 400)
    assert np.array_equal(exact, postprocess.distance_transform_watershed(opened, dynamic=4, mode="morpholibj"))
    exact = postprocess.separate_as_paper(mask.astype(float), "tio2", mode="morpholibj")
    opened = postprocess.area_opening(mask, 600)
    assert np.array_equal(exact, postprocess.distance_transform_watershed(opened, normalize=False, dynamic=20, mode="morpholibj"))


@pytest.mark.parametrize("mode", ["fast", "morpholibj"])
def test_full_and_empty_masks(mode):
    for value in (0, 1):
        mask = np.full((20, 30), bool(value))
        assert np.array_equal(postprocess.distance_transform_watershed(mask, mode=mode), mask.astype(np.int32))


def test_unknown_mode():
    with pytest.raises(ValueError, match="fats"):
        postprocess.distance_transform_watershed(np.eye(4) > 0, mode="fats")


def test_small_particles_stay_whole_in_fast_mode_only():
    mask = discs((80, 120), [(40, 30, 25), (40, 90, 5)])
    assert postprocess.distance_transform_watershed(mask, dynamic=8).max() == 2
    assert postprocess.distance_transform_watershed(mask, dynamic=8, mode="morpholibj").max() == 1


def test_area_opening_keeps_parts_of_exactly_the_area():
    mask = np.zeros((10, 12), bool)
    mask[1:3, 1:4] = mask[5, 5] = mask[6, 6] = True  # 6 px; two pixels that touch at a corner
    assert np.array_equal(postprocess.area_opening(mask, 6), mask & (np.arange(10)[:, None] < 4))
    assert not postprocess.area_opening(mask, 7).any()
    assert np.array_equal(postprocess.area_opening(mask, 2, connectivity=8), mask)
    assert postprocess.area_opening(mask, 2)[5, 5] == 0
    assert np.array_equal(postprocess.area_opening(mask, 0), mask)


def test_raster_order():
    labels = np.array([[0, 7, 7], [3, 0, 0], [3, 7, 900]])
    assert postprocess.raster_order(labels).tolist() == [[0, 1, 1], [2, 0, 0], [2, 1, 3]]
    assert postprocess.raster_order(np.zeros((2, 2), int)).tolist() == [[0, 0], [0, 0]]


# separate


@pytest.mark.parametrize("radius", [6, 12, 48])
def test_touching_discs_are_separated_at_every_size(radius):
    centres = [(1.4, 1.4), (1.4, 3.2), (3.0, 2.3), (6.0, 6.0)]
    shape = (8 * radius, 8 * radius)
    mask = discs(shape, [(radius * y, radius * x, radius) for y, x in centres])
    labels = postprocess.separate(mask.astype(np.float32))
    assert labels.max() == 4 and labels.dtype == np.int32
    assert np.array_equal(labels > 0, mask)
    assert len({labels[round(radius * y), round(radius * x)] for y, x in centres}) == 4


def test_ragged_outlines_do_not_split():
    rng = np.random.default_rng(5)
    mask = discs((200, 200), [(100, 100, 70)])
    rough = ndimage.gaussian_filter(mask + 0.4 * rng.standard_normal(mask.shape), 1.5) > 0.5
    assert postprocess.separate(rough.astype(np.float32), min_area_px=50).max() == 1
    ellipse = (np.mgrid[:200, :200][0] - 100) ** 2 / 80**2 + (np.mgrid[:200, :200][1] - 100) ** 2 / 30**2 < 1
    assert postprocess.separate(ellipse.astype(np.float32)).max() == 1


def test_depth_and_share_decide_on_a_neck():
    mask = discs((60, 100), [(30, 35, 20), (30, 65, 20)])  # half the neck is sqrt(20^2 - 15^2) = 13.2, 34 % less than 20
    separate = postprocess.separate
    assert separate(mask.astype(float), dynamic_px=1, dynamic_share=0.25).max() == 2
    assert separate(mask.astype(float), dynamic_px=1, dynamic_share=0.45).max() == 1
    assert separate(mask.astype(float), dynamic_px=9, dynamic_share=0).max() == 1
    assert separate(mask.astype(float), dynamic_px=5, dynamic_share=0).max() == 2


def test_threshold_is_exclusive_and_small_parts_go():
    probability = np.zeros((40, 40), np.float32)
    probability[5:15, 5:15] = 0.6
    probability[20:23, 20:23] = 0.9
    probability[30:38, 30:38] = 0.5
    assert postprocess.separate(probability, threshold=0.5).max() == 2
    labels = postprocess.separate(probability, threshold=0.5, min_area_px=10)
    assert labels.max() == 1 and labels[10, 10] == 1


def test_holes():
    one = discs((100, 100), [(50, 50, 40)]) & ~discs((100, 100), [(50, 50, 3)])
    assert postprocess.separate(one.astype(float), max_hole_px=40).max() == 1
    assert (postprocess.separate(one.astype(float), max_hole_px=40) > 0).sum() == discs((100, 100), [(50, 50, 40)]).sum()
    ring = discs((200, 200), [(100 + 60 * np.sin(a), 100 + 60 * np.cos(a), 31) for a in np.arange(6) * np.pi / 3])
    labels = postprocess.separate(ring.astype(float))
    assert labels.max() == 6 and labels[100, 100] == 0  # the substrate in a ring of particles is no particle


def test_a_hole_that_one_particle_surrounds_is_filled():
    labels = np.zeros((30, 30), np.int32)
    labels[2:12, 2:12], labels[4:9, 4:9] = 1, 0
    labels[15:27, 15:21], labels[15:27, 21:27], labels[19:23, 19:23] = 2, 3, 0
    filled = postprocess._fill_enclosed(labels)
    assert (filled[2:12, 2:12] == 1).all() and (filled[19:23, 19:23] == 0).all()
    assert np.array_equal(filled[13:], labels[13:])


def test_gaps_are_given_back_and_free_edges_stay():
    shape, radius = (80, 140), 3
    left, right = discs(shape, [(40, 40, 30)]), discs(shape, [(40, 98, 30)])
    right &= ~left
    truth = left + 2 * right
    apart = {1: ndimage.distance_transform_edt(~left), 2: ndimage.distance_transform_edt(~right)}
    opened = (left & (apart[2] > radius)) | (right & (apart[1] > radius))
    labels = postprocess.separate(opened.astype(np.float32), grow_px=radius)
    assert labels.max() == 2
    back = truth > 0
    assert (labels[back] != truth[back]).mean() < 0.005 < (opened != back)[back].mean()
    free = np.minimum(apart[1], apart[2]) > 0
    assert (labels[free] > 0).sum() < 0.025 * back.sum()  # a little of the wedges on both sides of the neck


def test_nothing_and_everything():
    assert not postprocess.separate(np.zeros((40, 40))).any()
    assert (postprocess.separate(np.ones((40, 40))) == 1).all()
    assert (postprocess.separate(np.ones((40, 40)), min_area_px=50) == 1).all()
    assert postprocess.separate(np.ones((40, 40)), min_area_px=2000).max() == 0


def test_particles_grow_to_the_outline_and_keep_apart():
    separate = postprocess.separate
    y, x = np.mgrid[:60, :100]
    probability = np.zeros((60, 100))
    for centre in (30, 62):
        probability = np.maximum(probability, np.clip(1.4 - np.hypot(y - 30, x - centre) / 16, 0, 1))
    plain = separate(probability, threshold=0.6, dynamic_share=0.05)
    grown = separate(probability, threshold=0.6, dynamic_share=0.05, outline=0.3)
    assert plain.max() == grown.max() == 2
    assert not (grown[plain > 0] != plain[plain > 0]).any()
    np.testing.assert_array_equal(grown > 0, probability > 0.3)
    # They meet in the middle between them.
    meeting = grown[30, 30:63]
    assert (meeting > 0).all() and abs((meeting == meeting[0]).sum() - 16.5) <= 1
    faint = probability.copy()
    faint[:, 46:] *= 0.75
    assert separate(faint, threshold=0.5, outline=0.3).max() == 2
    assert separate(faint, threshold=0.5, outline=0.3, confidence=0.6).max() == 1
    np.testing.assert_array_equal(separate(probability, threshold=0.6, outline=0.6), separate(probability, threshold=0.6))


def test_neighbours_without_a_border_between_them_are_joined():
    separate = postprocess.separate
    rows, columns = np.mgrid[:40, :200] - 0.0
    rod = np.abs(rows - 20) <= 9 - 3 * np.exp(-(((columns - 60) / 12) ** 2))  # with a waist that is no border
    pair = np.abs(rows - 20) <= 9 - 3 * np.exp(-(((columns - 140) / 12) ** 2))
    mask = np.where(columns < 100, rod, pair) & (np.abs(columns - 100) > 2) & (columns > 5) & (columns < 195)
    probability = np.where(mask, 0.97, 0.02)
    probability[mask & (np.abs(columns - 140) < 3)] = 0.7
    apart = separate(probability)
    assert apart.max() == 4
    found = separate(probability, join=0.85)
    assert found.max() == 3 and found[20, 30] == found[20, 90] != 0
    assert len({found[20, 30], found[20, 110], found[20, 180]}) == 3
    np.testing.assert_array_equal(found > 0, apart > 0)
    assert separate(probability, join=0.6).max() == 2
    np.testing.assert_array_equal(separate(probability, join=1.0), apart)
    np.testing.assert_array_equal(postprocess.joined(np.zeros((4, 5), np.int32), np.ones((4, 5)), 0.5), 0)
    np.testing.assert_array_equal(postprocess.joined(np.array([[1, 2, 3]]), np.array([[0.9, 0.9, 0.2]]), 0.5), [[1, 1, 2]])
