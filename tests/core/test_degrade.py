"""The degradation chain keeps every point where the label has it."""

import numpy as np
import pytest
from skimage.transform import resize

from nanosynth.synth.degrade import degrade, upsample

PLAIN = dict(gain=1.0, offset=0.0, gamma=1.0, drift=0.0, drift_angle=0.0, blur=0.0, jitter=0.0, shot=0.0, noise=0.0)


def blob(n, x, y, width):
    axis = (np.arange(n) + 0.5) / n
    return np.exp(-((axis[None] - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * width**2))


def centroid(image):
    n = image.shape[0]
    axis = (np.arange(n) + 0.5) / n
    return np.array([(image.sum(0) * axis).sum(), (image.sum(1) * axis).sum()]) / image.sum()


@pytest.mark.parametrize("n, size", [(507, 2031), (100, 257), (64, 64)])
def test_upsampling_keeps_pixel_centres(n, size):
    """507 to 2031 is no whole factor; the centre of mass moves by less than a hundredth of a rendered pixel."""
    image = blob(n, 0.31, 0.62, 0.05)
    large = upsample(image, size)
    assert large.shape == (size, size)
    assert np.abs(centroid(large) - (0.31, 0.62)).max() * n < 0.01


def test_upsampling_is_bilinear():
    image = np.random.default_rng(0).random((50, 50))
    np.testing.assert_allclose(upsample(image, 203), resize(image, (203, 203), order=1, mode="edge"), atol=1e-5)


def test_noise_has_the_spread_that_was_drawn():
    flat = np.full((200, 200), 0.5)
    rng = np.random.default_rng(1)
    assert np.std(degrade(flat, {**PLAIN, "noise": 0.05}, 400, rng)) == pytest.approx(0.05 * 255, rel=0.03)
    assert np.std(degrade(flat, {**PLAIN, "shot": 0.08}, 400, rng)) == pytest.approx(0.08 * 255 * 0.5**0.5, rel=0.03)
    dark = np.std(degrade(flat / 2, {**PLAIN, "shot": 0.08}, 400, rng))
    assert dark == pytest.approx(0.08 * 255 * 0.25**0.5, rel=0.03)


def test_without_steps_only_quantisation_is_left():
    image = np.random.default_rng(2).random((60, 60))
    assert np.abs(degrade(image, PLAIN, 60, np.random.default_rng(0)) / 255 - image).max() <= 0.5 / 255 + 1e-6


def test_blur_jitter_and_drift_do_what_they_say():
    rng = np.random.default_rng(3)
    step = np.tile(np.arange(200) >= 100, (200, 1)).astype(float)
    assert (np.abs(np.diff(degrade(step, {**PLAIN, "blur": 2.0}, 200, rng).astype(int))).max()) < 60
    moved = degrade(step, {**PLAIN, "jitter": 1.0}, 200, rng) / 255
    assert np.std((1 - moved).sum(1)) == pytest.approx(1.0, rel=0.25)
    tilted = degrade(np.full((100, 100), 0.5), {**PLAIN, "drift": 0.2, "drift_angle": 0.0}, 100, rng) / 255
    assert tilted[:, -1].mean() - tilted[:, 0].mean() == pytest.approx(0.2, abs=0.01)
