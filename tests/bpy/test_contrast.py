"""Each field of the shader changes the render as its description says."""

import bpy
import numpy as np
import pytest

from nanosynth.fields import from_dict, specs
from nanosynth.synth.materials import INPUTS, SE_YIELD, SUBSTRATE, SUBSTRATE_INPUTS, substrate_group
from nanosynth.synth.recipe import Recipe, Shader
from nanosynth.synth.render import render_label, render_photo
from nanosynth.synth.sampling import sample_scene
from nanosynth.synth.scene import build_scene

SIZE = 120
RADIUS = 150.0


def photo(shader=None, substrate=None, particle=None, count=1, label=False, field_of_view=450.0):
    """A sphere of 150 nm in the middle of 450 nm, evenly bright but for what is given; more of them one on top of another."""
    recipe = from_dict(
        Recipe,
        {
            "templates": [{"size": {"median": 2 * RADIUS, "spread": 1.0}}],
            "camera": {"field_of_view": [field_of_view] * 2, "render_px": SIZE},
        },
    )
    recipe.arrangement.coverage = (1.0, 1.0)
    sample = sample_scene(recipe, 0)
    sample.drawn["shader"].update({"base": 0.4, "edge": 0.0, "edge_exponent": 1.0, "edge_width": 0.5, "diffuse": 0.0, "variation": 0.0})
    sample.drawn["shader"].update({"shadowing": 0.0, "roughness": 0.0, "bump": 0.0, "transparency": 0.0, **(shader or {})})
    sample.drawn["substrate"].update(
        {"relative_yield": 0.5, "texture": 0.0, "relief": 0.0, "scratches": 0.0, "diffuse": 0.0, **(substrate or {})}
    )
    sample.drawn["dirt"]["present"] = False
    table = sample.particles = {name: column[:count].copy() for name, column in sample.particles.items()}
    table.update(x_nm=np.zeros(count), y_nm=np.zeros(count), z_nm=RADIUS * (1 + 2 * np.arange(count)), radius_nm=np.full(count, RADIUS))
    table.update(stretch=np.ones(count), deviation=np.zeros(count), material=np.ones(count))
    table.update(particle or {})
    built = build_scene(recipe, sample)
    try:
        image = render_photo(built, SIZE, 8, seed=0)
        return (image, render_label(built, SIZE)) if label else image
    finally:
        built.remove()


def rho(field_of_view=450.0):
    """Distance of each pixel from the middle, in radii."""
    axis = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) * field_of_view / RADIUS
    return np.hypot(axis[:, None], axis[None, :])


def ring(image, low, high):
    r = rho()
    return image[(r > low) & (r < high)].mean()


@pytest.mark.parametrize("edge, exponent, width", [(0.3, 1.0, 0.5), (0.3, 1.6, 0.5), (0.6, 1.0, 10.0)])
def test_the_yield_follows_the_tilt_up_to_the_clamp_of_the_escape_depth(edge, exponent, width):
    image = photo({"edge": edge, "edge_exponent": exponent, "edge_width": width})
    least = np.sqrt(width / (2 * RADIUS)) / 0.541
    r = rho()
    for low, high in ((0.0, 0.3), (0.6, 0.7), (0.85, 0.9), (0.93, 0.96)):
        mine = (r > low) & (r < high)
        expected = 0.4 * (1 + edge * (np.maximum(np.sqrt(1 - r[mine] ** 2), least) ** -exponent - 1))
        assert image[mine].mean() == pytest.approx(expected.mean(), rel=0.03)


def test_a_small_particle_has_a_weaker_rim():
    """The same escape depth ends the growth sooner on a small sphere: the rim follows sqrt(R)."""
    big = photo({"edge": 1.0, "edge_width": 2.0})
    small = photo({"edge": 1.0, "edge_width": 8.0})  # as if R were a quarter
    assert ring(big, 0.96, 0.985) > 1.3 * ring(small, 0.96, 0.985)


def test_variation_and_material_set_a_particles_brightness():
    assert ring(photo({"variation": 0.2}, particle={"deviation": np.array([1.5])}), 0, 0.5) == pytest.approx(0.4 * 1.3, rel=0.02)
    assert ring(photo({"variation": 0.2}, particle={"deviation": np.array([-1.5])}), 0, 0.5) == pytest.approx(0.4 * 0.7, rel=0.02)
    assert ring(photo(particle={"material": np.array([1.8])}), 0, 0.5) == pytest.approx(0.4 * 1.8, rel=0.02)


def test_the_template_s_yield_and_shared_charge_reach_the_particles():
    recipe = from_dict(Recipe, {"templates": [{"name": "a"}, {"name": "b", "yield_factor": [2.0, 3.0]}], "shader": {"patches": [0.0, 0.0]}})
    recipe.arrangement.single = 0.0
    sample = sample_scene(recipe, 0)
    table, factor = sample.particles, sample.drawn["yield_factors"]
    assert factor[0] == 1.0 and 2 <= factor[1] <= 3
    np.testing.assert_allclose(table["material"], np.array(factor)[table["template"]], atol=1e-3)
    recipe.shader.patches = (0.4, 0.4)
    spread = np.concatenate(
        [
            np.log(t["material"] / np.array(s.drawn["yield_factors"])[t["template"]])
            for i in range(12)
            for s in [sample_scene(recipe, i)]
            for t in [s.particles]
        ]
    )
    assert spread.std() == pytest.approx(0.4, rel=0.3)


