"""The sidebar panel of the 3D view."""

from __future__ import annotations

import functools

import bpy

from .. import __version__
from ..doctor import examine


@functools.cache
def _problems():
    """What is missing in this Python; asked once, because a panel draws many times a second."""
    return examine(devices=False)["problems"]


class MainPanel(bpy.types.Panel):
    bl_idname = "NANOSYNTH_PT_main"
    bl_label = "Nanosynth"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"

    def draw(self, context):
        column = self.layout.column()
        column.label(text=f"Nanosynth {__version__}")
        for problem in _problems():
            column.label(text=problem["message"], icon="ERROR")
            column.label(text=problem["remedy"])
        column.operator("nanosynth.generate_dataset")
