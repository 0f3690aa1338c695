import runpy
from pathlib import Path

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.learn import scale
from nanosynth.learn.scale import resize, scale_of_diameter, scale_of_nm, search_scale, zoomed

FAKES = runpy.run_path(str(Path(__file__).with_name("fakes.py")))
Threshold, discs = FAKES["Threshold"], FAKES["discs"]


def search(model, pixels):
    return search_scale(model, pixels, threshold=0.51, min_area_px=30, dynamic_px=1)


@pytest.mark.parametrize("diameter", [14, 30, 75, 110])
def test_the_search_finds_the_trained_size(diameter):
    pixels, _ = discs((330, 400), diameter, np.random.default_rng(diameter))
    found = search(Threshold(), pixels)
    assert found.source == "search"
    assert found.diameter_px == pytest.approx(diameter, rel=0.15)
    assert found.zoom == pytest.approx(32 / found.diameter_px)
    assert not found.doubts
    assert len(found.trials) >= 4
    assert [t.zoom for t in found.trials] == sorted(t.zoom for t in found.trials)
    assert found.zoom in [t.zoom for t in found.trials]


def test_the_search_works_on_a_part_of_a_large_image():
    pixels, _ = discs((900, 800), 20, np.random.default_rng(5), share=0.03)
    model = Threshold()
    found = search(model, pixels)
    assert found.diameter_px == pytest.approx(20, rel=0.15)
    assert any(t.share < 1 for t in found.trials)
    assert max(b * h * w for b, h, w, _ in model.shapes) < 1.3 * scale.TRIAL_PIXELS


def test_many_particles_outweigh_specks():
    pixels, _ = discs((420, 500), 60, np.random.default_rng(2))
    rng = np.random.default_rng(3)
    for _ in range(40):
        y, x = rng.integers(10, 400, 2)
        pixels[y : y + 9, x : x + 9] = 0.8
    assert search(Threshold(), pixels).diameter_px == pytest.approx(60, rel=0.2)


def test_an_image_without_particles_is_doubtful():
    pixels = np.full((200, 200), 0.2, np.float32)
    pixels[0, 0] = 1
    found = search(Threshold(), pixels)
    assert found.doubts and found.zoom == 1


def test_two_sizes_far_apart_are_doubtful():
    rng = np.random.default_rng(7)
    left, _ = discs((400, 300), 25, rng, share=0.3)
    right, _ = discs((400, 300), 100, rng, share=0.3)
    found = search(Threshold(), np.hstack([left, right]))
    assert any("fit nearly as well" in doubt for doubt in found.doubts)


def test_known_sizes_need_no_search():
    model = Threshold(diameter_px=30, nm_per_px=4.0)
    assert scale_of_diameter(model, 60).zoom == 0.5
    assert scale_of_nm(model, 1.0).zoom == 0.25
    assert scale_of_nm(model, 1.0).diameter_px == 120
    assert not model.shapes


def test_resizing_keeps_pixel_centres():
    ramp = (np.arange(90, dtype=np.float32) + 0.5)[None, :] / 90 * np.ones((20, 1), np.float32)
    for width in (30, 45, 180, 217):
        got = resize(ramp, (20, width))[7, 5:-5]
        np.testing.assert_allclose(got, ((np.arange(width) + 0.5) / width)[5:-5], atol=1e-5)


def test_resizing_smooths_where_it_shrinks():
    noise = np.random.default_rng(0).random((400, 400)).astype(np.float32)
    assert resize(noise, (100, 100)).std() < 0.5 * noise.std()


def test_an_absurd_scale_is_refused():
    with pytest.raises(NanosynthError, match="too large"):
        zoomed(np.zeros((500, 500), np.float32), 100.0)
