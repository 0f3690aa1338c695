"""Overlay colours and outlines, histogram bins."""

import numpy as np
import pytest
from PIL import Image
from skimage.segmentation import watershed

from nanosynth.learn import particles, pictures


def mosaic(seed=0, size=200, count=150):
    """Touching cells all over the picture."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros((size, size), np.int32)
    places = rng.choice(size * size, count, replace=False)
    seeds.ravel()[places] = np.arange(1, count + 1)
    return watershed(rng.random((size, size)), seeds).astype(np.int32)


def test_neighbours_by_hand():
    labels = np.array([[1, 0, 2, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0], [0, 0, 4, 0, 0, 0, 0]])
    assert pictures.neighbours(labels).tolist() == [[1, 2], [1, 4], [2, 4]]
    assert pictures.neighbours(labels, 1).tolist() == []
    assert pictures.neighbours(labels, 4).tolist() == [[1, 2], [1, 4], [2, 3], [2, 4], [3, 4]]
    assert pictures.neighbours(np.zeros((1, 1), int)).shape == (0, 2)


@pytest.mark.parametrize("seed", range(5))
def test_touching_particles_never_share_a_colour(seed):
    labels = mosaic(seed)
    colour = pictures.colours(labels)
    a, b = pictures.neighbours(labels).T
    assert len(a) > 200 and (colour[a] != colour[b]).all()
    assert len(colour) == labels.max() + 1 and colour.max() < len(pictures.PALETTE)
    assert np.array_equal(colour, pictures.colours(labels))


def test_a_particle_amid_many_has_a_colour_of_its_own():
    y, x = np.mgrid[-50:51, -50:51]
    labels = (2 + (np.arctan2(y, x) + np.pi) / (2 * np.pi) * 14.999).astype(np.int32)  # 15 sectors around a disc
    labels[y**2 + x**2 < 400] = 1
    colour = pictures.colours(labels)
    assert (colour[2:] != colour[1]).all()


def test_particles_keep_their_colours_where_others_come_and_go_and_in_an_image_of_another_size():
    labels, rng = np.zeros((800, 800), np.int32), np.random.default_rng(2)
    for number, (row, column) in enumerate(np.argwhere(rng.random((20, 20)) < 0.4), 1):
        labels[40 * row + 6 : 40 * row + 32, 40 * column + 6 : 40 * column + 32] = number
    colour = pictures.colours(labels)
    fewer = np.where(rng.random(labels.max() + 1) < 0.9, np.arange(labels.max() + 1), 0)[labels]
    left = np.unique(fewer)[1:]
    numbers = np.zeros(labels.max() + 1, int)
    numbers[left] = np.arange(1, len(left) + 1)
    assert (pictures.colours(numbers[fewer])[1:] == colour[left]).mean() > 0.7
    assert (pictures.colours(labels[::2, ::2]) == colour).mean() > 0.9
    assert np.bincount(colour[1:], minlength=pictures.PLENTY).min() > 5


def test_colours_are_well_apart():
    apart = np.abs(pictures.PALETTE[:, None] - pictures.PALETTE[None]).sum(axis=2) + 1000 * np.eye(len(pictures.PALETTE))
    assert apart.min() > 25 and apart[: pictures.PLENTY, : pictures.PLENTY].min() > 60


def test_particles_of_one_pixel_with_two_dozen_neighbours_each():
    labels = np.random.default_rng(0).permutation(np.arange(1, 901)).reshape(30, 30)
    a, b = pictures.neighbours(labels).T
    assert np.bincount(a).max() + np.bincount(b).max() > 20
    colour = pictures.colours(labels)
    assert (colour[a] != colour[b]).all() and colour.max() < len(pictures.PALETTE)


def test_tinted_particles_that_touch_differ_and_the_ground_is_plain():
    labels = mosaic(3)
    labels[80:90] = 0
    picture = pictures.tinted(labels, 255)
    assert (picture[labels == 0] == 255).all()
    a, b = pictures.neighbours(labels).T
    shown = np.zeros((labels.max() + 1, 3), int)
    shown[labels.ravel()] = picture.reshape(-1, 3)
    assert (shown[a] != shown[b]).any(axis=1).all()
    assert (pictures.tinted(labels)[labels == 0] == 0).all()


def test_roomiest_place_by_hand():
    labels = np.zeros((30, 40), int)
    labels[5:20, 5:20], labels[5:20, 20:25], labels[25, 3] = 4, 7, 9
    numbers, x, y, radius = pictures.roomiest(labels)
    assert numbers.tolist() == [4, 7, 9]
    assert (x[0], y[0]) == (12, 12) and radius[0] == pytest.approx(7.5)
    assert x[1] == 22 and radius[1] == pytest.approx(2.5)
    assert (x[2], y[2]) == (3, 25) and radius[2] == pytest.approx(0.5)
    assert pictures.roomiest(np.zeros((4, 4), int))[0].size == 0


def test_overlay_tints_particles_and_leaves_the_rest_grey():
    rng = np.random.default_rng(1)
    pixels = rng.random((90, 120)).astype(np.float32)
    labels = np.zeros((90, 120), np.int32)
    labels[20:50, 30:60], labels[20:50, 60:90] = 1, 2
    picture = pictures.overlay(pixels, labels)
    assert picture.shape == (90, 120, 3) and picture.dtype == np.uint8
    outside = picture[labels == 0]
    assert (outside == outside[:, :1]).all()
    assert np.abs(outside[:, 0] - 255 * pictures.stretched(pixels)[labels == 0]).max() <= 0.51
    colour = pictures.PALETTE[pictures.colours(labels)]
    for number, (rows, columns) in {1: (slice(20, 50), slice(30, 60)), 2: (slice(20, 50), slice(60, 90))}.items():
        part = picture[rows, columns]
        rim = np.ones((30, 30), bool)
        rim[1:-1, 1:-1] = False
        assert (part[rim] == colour[number]).all()
        assert (part[~rim].std(axis=1) > 0).all()


def test_overlay_without_particles():
    assert (np.ptp(pictures.overlay(np.random.default_rng(0).random((40, 40)), np.zeros((40, 40), int)), axis=2) == 0).all()


@pytest.mark.parametrize("sizes", [[5.0], [4.0] * 10, np.random.default_rng(0).lognormal(3, 0.3, 500), [1, 1, 1, 1, 900]])
def test_bins_hold_every_size(sizes):
    edges = pictures.bins(np.array(sizes))
    assert edges[0] == 0 and 12 <= len(edges) - 1 <= 60
    assert np.histogram(sizes, edges)[0].sum() == len(sizes)


@pytest.mark.parametrize("nm_per_px", [None, 2.0])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_histogram_is_written_the_same_every_time(tmp_path, nm_per_px, count):
    pytest.importorskip("matplotlib")
    labels = mosaic(3)
    labels[labels > count] = 0
    table = particles.measure(labels, nm_per_px=nm_per_px)
    written = []
    for name in ("a.png", "b $x$_é.png"):
        pictures.size_histogram(tmp_path / name, table, title="a $strange_ name é.png")
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (960, 600)
