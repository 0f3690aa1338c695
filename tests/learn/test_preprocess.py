import numpy as np
import pytest

from nanosynth.learn.preprocess import intensity_bounds, normalise
from nanosynth.learn.settings import Preprocess

PLAIN = Preprocess(low_percentile=0.0, high_percentile=100.0, clahe=False)


@pytest.fixture
def pixels():
    return np.random.default_rng(1).normal(0.4, 0.05, (90, 70))


def test_percentiles_become_0_and_1(pixels):
    settings = Preprocess(low_percentile=10.0, high_percentile=80.0, clahe=False)
    result = normalise(pixels, settings)
    assert result.dtype == np.float32 and result.min() == 0 and result.max() == 1
    assert (result == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (result == 1).mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("clahe", [False, True])
def test_the_unit_of_intensity_does_not_matter(pixels, clahe):
    settings = Preprocess(clahe=clahe, clahe_kernel_px=32)
    np.testing.assert_allclose(normalise(pixels * 65535 + 300, settings), normalise(pixels, settings), atol=0.02)


def test_clahe_raises_local_contrast():
    columns = np.linspace(0, 1, 128)
    faint = np.tile(columns, (128, 1)) + 0.02 * (np.arange(128)[:, None] % 2)
    plain, equalised = normalise(faint, PLAIN), normalise(faint, Preprocess(low_percentile=0.0, high_percentile=100.0, clahe_kernel_px=32, clahe_clip=0.05))
    assert equalised.dtype == np.float32 and equalised.min() >= 0 and equalised.max() <= 1
    assert np.abs(np.diff(equalised, axis=0)).mean() > 1.2 * np.abs(np.diff(plain, axis=0)).mean()


def test_given_bounds_are_used(pixels):
    result = normalise(pixels, PLAIN, (0.0, 0.8))
    np.testing.assert_allclose(result, np.clip(pixels / 0.8, 0, 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (40, 40)])
def test_a_constant_image_becomes_0(shape):
    assert not normalise(np.full(shape, 0.7), Preprocess()).any()


def test_bounds_of_a_large_image_are_those_of_a_sample():
    pixels = np.random.default_rng(2).random((1500, 1500))
    low, high = intensity_bounds(pixels, Preprocess())
    assert low == pytest.approx(0.005, abs=0.002) and high == pytest.approx(0.995, abs=0.002)
