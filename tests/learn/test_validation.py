"""Scale, scores and pictures of the real images. Needs no network."""

import numpy as np
import pytest
from PIL import Image

from nanosynth.errors import NanosynthError
from nanosynth.learn.data import Sizes
from nanosynth.learn.images import read_labels
from nanosynth.learn.scale import Scale
from nanosynth.learn.segmentation import Segmentation
from nanosynth.learn.validation import GAP_PX, PANEL_PX, identity, read_validation

SIZES = Sizes(diameter_px=12.0, log_sd=0.2, nm_per_px=10.0, zoom_1_nm=9.0)


def found(probability, labels):
    return Segmentation(probability.astype(np.float32), labels > 0, labels.astype(np.int32), {}, Scale(1.0, "diameter", 12.0))


def test_the_scale_follows_from_the_diameter_else_the_annotation_else_the_nm(real, tmp_path):
    area = np.bincount(read_labels(real[1]).ravel())[1:]
    median = np.median(np.sqrt(4 * area[area > 0] / np.pi))
    given, annotated, unknown = (
        read_validation(real[:1], real[1:], SIZES, 24.0)[0],
        read_validation(real[:1], real[1:], SIZES)[0],
        read_validation(real[:1], (), SIZES)[0],
    )
    assert (given.zoom, given.scale_source) == (0.5, "diameter given")
    assert annotated.zoom == pytest.approx(12.0 / median) and annotated.scale_source == "annotation"
    assert (unknown.zoom, unknown.truth) == (1.0, None) and unknown.scale_source.startswith("none")
    stated = tmp_path / "stated.tif"
    import tifffile

    tifffile.imwrite(stated, np.asarray(Image.open(real[0])), imagej=True, resolution=(1 / 5.0, 1 / 5.0), metadata={"unit": "nm"})
    by_nm = read_validation([stated], (), SIZES)[0]
    assert (by_nm.zoom, by_nm.scale_source) == (pytest.approx(0.5), "nm per pixel")
    told = read_validation([stated, real[0]], (), SIZES, nm_per_px={"stated.tif": 2.5})
    assert [image.zoom for image in told] == [pytest.approx(0.25), 1.0]


def test_annotations_that_do_not_belong_are_refused(real, tmp_path):
    with pytest.raises(NanosynthError, match="1 validation images, but 2 label images"):
        read_validation(real[:1], [real[1], real[1]], SIZES)
    Image.fromarray(np.zeros((100, 160), np.uint16)).save(tmp_path / "small.png")
    with pytest.raises(NanosynthError, match=r"small.png: 160 x 100 px, but its image has 160 x 160 px"):
        read_validation(real[:1], [tmp_path / "small.png"], SIZES)
    with pytest.raises(NanosynthError, match="another validation image has the name réal"):
        read_validation([real[0], real[0]], (), SIZES)
    for diameter in (0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(NanosynthError, match=f"is {diameter} px"):
            read_validation(real[:1], (), SIZES, diameter)
    with pytest.raises(NanosynthError, match="nowhere.png"):
        read_validation([tmp_path / "nowhere.png"], (), SIZES)


def test_scores_of_pixels_and_of_instances(real):
    image = read_validation(real[:1], real[1:], SIZES)[0]
    perfect = image.scores(found((image.truth > 0) * 0.9, image.truth), 0.5)
    assert set(perfect.values()) == {1.0}
    assert set(perfect) == {"precision", "recall", "accuracy", "f1", "iou", "instance_f1"}
    # All particles as one: the pixels are right and the instances wrong.
    merged = image.scores(found((image.truth > 0) * 0.9, (image.truth > 0) * 1), 0.5)
    assert merged["f1"] == 1 and merged["instance_f1"] < 0.3
    # Half of the pixels, and the half of each instance no longer overlaps by half of the union.
    half = np.where(np.arange(160) < 80, 1, 0) * (image.truth > 0)
    halved = image.scores(found(half * 0.9, image.truth * half), 0.5)
    assert halved["precision"] == 1
    assert halved["recall"] == pytest.approx(half.sum() / (image.truth > 0).sum())
    assert 0.3 < halved["instance_f1"] < 0.9
    # The threshold decides on the pixels, not the labels.
    assert image.scores(found((image.truth > 0) * 0.4, image.truth), 0.5)["recall"] == 0


def test_the_picture_shows_image_probability_and_outlines(real, tmp_path):
    image = read_validation(real[:1], real[1:], SIZES)[0]
    probability = np.linspace(0, 1, 160)[None, :] * np.ones((160, 1))
    image.write_picture(tmp_path / "0001_réal.png", found(probability, image.truth))
    picture = np.asarray(Image.open(tmp_path / "0001_réal.png")).astype(int)
    assert picture.shape == (160, 3 * 160 + 2 * GAP_PX, 3)
    left, middle, right = (picture[:, first : first + 160] for first in (0, 160 + GAP_PX, 320 + 2 * GAP_PX))
    assert (picture[:, 160 : 160 + GAP_PX] == 255).all()
    assert (np.ptp(left, axis=2) == 0).all()
    assert np.corrcoef(left[..., 0].ravel(), image.micrograph.pixels.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(middle[..., 0], probability * 255, atol=0.51)
    coloured = np.ptp(right, axis=2) > 30
    assert coloured.any() and (image.truth[coloured] > 0).all()  # outlines lie in the particles
    np.testing.assert_allclose(right[~coloured], left[~coloured], atol=1)


def test_pictures_of_large_images_are_reduced(tmp_path):
    side = 2 * PANEL_PX
    pixels = np.uint8(np.arange(side)[:, None] / side * 200 * np.ones(side // 2))
    Image.fromarray(pixels).save(tmp_path / "large.png")
    image = read_validation([tmp_path / "large.png"], (), SIZES)[0]
    height, width = image.micrograph.pixels.shape
    labels = np.zeros((height, width), np.int32)
    labels[100:300, 100:300] = 1
    image.write_picture(tmp_path / "out.png", found(labels * 1.0, labels))
    assert Image.open(tmp_path / "out.png").size == (3 * PANEL_PX // 2 + 2 * GAP_PX, PANEL_PX)


def test_identity_follows_the_contents(real, tmp_path):
    plain, annotated = identity(real[:1], ()), identity(real[:1], real[1:])
    assert plain[0]["truth"] is None and annotated[0]["truth"] and plain[0]["sha256"] == annotated[0]["sha256"]
    other = tmp_path / real[0].name
    Image.fromarray(255 - np.asarray(Image.open(real[0]))).save(other)
    assert identity([other], ())[0]["image"] == plain[0]["image"] and identity([other], ())[0]["sha256"] != plain[0]["sha256"]
