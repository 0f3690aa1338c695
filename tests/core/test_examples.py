"""The shipped micrographs and the annotation made of one of them."""

import csv
import importlib.util
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from scipy import ndimage

SILICA = Path(__file__).resolve().parents[2] / "examples" / "silica"
BANNER_FROM = 960


@pytest.fixture(scope="module")
def annotation():
    folder = SILICA / "annotation"
    table = np.loadtxt(folder / "A01-1.csv", delimiter=",", skiprows=1)
    return table, iio.imread(folder / "A01-1.png"), iio.imread(SILICA / "spheres" / "A01-1.png")


def test_label_image_is_drawn_from_the_table(annotation):
    spec = importlib.util.spec_from_file_location("make_labels", SILICA / "annotation" / "make_labels.py")
    make_labels = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_labels)
    table, labels, _ = annotation
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(make_labels.draw(table), labels)


def test_every_particle_is_one_visible_piece_outside_the_banner(annotation):
    table, labels, image = annotation
    assert labels.shape == image.shape
    assert not labels[BANNER_FROM:].any()
    np.testing.assert_array_equal(np.unique(labels), np.arange(len(table) + 1))
    for number, where in enumerate(ndimage.find_objects(labels), 1):
        assert ndimage.label(labels[where] == number)[1] == 1


def test_areas_of_whole_particles_are_those_of_their_outlines(annotation):
    table, labels, _ = annotation
    areas = np.bincount(labels.ravel())[1:]
    x, y, radius = table[:, 0], table[:, 1], table[:, 2] * np.sqrt(table[:, 3])
    whole = (np.minimum(x, 1279 - x) > radius + 1) & (np.minimum(y, BANNER_FROM - 1 - y) > radius + 1)
    assert whole.sum() > 100
    ratio = areas[whole] / (np.pi * table[whole, 2] ** 2)
    assert ratio.max() < 1.005
    assert ratio.min() > 0.97  # two flattened neighbours share the overlap of their outlines


def test_annotation_fits_the_micrograph(annotation):
    _, labels, image = annotation
    smooth = ndimage.gaussian_filter(image[:BANNER_FROM].astype(float), 1.5)
    particle = labels[:BANNER_FROM] > 0
    inside = ndimage.binary_erosion(particle, iterations=3, border_value=1)
    outside = ~ndimage.binary_dilation(particle, iterations=3)
    assert np.mean(smooth[inside] > 107) > 0.999  # Otsu's threshold of the smoothed image
    assert np.mean(smooth[outside] < 107) > 0.99


def test_valid_mask_leaves_the_banner_out():
    valid = iio.imread(SILICA / "annotation" / "valid" / "A01-1.png")
    assert valid.shape == (1024, 1280)
    assert (valid[:BANNER_FROM] == 255).all() and not valid[BANNER_FROM:].any()


def test_every_micrograph_has_its_licence_and_scale():
    assert "MIT License" in (SILICA / "spheres" / "LICENSE").read_text()
    assert "MIT License" in (SILICA / "fei" / "LICENSE").read_text()
    with open(SILICA / "spheres" / "scale.csv", newline="") as file:
        scale = {row["name"]: row for row in csv.DictReader(file)}
    assert set(scale) == {path.name for path in (SILICA / "spheres").glob("*.png")}
    for row in scale.values():
        # all from one microscope: nm per pixel times magnification is a constant
        assert float(row["nm_per_px"]) * float(row["magnification"]) == pytest.approx(1e3 / 214 * 20000, rel=1e-3)
