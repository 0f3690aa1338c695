"""What Blender is told of: one ordered list of classes, the preferences, the scene's state and the command line."""

from __future__ import annotations

import bpy

from . import operators, properties
from .operators import state
from .panels import PANELS, menu, plots
from .panels import preferences as preferences_page

PACKAGE = __package__


class Preferences(bpy.types.AddonPreferences):
    bl_idname = PACKAGE

    learn_python: bpy.props.StringProperty(
        name="Training environment",
        description="Python of an environment with TensorFlow, used for training and segmenting; empty: the one that Nanosynth has made",
        subtype="FILE_PATH",
    )

    def draw(self, context):
        preferences_page.draw(self.layout, self)


CLASSES = (Preferences, *properties.CLASSES, *state.CLASSES, *operators.OPERATORS, *PANELS)
_commands = []


def preferences():
    """The extension's preferences, or None where it is registered without being enabled as an extension."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon else None


def register():
    unregister()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    state.register()
    operators.begin()
    menu.begin()
    _commands.append(bpy.utils.register_cli_command("nanosynth", _command))


def unregister():
    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    operators.stop()
    plots.stop()
    menu.stop()
    state.unregister()
    for cls in reversed(CLASSES):
        if cls.is_registered:
            bpy.utils.unregister_class(cls)


def _command(argv):
    from .cli import main

    return main(argv)
