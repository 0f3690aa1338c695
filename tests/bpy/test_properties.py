"""TOML -> Blender properties -> TOML changes nothing, draws included."""

import bpy
import numpy as np
import pytest

from nanosynth import properties
from nanosynth.errors import NanosynthError
from nanosynth.fields import to_toml, walk
from nanosynth.synth.recipe import PRESETS, Recipe, Shader, read_recipe
from nanosynth.synth.sampling import sample_scene


@pytest.fixture
def group():
    for cls in properties.CLASSES:
        if not cls.is_registered:
            bpy.utils.register_class(cls)
    bpy.types.Scene.test_recipe = bpy.props.PointerProperty(type=properties.GROUPS[Recipe])
    scene = bpy.data.scenes.new("properties")
    yield scene.test_recipe
    bpy.data.scenes.remove(scene)
    del bpy.types.Scene.test_recipe
    for cls in reversed(properties.CLASSES):
        bpy.utils.unregister_class(cls)


@pytest.mark.parametrize("preset", sorted(p.stem for p in PRESETS.glob("*.toml")))
def test_round_trip_gives_the_same_draws(group, preset):
    recipe = read_recipe(preset)
    properties.to_properties(recipe, group)
    again = properties.from_properties(Recipe, group)
    assert to_toml(again) == to_toml(recipe)
    a, b = sample_scene(recipe, 4), sample_scene(again, 4)
    assert a.drawn == b.drawn
    for name in a.particles:
        np.testing.assert_array_equal(a.particles[name], b.particles[name])


def test_defaults_tooltips_and_bounds_come_from_the_recipe(group):
    assert properties.from_properties(Shader, group.shader) == Shader()
    shown = group.camera.bl_rna.properties["field_of_view"]
    name, _, spec, default = next(row for row in walk(Recipe) if row[0] == "camera.field_of_view")
    assert spec.doc in shown.description and "nm" in shown.description
    assert tuple(shown.default_array) == default
    assert shown.hard_min == spec.low


def test_rules_between_fields_hold_there_too(group):
    properties.to_properties(read_recipe("sio2"), group)
    group.light.elevation = (70.0, 30.0)
    with pytest.raises(NanosynthError, match="light.elevation.*wrong order"):
        properties.from_properties(Recipe, group)
