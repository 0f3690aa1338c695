"""The light of the preview, and the lamp in the 3D view that shows and sets it.

The recipe has a range for each value, from which every scene draws. The preview
shows the drawn values, or the user's own: those of the sliders here, which the
lamp follows, and which follow the lamp when it is turned or moved.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from ..errors import NanosynthError
from ..fields import canonical, default_of, specs
from ..synth.recipe import Light, Recipe
from ..synth.sampling import SceneSample, sample_scene
from . import state
from .base import Action

LAMP = "Nanosynth light"
DISTANCE = 6.0
"""Of a new lamp from the middle of the scene, in Blender units: a sun's direction alone counts."""
SAME = 1e-4
"""Directions (as unit vectors) and strengths that differ by less are the same."""
VALUES = ("azimuth", "elevation", "strength")


def direction(azimuth: float, elevation: float) -> Vector:
    """The unit vector towards the light; degrees as in the recipe."""
    a, e = np.radians([azimuth, elevation])
    return Vector((np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)))


def angles(towards, azimuth: float) -> tuple[float, float]:
    """Azimuth in [0, 360) and elevation of a vector towards the light, at least the recipe's lowest; degrees.

    Parameters
    ----------
    towards : Vector
    azimuth : float
        The answer where the light stands overhead and has none.
    """
    x, y, z = Vector(towards).normalized()
    spec = next(spec for name, _, spec in specs(Light) if name == "elevation")
    elevation = float(np.clip(np.degrees(np.arcsin(np.clip(z, -1, 1))), spec.low, spec.high))
    if np.hypot(x, y) > SAME:
        azimuth = float(np.degrees(np.arctan2(y, x)) % 360)
    return azimuth, elevation


def _value(name):
    spec = next(spec for field, _, spec in specs(Light) if field == name)
    low, high = default_of(Light, name)
    return bpy.props.FloatProperty(
        name=name.capitalize() + (" (°)" if spec.unit == "degrees" else ""),
        description=spec.doc + (f" [{spec.unit}]" if spec.unit else ""),
        default=(low + high) / 2,
        min=spec.low,
        max=spec.high,
        precision=2,
        update=_slider_moved,
    )


def _slider_moved(self, context):
    if Quiet.now:
        return
    self.own_light = True
    self.place()


class Tuning(bpy.types.PropertyGroup):
    """What the user sets for the preview alone."""

    bl_idname = "NANOSYNTH_PG_tuning"
    own_light: bpy.props.BoolProperty(
        name="Own light", description="Show the scene in the light set here, instead of the one drawn for it from the recipe's ranges"
    )
    azimuth: _value("azimuth")
    elevation: _value("elevation")
    strength: _value("strength")
    lamp: bpy.props.PointerProperty(type=bpy.types.Object, name="Lamp", description="The lamp in the 3D view that shows the light")
    seen_at: bpy.props.FloatVectorProperty(options={"HIDDEN"}, description="Where the lamp was when it was last looked at")

    def light(self) -> dict:
        return {name: canonical(getattr(self, name)) for name in VALUES}

    def take(self, light: dict):
        """Show these values, drawn or read off the lamp, without making them the user's own."""
        if all(abs(getattr(self, name) - light[name]) < SAME for name in VALUES):
            return
        Quiet.now = True
        try:
            for name in VALUES:
                setattr(self, name, light[name])
        finally:
            Quiet.now = False
        self.place()

    def place(self):
        """Turn the lamp as the values say."""
        lamp = shown_lamp(self.id_data)
        if lamp is None:
            return
        towards = direction(self.azimuth, self.elevation)
        if (towards - facing(lamp)).length > SAME:
            distance = lamp.location.length or DISTANCE
            lamp.rotation_mode = "XYZ"
            lamp.rotation_euler = (0.0, np.radians(90.0 - self.elevation), np.radians(self.azimuth))
            lamp.location = towards * distance
        self.seen_at = lamp.location
        lamp.data.energy = np.pi * self.strength


class Quiet:
    """While `now` is true, setting a value is not the user's doing."""

    now = False


def facing(lamp) -> Vector:
    """The direction that a lamp's light comes from."""
    return (lamp.matrix_basis.to_3x3() @ Vector((0.0, 0.0, 1.0))).normalized()


def shown_lamp(scene) -> bpy.types.Object | None:
    """The lamp of the scene that the window shows: that of an opened drawn scene, or that of the project."""
    windows = bpy.context.window_manager.windows
    shown = windows[0].scene if windows else bpy.context.scene
    tuning = shown.nanosynth_tuning if (shown.nanosynth_home or shown) == scene else scene.nanosynth_tuning
    lamp = tuning.lamp
    return lamp if lamp is not None and lamp.type == "LIGHT" else None


