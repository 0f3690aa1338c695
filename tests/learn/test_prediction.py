import numpy as np
import pytest
from scipy import ndimage

from nanosynth.learn.prediction import MARGIN, OVERLAP, TILE, _cuts, _weights, predict_probability
from nanosynth.learn.settings import Preprocess, TrainingSettings


class Blur:
    """A network that sees at most MARGIN px far, and nothing outside its tile."""

    diameter_px, nm_per_px = (32.0, 0.2), None
    settings = TrainingSettings(preprocess=Preprocess(low_percentile=0, high_percentile=100, clahe=False))

    def __init__(self):
        self.shapes = []

    def predict(self, batch):
        self.shapes.append(batch.shape)
        return ndimage.uniform_filter(batch, (1, 2 * MARGIN - 1, 2 * MARGIN - 1, 1), mode="constant").astype(np.float32)


@pytest.fixture
def image():
    pixels = np.random.default_rng(3).random((1700, 900)).astype(np.float32)
    pixels.flat[:2] = 0, 1
    return pixels


def test_tiles_give_what_the_whole_image_gives(image):
    model = Blur()
    tiled = predict_probability(model, image)
    assert len(model.shapes) > 1
    framed = np.pad(image, MARGIN, mode="reflect")
    whole = model.predict(framed[None, :, :, None])[0, MARGIN:-MARGIN, MARGIN:-MARGIN, 0]
    assert tiled.shape == image.shape and tiled.dtype == np.float32
    np.testing.assert_allclose(tiled, whole, atol=2e-6)


def test_a_wider_view_leaves_no_step_at_the_seams(image):
    class Wide(Blur):
        def predict(self, batch):
            # The mean of the whole tile: the worst case, each tile has another.
            return np.broadcast_to(batch.mean((1, 2), keepdims=True), batch.shape).astype(np.float32)

    ramp = np.linspace(0, 1, 1700, dtype=np.float32)[:, None] * np.ones((1, 900), np.float32)
    result = predict_probability(Wide(), ramp)
    steps = np.abs(np.diff(result[:, 450]))
    assert np.ptp(result) > 0.3
    assert steps.max() < 2 * np.ptp(result) / (OVERLAP - 2 * MARGIN)


def test_one_shape_for_all_tiles_and_a_bounded_batch(image):
    model = Blur()
    predict_probability(model, image)
    sides = {shape[1:3] for shape in model.shapes}
    assert len(sides) == 1
    assert all(side % 32 == 0 and side <= TILE for side in sides.pop())
    assert all(shape[0] * shape[1] * shape[2] <= TILE * TILE for shape in model.shapes)


@pytest.mark.parametrize("length", [33, 768, 769, 800, 1472, 1473, 2080, 5000])
def test_weights_sum_to_one(length):
    starts, side = _cuts(length, 32)
    total = np.zeros(max(length, side))
    for start, weight in zip(starts, _weights(starts, side, len(total)), strict=True):
        total[start : start + side] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert starts[0] == 0 and starts[-1] + side >= length
    assert all(b - a <= side - OVERLAP for a, b in zip(starts, starts[1:], strict=False))


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (31, 700)])
def test_small_images(shape):
    pixels = np.random.default_rng(0).random(shape)
    assert predict_probability(Blur(), pixels).shape == shape


def test_flips_are_turned_back():
    class Shifted(Blur):
        def predict(self, batch):
            return np.roll(batch, 1, axis=2)

    pixels = np.zeros((64, 64), np.float32)
    pixels[20, 30] = 1
    result = predict_probability(Shifted(), pixels, flips=True)
    assert result[20, 29] == result[20, 31] == pytest.approx(0.5)
    assert result[20, 30] == 0


def test_given_bounds_decide_the_normalisation(image):
    narrow = predict_probability(Blur(), image[:64, :64], bounds=(0.0, 2.0))
    wide = predict_probability(Blur(), image[:64, :64], bounds=(0.0, 1.0))
    np.testing.assert_allclose(2 * narrow, wide, rtol=1e-4)
