"""What is painted on the substrate: each field of the recipe has the effect that it names."""

import numpy as np
import pytest

from nanosynth.synth.dirt import smears, specks
from nanosynth.synth.recipe import read_recipe
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.substrate import halo, map_side, relief, scratch, substrate_map, texture

SIDE = 256


def drawn(dirt=None, **changes):
    """A scene of 1000 nm with an even substrate, but for `changes`."""
    recipe = read_recipe("sio2")
    recipe.camera.field_of_view = (1000.0, 1000.0)
    recipe.arrangement.coverage = (0.05, 0.05)
    sample = sample_scene(recipe, 1)
    sample.drawn["substrate"].update({"texture": 0.0, "relief": 0.0, "scratches": 0.0, "charging": 0.0, **changes})
    sample.drawn["dirt"].update({"present": dirt is not None, "smears": 0.0, "specks": 0.0, **(dirt or {})})
    return sample


def test_an_even_substrate():
    painted = substrate_map(drawn(), SIDE)
    assert painted.dtype == np.float32 and painted.shape == (SIDE, SIDE, 2)
    assert (painted[..., 0] == 1).all() and (painted[..., 1] == 0).all()


def test_the_same_scene_has_the_same_substrate():
    sample = drawn(dirt={"smears": 3.0, "specks": 9.0}, texture=0.1, relief=0.3, scratches=4.0, charging=0.4)
    np.testing.assert_array_equal(substrate_map(sample, SIDE), substrate_map(sample, SIDE))


def test_what_is_added_leaves_the_rest_as_it_was():
    """Each part has its own stream: scratches more or less do not change the texture."""
    plain, scratched = (substrate_map(drawn(texture=0.05, scratches=n, scratch_width=4.0), SIDE)[..., 0] for n in (0.0, 3.0))
    assert 0.3 < (np.abs(plain - scratched) < 1e-6).mean() < 1


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_texture_is_one_over_f(slope):
    noise = texture(512, 100.0, slope, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.rfft2(noise)) ** 2
    f = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    mine = (f > 0.03) & (f < 0.3)
    fall = np.polyfit(np.log(f[mine]), np.log(power[mine]), 1)[0]
    assert fall == pytest.approx(-2 * slope, abs=0.1)


def test_texture_has_the_contrast_that_was_drawn():
    assert substrate_map(drawn(texture=0.12), SIDE)[..., 0].std() == pytest.approx(0.12, rel=0.02)


def test_a_coarser_grain_is_coarser():
    def correlation(grain):
        image = substrate_map(drawn(texture=0.1, grain=grain, slope=1.5), SIDE)[..., 0] - 1
        return (image * np.roll(image, 4, 0)).mean() / image.var()

    assert correlation(100.0) > correlation(10.0) + 0.3


def test_relief_covers_the_share_that_was_drawn():
    few, many = (np.mean([(np.abs(relief(SIDE, 12.0, c, np.random.default_rng(k))) > 0.02).mean() for k in range(4)]) for c in (0.1, 0.6))
    assert 0.01 < few < 0.15 < many < 0.7


def test_relief_is_made_of_thin_lines():
    """Bright where they are, hardly anything between them: most of the square is in a tenth of the pixels."""
    made = np.sort(relief(SIDE, 12.0, 1.0, np.random.default_rng(3)).ravel() ** 2)[::-1]
    assert made[: made.size // 10].sum() > 0.8 * made.sum()


def test_scratches_are_lines_of_their_width():
    image = np.zeros((SIDE, SIDE), np.float32)
    scratch(image, 1, 6.0, 0.4, np.random.default_rng(2))
    share = (np.abs(image) > 0.2).mean()
    assert 0.05 * 3 / SIDE < share < 2 * 9 * 1.5 / SIDE
    assert 0.3 < np.abs(image).max() <= 0.4
    # A scratch narrower than a pixel is fainter, not gone.
    fine = np.zeros((SIDE, SIDE), np.float32)
    scratch(fine, 1, 0.3, 0.4, np.random.default_rng(2))
    assert 0.01 < np.abs(fine).max() < 0.2


@pytest.mark.parametrize("charging", [0.5, -0.5])
def test_the_halo_is_round_particles_and_fades(charging):
    sample = drawn(charging=charging, charging_reach=3.0)
    table, factor = sample.particles, substrate_map(sample, SIDE)[..., 0] - 1
    across = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * 1000
    x, y = np.meshgrid(across, -across)
    beyond = np.min([np.hypot(x - table["x_nm"][k], y - table["y_nm"][k]) - table["radius_nm"][k] for k in range(len(table["x_nm"]))], 0)
    radius = np.median(table["radius_nm"])
    near, far = factor[(beyond > 0) & (beyond < 0.2 * radius)].mean(), factor[beyond > 2.5 * radius].mean()
    assert np.sign(charging) * near > 0.25 and abs(far) < 0.35 * abs(near)


def test_the_halo_of_a_lone_particle_is_one_at_its_rim():
    sample = drawn()
    sample.particles = {name: column[:1].copy() for name, column in sample.particles.items()}
    sample.particles.update(x_nm=np.zeros(1), y_nm=np.zeros(1))
    strength = halo(sample, SIDE, 4.0)
    radius = int(round(sample.particles["radius_nm"][0] / 1000 * SIDE))
    assert strength[SIDE // 2, SIDE // 2 + radius] == pytest.approx(2 * np.tanh(0.5), abs=0.15)


def test_films_smears_and_specks_add_brightness():
    film = substrate_map(drawn(dirt={"sign": -1.0, "strength": 0.3, "coverage": 0.4}), SIDE)[..., 1]
    assert film.min() == pytest.approx(-0.3, abs=0.02) and film.max() == 0 and 0.3 < (film < 0).mean() < 0.5
    streaked, spotted = np.zeros((2, SIDE, SIDE), np.float32)
    smears(streaked, 6, 100.0, 0.3, np.random.default_rng(1))
    assert 0.03 < np.abs(streaked).max() and 0.01 < (np.abs(streaked) > 0.01).mean() < 0.7
    specks(spotted, 20, 8.0, 0.3, np.random.default_rng(1))
    area = (np.abs(spotted) > 0.1).mean() * SIDE**2 / 20
    assert np.pi * 2**2 < area < np.pi * 7**2 and spotted.max() > 0.1 > -0.1 > spotted.min()


def test_renders_of_about_one_size_share_a_map():
    assert map_side(256) == map_side(507) == 512 < map_side(2031)