def look(home, lamp):
    """Take over what the user has done to the lamp: turned it, moved it (it is then made to face the middle), dimmed it."""
    tuning = home.nanosynth_tuning
    now = direction(tuning.azimuth, tuning.elevation)
    strength = lamp.data.energy / np.pi
    turned = (facing(lamp) - now).length > SAME
    moved = (lamp.location - Vector(tuning.seen_at)).length > SAME and lamp.location.length > SAME
    if not turned and not moved and abs(strength - tuning.strength) < SAME:
        return
    towards = facing(lamp) if turned or not moved else lamp.location
    azimuth, elevation = angles(towards, tuning.azimuth)
    Quiet.now = True
    try:
        tuning.azimuth, tuning.elevation = azimuth, elevation
        tuning.strength, tuning.own_light = strength, True
    finally:
        Quiet.now = False
    if moved and not turned:
        lamp.rotation_mode = "XYZ"
        lamp.rotation_euler = (0.0, np.radians(90.0 - elevation), np.radians(azimuth))
    tuning.seen_at = lamp.location


@bpy.app.handlers.persistent
def _updated(scene, *_):
    """After each change in a scene: a few numbers are compared."""
    home = scene.nanosynth_home or scene
    lamp = scene.nanosynth_tuning.lamp
    if lamp is not None and lamp.type == "LIGHT":
        look(home, lamp)


def drawn_light(recipe: Recipe, index: int) -> dict:
    """The light that is drawn for a scene."""
    empty = SceneSample(index, 0.0, {"x_nm": np.empty(0)}, [], {}, {})  # only the look is asked for
    drawn = sample_scene(recipe, index, laid=empty).drawn["light"]
    return {name: drawn[name] for name in VALUES}


def adopt(shown, lamp, home):
    """Let a lamp in a scene show and set the light of the project `home`."""
    shown.nanosynth_tuning.lamp = lamp
    tuning = home.nanosynth_tuning
    lamp.location = direction(tuning.azimuth, tuning.elevation) * DISTANCE
    lamp.rotation_mode = "XYZ"
    lamp.rotation_euler = (0.0, np.radians(90.0 - tuning.elevation), np.radians(tuning.azimuth))
    lamp.data.energy = np.pi * tuning.strength
    tuning.seen_at = lamp.location


class ShowLight(Action):
    bl_idname = "nanosynth.show_light"
    bl_label = "Show Lamp"
    bl_description = "Put a lamp for the light into the 3D view: turn or move it, and the preview follows"
    bl_options = {"REGISTER", "UNDO"}

    def act(self, context):
        home, shown = state.home(context), context.scene
        tuning = home.nanosynth_tuning
        if not tuning.own_light:
            tuning.take(drawn_light(state.recipe_of(home), home.nanosynth.scene_index))
        lamp = shown.nanosynth_tuning.lamp
        if lamp is None or lamp.name not in shown.collection.all_objects:
            data = bpy.data.lights.new(LAMP, "SUN")
            data.angle = np.radians(home.nanosynth_recipe.light.softness)
            lamp = bpy.data.objects.new(LAMP, data)
            shown.collection.objects.link(lamp)
        adopt(shown, lamp, home)
        for item in context.selected_objects:
            item.select_set(False)
        lamp.select_set(True)
        context.view_layer.objects.active = lamp


class ReleaseLight(Action):
    bl_idname = "nanosynth.release_light"
    bl_label = "As Drawn"
    bl_description = "Show the scene in the light that is drawn for it from the recipe's ranges"
    bl_options = {"REGISTER", "UNDO"}

    def act(self, context):
        home = state.home(context)
        home.nanosynth_tuning.own_light = False
        home.nanosynth_tuning.take(drawn_light(state.recipe_of(home), home.nanosynth.scene_index))


class UseLight(Action):
    bl_idname = "nanosynth.use_light"
    bl_label = "Use in Recipe"
    bl_description = "Centre the recipe's ranges of the light on the values set here, so that all scenes are lit about like this"
    bl_options = {"REGISTER", "UNDO"}

    width: bpy.props.FloatProperty(
        name="Width",
        description="How wide the ranges are afterwards, as a share of what they are now: 0 fixes the light",
        default=1.0,
        min=0.0,
        max=1.0,
    )

    def act(self, context):
        home = state.home(context)
        group, values = home.nanosynth_recipe.light, home.nanosynth_tuning.light()
        if not home.nanosynth_recipe.templates:
            raise NanosynthError("The recipe is empty.", "Take a preset first.")
        for name, _, spec in specs(Light):
            if name in VALUES:
                low, high = getattr(group, name)
                half = (high - low) / 2 * self.width
                setattr(group, name, [canonical(np.clip(values[name] + side * half, spec.low, spec.high)) for side in (-1, 1)])


POINTERS = (("nanosynth_tuning", Tuning),)
HANDLERS = (("depsgraph_update_post", _updated),)
OPERATORS = (Tuning, ShowLight, ReleaseLight, UseLight)
