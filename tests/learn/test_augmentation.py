"""What a change of a patch may touch and what not; that it follows from its generator alone."""

from dataclasses import replace

import numpy as np
import pytest

from nanosynth.learn import augmentation as module
from nanosynth.learn.augmentation import Augmenter, Patch, fractal, jpeg, scan_lines, turn
from nanosynth.learn.settings import Augmentation, read_settings

SIDE, DIAMETER = 64, 16.0
NOTHING = Augmentation(flip=False, zoom=(1.0, 1.0), contrast=0.0, gamma=(1.0, 1.0), noise=(0.0, 0.0))
STRONGEST = replace(
    read_settings("compact").augmentation,
    noise=(0.3, 0.3), correlated_noise=(0.3, 0.3), blur_px=(2.0, 2.0), gamma=(0.3, 3.0), contrast=2.0, sharpen=0.5, scan_lines=1.0, jpeg=1.0,
    grain_texture=1.0, substrate_texture=1.0, substrate_tone=1.0, particle_shading=1.0, particle_brightness=1.0, gradient=1.0, clutter=1.0, lettering=1.0,
)  # fmt: skip
SINGLE = {
    "gamma": (0.5, 0.5), "noise": (0.05, 0.05), "correlated_noise": (0.05, 0.05), "blur_px": (1.5, 1.5), "sharpen": 1.0, "scan_lines": 1.0, "jpeg": 1.0,
    "grain_texture": 0.5, "substrate_texture": 0.5, "substrate_tone": 1.0, "particle_shading": 1.0, "particle_brightness": 0.5, "gradient": 0.5,
    "clutter": 1.0, "lettering": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_textures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TEXTURES", 3)
        patch.setattr(module, "TEXTURE_PX", 128)
        yield


def discs():
    """Two large discs that touch and a small one; dark ground."""
    row, column = np.mgrid[:SIDE, :SIDE]
    instances = np.zeros((SIDE, SIDE), np.int32)
    for number, (y, x, r) in enumerate([(20, 18, 13), (22, 44, 13), (50, 30, 7)], 1):
        instances[np.hypot(row - y, column - x) < r] = number
    image = np.where(instances > 0, 0.6, 0.25) + 0.02 * np.sin(row)
    return Patch(image.astype(np.float32), instances)


def changed(settings, seed, patch=None):
    return Augmenter(settings, DIAMETER, 3)(patch or discs(), np.random.default_rng(seed))


def test_without_changes_a_patch_stays_as_it_was():
    patch, before = changed(NOTHING, 0), discs()
    np.testing.assert_array_equal(patch.image, before.image)
    np.testing.assert_array_equal(patch.instances, before.instances)
    assert not patch.hidden.any() and not patch.ignored.any()


def test_the_same_generator_gives_the_same_patch():
    for seed in range(3):
        one, other = changed(STRONGEST, seed), changed(STRONGEST, seed)
        for name in ("image", "instances", "hidden", "ignored"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert not np.array_equal(changed(STRONGEST, 0).image, changed(STRONGEST, 1).image)


@pytest.mark.parametrize("name", SINGLE)
def test_intensities_change_and_instances_do_not(name):
    settings = replace(NOTHING, **{name: SINGLE[name]})
    before, differences = discs(), 0
    for seed in range(6):
        patch = changed(settings, seed)
        np.testing.assert_array_equal(patch.instances, before.instances)
        assert patch.image.dtype == np.float32 and np.isfinite(patch.image).all()
        differences += not np.array_equal(patch.image, before.image)
        if name != "lettering":
            assert not patch.hidden.any() and not patch.ignored.any()
    assert differences >= 4


@pytest.mark.parametrize("name", ["substrate_tone", "substrate_texture", "clutter"])
def test_the_substrates_changes_spare_the_particles(name):
    settings, before = replace(NOTHING, **{name: SINGLE[name]}), discs()
    core = module._blurred((before.instances > 0).astype(np.float32), 0.8) == 1
    assert core.sum() > 500
    for seed in range(8):
        np.testing.assert_allclose(changed(settings, seed).image[core], before.image[core], atol=1e-6)


@pytest.mark.parametrize("name", ["grain_texture", "particle_shading", "particle_brightness"])
def test_the_particles_changes_spare_the_substrate(name):
    settings, before = replace(NOTHING, **{name: SINGLE[name]}), discs()
    ground = module._blurred((before.instances > 0).astype(np.float32), 0.8) == 0
    assert ground.sum() > 1000
    for seed in range(8):
        np.testing.assert_allclose(changed(settings, seed).image[ground], before.image[ground], atol=1e-6)


def test_letters_are_no_particles_and_hide_none_by_strokes():
    """Where letters change the image: on the ground nothing is said, on particles `ignored`, under boxes `hidden`."""
    before = discs()
    particle = before.instances > 0
    seen = dict.fromkeys(("strokes on ground", "ignored", "hidden"), False)
    for seed in range(40):
        patch = changed(replace(NOTHING, lettering=1.0), seed)
        touched = np.abs(patch.image - before.image) > 0.3
        assert (patch.hidden | patch.ignored)[touched & particle].all()
        assert not (patch.ignored & ~particle).any()
        assert np.ptp(patch.image) <= 1 and patch.image.min() >= 0 and patch.image.max() <= 1
        seen["strokes on ground"] |= (touched & ~particle & ~patch.hidden).any()
        seen["ignored"] |= patch.ignored.any()
        seen["hidden"] |= patch.hidden.any()
    assert all(seen.values()), seen


def test_turns_move_image_and_instances_together():
    found = set()
    for seed in range(60):
        patch, before = discs(), discs()
        patch.instances = np.arange(SIDE * SIDE, dtype=np.int32).reshape(SIDE, SIDE)
        turn(patch, np.random.default_rng(seed))
        np.testing.assert_array_equal(patch.image, before.image.ravel()[patch.instances])
        found.add(patch.instances[[0, 0, -1, -1], [0, -1, 0, -1]].tobytes())
    assert len(found) == 8


def test_the_image_between_0_and_1_after_lettering_jpeg_and_gamma():
    for seed in range(10):
        image = changed(STRONGEST, seed).image
        assert image.min() >= 0 and image.max() <= 1 and image.dtype == np.float32


@pytest.mark.parametrize("kind", ["no particles", "one particle fills it", "black"])
def test_odd_patches(kind):
    image = np.zeros((SIDE, SIDE), np.float32) if kind == "black" else np.full((SIDE, SIDE), 0.5, np.float32)
    instances = np.full((SIDE, SIDE), kind == "one particle fills it", np.int32)
    for seed in range(3):
        patch = changed(STRONGEST, seed, Patch(image.copy(), instances.copy()))
        assert np.isfinite(patch.image).all()
        np.testing.assert_array_equal(patch.instances, instances)


def test_bounds_only_widen():
    augmenter = Augmenter(replace(NOTHING, contrast=0.5), DIAMETER, 3)
    drawn = np.array([augmenter.bounds(0.2, 0.6, np.random.default_rng(seed)) for seed in range(50)])
    assert (drawn[:, 0] <= 0.2).all() and (drawn[:, 0] >= 0).all()
    assert (drawn[:, 1] >= 0.6).all() and (drawn[:, 1] <= 0.8).all()
    assert np.ptp(drawn, axis=0).min() > 0.1
    assert Augmenter(NOTHING, DIAMETER, 3).bounds(0.2, 0.6, np.random.default_rng(0)) == (0.2, 0.6)


def test_fractal_textures():
    for slope in (0.6, 2.2):
        texture = fractal(np.random.default_rng(1), 128, slope)
        assert texture.dtype == np.float32
        assert texture.mean() == pytest.approx(0, abs=1e-5) and texture.std() == pytest.approx(1, abs=1e-5)
        power = np.abs(np.fft.rfft2(texture)[1:40, 0])  # along one axis
        frequency = np.fft.fftfreq(128)[1:40]
        measured = -np.polyfit(np.log(frequency), np.log(power), 1)[0]
        assert measured == pytest.approx(slope, abs=0.35)


def test_scan_lines_run_along_rows_and_charge_trails_to_the_right():
    soft = np.zeros((40, 60), np.float32)
    soft[10:20, 20:30] = 1
    charged = 0
    for seed in range(10):
        lines = scan_lines(soft, np.random.default_rng(seed))
        assert lines.shape in ((40, 1), (40, 60)) and lines.dtype == np.float32
        if lines.shape == (40, 60):
            np.testing.assert_array_equal(np.ptp(lines[:, :20], axis=1), 0)  # left of the particle
            charged += np.ptp(lines[14, 30:]) > 0
    assert charged


def test_jpeg_keeps_the_picture():
    image = discs().image
    fine, coarse = jpeg(image, 89), jpeg(image, 35)
    assert fine.dtype == np.float32 and fine.min() >= 0 and fine.max() <= 1
    assert np.abs(fine - image).mean() < np.abs(coarse - image).mean() < 0.05
