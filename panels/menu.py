"""A menu of all operators, under Window: Blender's search (F3) looks through menus."""

from __future__ import annotations

import bpy

from ..operators import OPERATORS


class All(bpy.types.Menu):
    bl_idname = "NANOSYNTH_MT_all"
    bl_label = "Nanosynth"

    def draw(self, context):
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        module = None
        for cls in OPERATORS:
            if issubclass(cls, bpy.types.Operator):
                if module not in (None, cls.__module__):
                    layout.separator()
                module = cls.__module__
                layout.operator(cls.bl_idname)


def _entry(self, context):
    self.layout.separator()
    self.layout.menu(All.bl_idname)


def begin():
    bpy.types.TOPBAR_MT_window.append(_entry)


def stop():
    """For unregistering. Harmless where it was not begun."""
    bpy.types.TOPBAR_MT_window.remove(_entry)


PANELS = (All,)