def test_thin_particles_let_the_substrate_through():
    substrate = {"relative_yield": 2.0}
    for transparency in (60.0, 300.0):
        image = photo({"transparency": transparency}, substrate)
        r = rho()
        for low, high in ((0.0, 0.3), (0.8, 0.9)):
            mine = (r > low) & (r < high)
            through = np.exp(-2 * RADIUS * np.sqrt(1 - r[mine] ** 2) / transparency)
            assert image[mine].mean() == pytest.approx((0.4 + 0.8 * through).mean(), rel=0.05)
    np.testing.assert_allclose(photo({"transparency": 0.0}, substrate)[rho() < 0.95], 0.4, rtol=0.02)


def test_a_thin_particle_keeps_its_bright_rim():
    opaque, clear = (photo({"edge": 0.5, "transparency": t}) for t in (0.0, 300.0))
    rim = (rho() > 0.9) & (rho() < 0.97)
    assert (clear[rim] >= opaque[rim] - 0.01).all()


def test_transparency_leaves_the_label_alone():
    opaque, clear = (photo({"transparency": t}, count=2, label=True)[1] for t in (0.0, 300.0))
    np.testing.assert_array_equal(opaque, clear)


def test_roughness_shows_in_texture_and_tilt():
    inside = rho() < 0.6
    assert photo({"roughness": 0.2, "grain": 0.2})[inside].std() > 0.015 > 0.001 > photo()[inside].std()
    smooth, bumpy = (photo({"edge": 0.5, "bump": b, "grain": 0.2}) for b in (0.0, 0.5))
    assert bumpy[inside].std() > smooth[inside].std() + 0.01
    np.testing.assert_allclose(photo({"bump": 0.5})[inside], 0.4, rtol=0.02)  # without the edge effect there is nothing to tilt


def test_particles_shadow_the_substrate():
    dark, light = (photo({"shadowing": s, "shadow_reach": 2.0}) for s in (1.5, 0.0))
    assert ring(dark, 1.03, 1.15) < 0.8 * ring(light, 1.03, 1.15)
    assert ring(light, 1.03, 1.15) == pytest.approx(0.2, rel=0.02)


def test_what_is_painted_lies_where_it_was_painted():
    """The halo is centred on the particle: the map is neither mirrored nor shifted."""
    at = {"x_nm": np.array([90.0]), "y_nm": np.array([50.0]), "radius_nm": np.array([40.0]), "z_nm": np.array([40.0])}
    image = photo(substrate={"charging": 1.0, "charging_reach": 4.0}, particle=at) - photo(particle=at)
    axis = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) * 450.0
    x, y = np.meshgrid(axis, -axis)
    away = np.hypot(x - 90, y - 50) > 45
    weight = np.where(away, image, 0)
    near = np.hypot(x - 90, y - 50) < 120
    middle = [(weight * c * near).sum() / (weight * near).sum() for c in (x, y)]
    assert np.allclose(middle, (90, 50), atol=8)


@pytest.mark.parametrize("group, inputs", [(SE_YIELD, {n: (f, Shader) for n, f in INPUTS.items()}), (SUBSTRATE, SUBSTRATE_INPUTS)])
def test_the_groups_inputs_are_bounded_by_the_recipe(group, inputs):
    substrate_group()
    photo()
    sockets = {s.name: s for s in bpy.data.node_groups[group].interface.items_tree if s.in_out == "INPUT"}
    for name, (field, section) in inputs.items():
        if field is not None:
            spec = next(s for key, _, s in specs(section) if key == field)
            assert (sockets[name].min_value, sockets[name].max_value) == pytest.approx((spec.low, spec.high))
            assert sockets[name].description.startswith(spec.doc)
            assert spec.low <= sockets[name].default_value <= spec.high


def test_the_groups_inputs_work_on_the_real_material():
    """An artist who moves an input sees it: the materials use the group, not a copy of its values."""
    recipe = from_dict(Recipe, {"camera": {"field_of_view": [450.0, 450.0]}})
    built = build_scene(recipe, sample_scene(recipe, 0))
    try:
        material = built.particles[0].data.materials[0]
        (node,) = (n for n in material.node_tree.nodes if n.type == "GROUP")
        assert node.node_tree == bpy.data.node_groups[SE_YIELD]
        node.inputs["Base yield"].default_value = 0.0
        inside = render_label(built, SIZE) > 0
        assert render_photo(built, SIZE, 2, 0)[inside].mean() < 0.02
    finally:
        built.remove()
    assert len([g for g in bpy.data.node_groups if g.name.startswith(SE_YIELD)]) == 1
