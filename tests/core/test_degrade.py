"""The degradation chain keeps every point where the label has it."""

import numpy as np
import pytest
from skimage.transform import resize

from nanosynth.fields import specs
from nanosynth.synth.degrade import BRIGHTEST, DARKEST, counted, degrade, saturated, upsample
from nanosynth.synth.recipe import Degradation

PLAIN = dict.fromkeys((name for name, _, _ in specs(Degradation)), 0.0) | dict(
    gain=1.0, gamma=1.0, shoulder=1.0, drift_angle=0.0, field_of_view=1000.0, yield_at_white=1.0, streak_length=0.1
)


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


@pytest.mark.parametrize("dose", [60.0, 250.0, 2000.0])
@pytest.mark.parametrize("delta", [0.4, 3.0])
def test_counts_follow_compound_poisson_statistics(dose, delta):
    """Mean m and variance m (1 + delta) at every brightness, drawn exactly or by the normal approximation."""
    for level in (0.15, 0.9):
        image = np.full((400, 400), level, np.float32)
        count = counted(image, dose, delta, np.random.default_rng(7)) * dose * delta
        mean = dose * delta * level
        assert count.mean() == pytest.approx(mean, rel=0.01)
        assert count.var() == pytest.approx(mean * (1 + delta * level), rel=0.03)


def test_half_the_dose_is_more_noise():
    flat = np.full((200, 200), 0.5)
    few, many = (np.std(degrade(flat, {**PLAIN, "dose": d}, 200, np.random.default_rng(1))) for d in (1000.0, 4000.0))
    assert few == pytest.approx(2 * many, rel=0.03)


def test_noise_grain_correlates_noise_along_the_line_and_keeps_its_spread():
    flat = np.full((300, 300), 0.5)
    for kind in ({"noise": 0.05}, {"dose": 1000.0}):
        fine, coarse = (degrade(flat, {**PLAIN, **kind, "noise_grain": g}, 300, np.random.default_rng(1)) / 255 - 0.5 for g in (0.0, 1.5))
        assert coarse.std() == pytest.approx(fine.std(), rel=0.05)

        def correlation(noise, axis):
            return (noise * np.roll(noise, 1, axis)).mean() / noise.var()

        assert abs(correlation(fine, 1)) < 0.05 and abs(correlation(coarse, 0)) < 0.05
        assert correlation(coarse, 1) == pytest.approx(np.exp(-1 / (4 * 1.5**2)), abs=0.05)


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


def test_the_probe_blurs_by_its_width_in_nanometres():
    """On 200 pixels of 5 nm a probe of 15 nm is 3 pixels, and adds to the blur in squares."""
    image = np.zeros((200, 200))
    image[:, 100:] = 1.0
    for blur, expected in ((0.0, 3.0), (4.0, 5.0)):
        row = degrade(image, {**PLAIN, "probe": 15.0, "blur": blur}, 200, np.random.default_rng(0))[0].astype(float) / 255
        assert np.diff(row).max() == pytest.approx(1 / (expected * np.sqrt(2 * np.pi)), rel=0.05)


def test_lines_vary_in_brightness_as_wholes():
    image = degrade(np.full((200, 200), 0.5), {**PLAIN, "lines": 0.05}, 200, np.random.default_rng(0)) / 255
    assert image.mean(1).std() == pytest.approx(0.025, rel=0.2)
    assert np.ptp(image, axis=1).max() == 0


def test_streaks_darken_what_is_scanned_after_something_bright():
    image = np.full((100, 100), 0.3)
    image[40:60, 30:50] = 0.9
    streaked = degrade(image, {**PLAIN, "streaks": 0.3, "streak_length": 0.1}, 100, np.random.default_rng(0)) / 255
    row, plain = streaked[50], streaked[10]
    assert row[52] < plain[52] - 0.1 and abs(row[20] - plain[20]) < 0.01 and abs(row[99] - plain[99]) < 0.01
    assert np.all(np.diff(row[52:90]) >= 0)


def test_contrast_saturates_at_white_and_black():
    ramp = np.tile(np.linspace(0, 1, 256), (4, 1)).repeat(64, 0)
    image = degrade(ramp, {**PLAIN, "gain": 2.0, "offset": -0.5}, 256, np.random.default_rng(0))[0]
    assert (image == 255).mean() == pytest.approx(0.25, abs=0.01) and (image == 0).mean() == pytest.approx(0.25, abs=0.01)


def test_no_step_shifts_the_noise_of_another():
    flat = np.full((64, 64), 0.5)
    alone, beside = (degrade(flat, {**PLAIN, "noise": 0.05, "jitter": j}, 64, np.random.default_rng(3)) for j in (0.0, 0.5))
    np.testing.assert_array_equal(alone, beside)


@pytest.mark.parametrize("shoulder, gamma, offset", [(1.0, 1.0, 0.0), (0.6, 1.0, 0.05), (0.8, 1.3, -0.05)])
def test_exposure_sets_the_brightest_thousandth(shoulder, gamma, offset):
    """Through offset, shoulder and gamma, for renders that are too dark as for those that are too bright."""
    ramp = 0.9 * np.linspace(0.1, 1, 200)[None] * np.ones((200, 1))
    drawn = {**PLAIN, "shoulder": shoulder, "gamma": gamma, "offset": offset}
    for factor in (1.0, 5.0):
        before, after = (degrade(factor * ramp, {**drawn, "exposure": e}, 200, np.random.default_rng(0)) for e in (0.0, 0.9))
        assert np.percentile(after, BRIGHTEST) == pytest.approx(0.9 * 255, abs=1.5)
        if factor == 1.0:
            assert np.percentile(after, DARKEST) == pytest.approx(np.percentile(before, DARKEST), abs=1)


def test_exposure_does_not_turn_a_bare_substrate_white():
    image = 0.1 + 0.01 * np.random.default_rng(1).standard_normal((50, 50))
    made = degrade(image, {**PLAIN, "exposure": 0.95}, 50, np.random.default_rng(0))
    assert made.mean() == pytest.approx(0.1 * 255, abs=3) and made.max() < 0.2 * 255


def test_a_shoulder_keeps_what_is_beyond_white_discernible():
    response = saturated(np.array([0.2, 0.7, 0.71, 1.0, 1.5, 2.0], np.float32), 0.7)
    np.testing.assert_allclose(response[:2], [0.2, 0.7], atol=1e-6)
    assert response[2] == pytest.approx(0.71, abs=2e-4)  # it bends without a kink
    assert (np.diff(response) > 0).all() and response[-1] < 1
