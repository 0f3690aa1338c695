"""Matching to references: what is read off an image, and the search, on drawn images and analytic passes (no Blender)."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from nanosynth.errors import NanosynthError
from nanosynth.fields import specs
from nanosynth.learn.appearance import Outline, appearance, burnt_in, layout, rough_outline
from nanosynth.learn.match import (
    KNOBS,
    Bench,
    Fit,
    Laid,
    MatchOptions,
    Reference,
    fit,
    half_widths,
    lying_apart,
    matched,
    middle_of,
    read_references,
    scales,
    weights,
)
from nanosynth.reporting import Reporter
from nanosynth.synth.recipe import read_recipe
from nanosynth.synth.shading import shade


def spheres(side=160, radius=17, seed=0):
    """Passes of spheres on a grid, every second pair touching, worked out instead of rendered."""
    y, x = np.mgrid[:side, :side] + 0.5
    instances, normal = np.zeros((side, side), np.uint16), np.zeros((side, side, 3), np.float32)
    normal[..., 2] = 1
    centres = [(i, j) for i in (32, 80, 128) for j in (24, 24 + 2 * radius, 120)]
    for k, (row, column) in enumerate(centres, 1):
        r2 = ((y - row) ** 2 + (x - column) ** 2) / radius**2
        inside = r2 < 1
        instances[inside] = k
        normal[inside] = np.stack([(x - column) / radius, (row - y) / radius, np.sqrt(np.clip(1 - r2, 0, 1))], -1)[inside]
    rng = np.random.default_rng(seed)
    grain = [ndimage.gaussian_filter(rng.standard_normal((side, side)), s) for s in (1, 3, 8)]
    distance = ndimage.distance_transform_edt(instances == 0)
    openness = np.stack([1 - 0.5 * np.exp(-distance / reach) * (instances == 0) for reach in (8, 30)], -1)
    count = len(centres)
    return SimpleNamespace(
        instances=instances,
        normal=normal,
        openness=openness.astype(np.float32),
        texture=np.stack([g / g.std() for g in grain], -1).astype(np.float32) * 0.5,
        particles={"radius_nm": np.full(count, radius * 2.0), "deviation": rng.standard_normal(count), "material": np.ones(count)},
        field_of_view=side * 2.0,
    )


def reference_of(pixels):
    outline = rough_outline(pixels)
    return Reference(SimpleNamespace(name="r.png", stem="r"), pixels, outline, layout(outline), appearance(pixels, outline)[0], None)


TRUTH = {
    "shader.base": 0.55,
    "shader.edge": 0.4,
    "shader.edge_width": 2.0,
    "shader.diffuse": 0.1,
    "shader.shadowing": 1.0,
    "shader.shadow_reach": 1.5,
    "shader.variation": 0.1,
    "shader.roughness": 0.05,
    "shader.grain": 0.15,
    "substrate.relative_yield": 0.3,
    "substrate.texture": 0.1,
    "substrate.grain": 20.0,
    "substrate.slope": 1.2,
    "substrate.relief": 0.0,
    "degradation.blur": 1.2,
    "degradation.dose": 3000.0,
    "degradation.shoulder": 0.8,
    "degradation.noise": 0.03,
    "degradation.noise_grain": 0.8,
    "degradation.smoothing": 0.2,
}


def bench_of(pixels, passes):
    return Bench(reference_of(pixels), passes, 2.0, [5])


@pytest.fixture(scope="module")
def known():
    """A reference of known look in one field, and the bench of another field."""
    passes = spheres()
    first = bench_of(np.where(passes.instances > 0, 0.8, 0.2).astype(np.float32), passes)
    places = np.array([knob.place(TRUTH[knob.name], first.sizes) for knob in KNOBS])
    return places, bench_of(first.image(places), spheres(seed=3))


def test_the_rough_outline_finds_size_count_coverage_and_contact():
    passes = spheres()
    image = np.where(passes.instances > 0, 0.7, 0.25) + 0.03 * np.random.default_rng(0).standard_normal(passes.instances.shape)
    how = layout(rough_outline(image.astype(np.float32)))
    assert how["count"] == 9 and how["cluster"] == 2
    assert how["clustering"] == pytest.approx(1 - 6 / 9)
    assert how["diameter_px"] == pytest.approx(34, abs=1.5)
    assert how["coverage"] == pytest.approx((passes.instances > 0).mean(), abs=0.02)


def test_dim_middles_belong_to_their_particle_and_gaps_between_particles_do_not():
    y, x = np.mgrid[:120, :120]
    ring = np.hypot(y - 40, x - 40)
    image = np.full((120, 120), 0.3, np.float32)
    image[ring < 24] = 0.45
    image[(ring < 24) & (ring > 18)] = 0.9
    assert rough_outline(image).labels[40, 40] > 0
    image = np.full((120, 120), 0.2, np.float32)
    for row, column in ((40, 40), (40, 73), (73, 40), (73, 73)):
        image[np.hypot(y - row, x - column) < 17.5] = 0.8
    outline = rough_outline(image)
    assert outline.labels[56, 56] == 0 and outline.labels.max() == 4


def test_burnt_in_signs_are_left_out_and_bright_particles_are_not():
    image = np.full((200, 300), 0.3, np.float32)
    y, x = np.mgrid[:200, :300]
    image[np.hypot(y - 100, x - 150) < 30] = 1.0  # saturated, but large and inside
    image[180:190, 20:24] = 1.0
    image[180:184, 20:32] = 1.0
    found = burnt_in(image)
    assert found[185, 22] and not found[100, 150] and found.mean() < 0.02


def test_appearance_sees_noise_and_blur_and_is_nothing_between_equals():
    passes = spheres()
    image = np.where(passes.instances > 0, 0.7, 0.25).astype(np.float32)
    outline = Outline.of(passes.instances)
    plain, names = appearance(image, outline)
    assert np.array_equal(plain, appearance(image, outline)[0], equal_nan=True)
    names = np.array(names)
    noisy, _ = appearance(image + 0.05 * np.random.default_rng(0).standard_normal(image.shape).astype(np.float32), outline)
    blurred, _ = appearance(ndimage.gaussian_filter(image, 2), outline)
    assert (noisy - plain)[np.flatnonzero(names == "substrate texture")[0]] > 5
    assert np.abs(noisy - plain)[names == "profile"].max() < 1 < np.abs(blurred - plain)[names == "fine"].max()


def test_shading_follows_the_recipes_meaning():
    passes = spheres()
    flat = {"base": 0.5, "edge": 0.0, "edge_width": 1.0, "edge_exponent": 1.0, "diffuse": 0.0, "variation": 0.0, "shadowing": 0.0}
    flat |= {"shadow_reach": 1.0, "roughness": 0.0, "grain": 0.1}
    ground = {"relative_yield": 0.4, "texture": 0.0, "grain": 20.0, "slope": 1.0, "relief": 0.0, "diffuse": 0.0}
    light = {"strength": 1.0, "azimuth": 0.0, "elevation": 45.0}

    def made(**change):
        return shade(passes, {**flat, **change}, ground, light, np.random.default_rng(0))

    on = passes.instances > 0
    assert np.allclose(made()[on], 0.5) and np.allclose(made()[~on], 0.2)
    assert made(edge=0.3)[80, 120] == pytest.approx(0.5, abs=0.01) and made(edge=0.3)[80, 104] > 0.6
    beside = made(shadowing=1.0)[80, 120 + 18]
    assert beside < 0.2 and made(shadowing=2.0)[80, 120 + 18] < beside
    lit = made(diffuse=1.0)
    assert lit[80, 130] > lit[80, 110]  # from +x


def test_the_search_comes_near_a_known_look(known):
    truth, bench = known
    found = fit(bench, bench.residuals(np.full(len(KNOBS), 0.5)), MatchOptions(steps=6), lambda: None)
    assert found.after < 0.35 * found.before
    value = dict(zip((k.name for k in KNOBS), (k.value(u, bench.sizes) for k, u in zip(KNOBS, found.places))))
    assert value["substrate.relative_yield"] * value["shader.base"] == pytest.approx(0.165, abs=0.03)
    assert value["degradation.noise"] == pytest.approx(0.03, abs=0.01)
    assert 1500 < value["degradation.dose"] < 6000
    assert ((found.places >= 0) & (found.places <= 1)).all()


def test_half_widths_follow_the_references_scatter():
    options = MatchOptions()
    one = Fit(np.full(len(KNOBS), 0.5), 2.0, 1.0)
    other = Fit(np.full(len(KNOBS), 0.9), 2.0, 1.0)
    assert np.allclose(half_widths([one], options), options.least_spread)
    assert np.allclose(half_widths([one, other], options), 0.5 * np.std([0.5, 0.9], ddof=1) * 2**-0.2)


def test_the_matched_recipe_holds_the_fitted_values_within_bounds(known):
    truth, bench = known
    recipe = read_recipe("sio2")
    references = [bench.reference, Reference(SimpleNamespace(stem="s"), *list(vars(bench.reference).values())[1:])]
    fits = [Fit(truth, 2.0, 1.0), Fit(np.ones(len(KNOBS)), 2.0, 1.0)]
    median, nm = scales(recipe, references)
    new = matched(recipe, references, fits, half_widths(fits, MatchOptions()), median, nm, Laid(1.0, 1.2, [r.layout for r in references]))
    assert len(new.looks) == 2 and new.camera.image_px == 160
    for look, found, scale in zip(new.looks, fits, nm):
        sizes = {"radius": bench.reference.outline.radius_px * scale, "pixel": scale}
        for knob, place in zip(KNOBS, found.places):
            section, field = knob.name.split(".")
            low, high = getattr(getattr(look, section), field)
            spec = next(s for n, _, s in specs(type(getattr(look, section))) if n == field)
            assert (
                low < high
                and low <= np.clip(knob.value(place, sizes), spec.low, spec.high) * 1.0001
                and spec.low <= low
                and high <= spec.high
            )
        # As many pixels per particle as in the reference.
        view = np.sqrt(np.prod(look.field_of_view))
        assert median / view * new.camera.image_px == pytest.approx(bench.reference.layout["diameter_px"], rel=1e-3)


def test_what_is_asked_for_moves_by_what_is_missing():
    wanted = [{"diameter_px": 24.0, "spread": 1.3, "coverage": 0.1, "clustering": 0.8, "cluster": 20, "count": 60}] * 3
    seen = [{"diameter_px": 30.0, "spread": 1.2, "coverage": 0.08, "clustering": 0.6, "cluster": 10, "count": 40}] * 3
    start = Laid(1.0, 1.3, wanted)
    moved = start.moved(seen, wanted)
    assert moved.zoom == pytest.approx(30 / 24)  # more nm per pixel: fewer pixels per particle
    assert np.log(moved.spread) == pytest.approx(np.log(1.3) * 1.4)  # log 1.3 / log 1.2 is 1.44, bounded
    how = moved.layouts[0]
    assert how["coverage"] == pytest.approx(0.125) and how["cluster"] == 40
    assert how["clustering"] / (1 - how["clustering"]) == pytest.approx(4 * (4 / 1.5))  # odds
    same = start.moved(wanted, wanted)
    assert same.zoom == 1 and same.spread == pytest.approx(1.3) and same.layouts[0]["clustering"] == pytest.approx(0.8)


def test_what_matching_could_not_reach_is_told():
    references = [SimpleNamespace(layout={"coverage": 0.6, "clustering": 0.58})] * 2
    assert lying_apart([{"coverage": 0.54, "clustering": 0.26}], references) == "clustering 0.26 instead of 0.58"
    assert not lying_apart([{"coverage": 0.54, "clustering": 0.5}], references) and not lying_apart([], references)


def test_too_many_references_and_empty_ones_are_refused(tmp_path):
    from PIL import Image

    for i in range(11):
        Image.fromarray(np.uint8(np.random.default_rng(i).integers(0, 255, (128, 128)))).save(tmp_path / f"{i}.png")
    with pytest.raises(NanosynthError, match="11 reference images"):
        read_references([tmp_path], MatchOptions(), Reporter())
    for i in range(1, 11):
        (tmp_path / f"{i}.png").unlink()
    with pytest.raises(NanosynthError, match="In none"):  # noise, which a threshold parts into specks
        read_references([tmp_path], MatchOptions(), Reporter())


def test_the_tile_shown_is_where_the_particles_are():
    image = np.full((200, 300), 0.2, np.float32)
    y, x = np.mgrid[:200, :300]
    image[np.hypot(y - 150, x - 240) < 20] = 0.8
    tile = middle_of(reference_of(image), 96)
    assert tile.shape == (96, 96) and (tile > 150).sum() == (image > 0.5).sum()
    assert middle_of(reference_of(image), 200).shape == (200, 200)


def test_looks_that_fit_poorly_are_drawn_rarely():
    fits = [Fit(np.zeros(1), 3.0, after) for after in (1.0, 1.2, 1.4, 2.8)]
    np.testing.assert_allclose(weights(fits), [1, 1, (1.3 / 1.4) ** 4, (1.3 / 2.8) ** 4])
    assert weights(fits[:1]) == 1 and weights([Fit(np.zeros(1), 3.0, 0.0)]) <= 1
