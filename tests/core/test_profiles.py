"""Intensity along a line."""

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.learn.profiles import profile_picture, profile_text, sample_line, ticks


def test_a_ramp_is_sampled_exactly():
    pixels = np.tile(np.arange(20) / 20, (10, 1))
    distance, values = sample_line(pixels, (2.5, 4.5), (14.5, 4.5))
    np.testing.assert_allclose(distance, np.arange(13))
    np.testing.assert_allclose(values, np.arange(2, 15) / 20)
    distance, values = sample_line(pixels, (2.0, 2.0), (8.0, 8.0))
    assert distance[-1] == pytest.approx(6 * 2**0.5)
    np.testing.assert_allclose(values, (2 + 6 * distance / distance[-1] - 0.5) / 20)


def test_a_band_is_averaged_across_the_line():
    pixels = np.zeros((9, 12))
    pixels[4] = 0.9
    assert sample_line(pixels, (1, 4.5), (11, 4.5))[1] == pytest.approx(0.9)
    assert sample_line(pixels, (1, 4.5), (11, 4.5), width_px=3)[1] == pytest.approx(0.3)
    turned = sample_line(pixels.T, (4.5, 1), (4.5, 11), width_px=3)[1]
    assert turned == pytest.approx(0.3)


@pytest.mark.parametrize("start, end", [((1, 1), (1.2, 1)), ((-1, 2), (5, 2)), ((1, 2), (5, 9.5))])
def test_a_line_that_is_none_is_refused(start, end):
    with pytest.raises(NanosynthError, match="line"):
        sample_line(np.zeros((9, 12)), start, end)


def test_the_picture_shows_each_curve_in_its_colour():
    x = np.linspace(0, 400, 100)
    picture = profile_picture([("micrograph", x, 0.4 + 0.3 * np.sin(x / 40)), ("preview", x[:80], 0.2 + x[:80] / 1000)])
    assert picture.shape == (420, 720, 3) and picture.dtype == np.uint8
    for colour in ((226, 122, 34), (30, 110, 190)):
        assert (np.abs(picture.astype(int) - colour).max(-1) < 30).sum() > 400


def test_ticks_are_round():
    assert ticks(1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(412) == [0, 100, 200, 300, 400]
    assert ticks(0.037)[1] == 0.01


def test_the_table_has_a_row_for_each_point():
    rows = profile_text([('a "b"', [0, 1], [0.5, 0.25])]).splitlines()
    assert rows == ["curve,distance_nm,intensity", '"a ""b""",0.0000,0.50000', '"a ""b""",1.0000,0.25000']
