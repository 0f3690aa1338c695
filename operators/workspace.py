"""The workspace: the 3D view with the panels, and two image editors beside it."""

from __future__ import annotations

import bpy

from . import state
from .base import Action

NAME = "Nanosynth"
CATEGORY = "Nanosynth"
STARTUP = {"Cube", "Light", "Camera"}
"""What a new Blender file has in it."""
TRIES = 50
PAUSE_S = 0.1


class OpenWorkspace(Action):
    bl_idname = "nanosynth.open_workspace"
    bl_label = "Nanosynth Workspace"
    bl_description = "Go to the workspace Nanosynth, which is made at first: 3D view with the workflow's panels, image editors for reference and result. The cube of a new file is hidden"
    bl_options = {"REGISTER", "UNDO"}

    def act(self, context):
        scene = state.home(context)
        if not scene.nanosynth_recipe.templates:
            state.put_preset(scene, "sio2")
        if not bpy.data.filepath and {item.name for item in scene.objects} <= STARTUP:
            for item in scene.objects:  # they would lie over the micrograph
                item.hide_set(True)
        if bpy.app.background:
            return
        window = context.window
        existing = bpy.data.workspaces.get(NAME)
        if existing is not None:
            window.workspace = existing
            return
        known = set(bpy.data.workspaces)
        bpy.ops.workspace.duplicate()
        new = next(iter(set(bpy.data.workspaces) - known))
        new.name = NAME
        window.workspace = new
        Arrangement(window, new).begin()


class Arrangement:
    """Lays out a new workspace, step by step: Blender makes each step real only when it draws."""

    def __init__(self, window, workspace):
        self.window, self.workspace, self.left = window, workspace, TRIES
        self.steps = [self.one_area, self.split_right, self.split_down, self.dress]

    def begin(self):
        bpy.app.timers.register(self.step, first_interval=PAUSE_S)

    def step(self):
        self.left -= 1
        if self.window.workspace == self.workspace and self.steps[0]():
            self.steps.pop(0)
        return PAUSE_S if self.steps and self.left else None

    def areas(self):
        return sorted(self.window.screen.areas, key=lambda area: -area.width * area.height)

    def one_area(self):
        """Close all areas but the largest 3D view."""
        areas = self.areas()
        kept = next((area for area in areas if area.type == "VIEW_3D"), areas[0])
        for area in reversed(areas):
            if area != kept:
                with bpy.context.temp_override(window=self.window, screen=self.window.screen, area=area, region=area.regions[0]):
                    if bpy.ops.screen.area_close.poll():
                        bpy.ops.screen.area_close()
                break
        else:
            kept.type = "VIEW_3D"
            return True
        return False

    def split(self, area, direction, factor):
        with bpy.context.temp_override(window=self.window, screen=self.window.screen, area=area, region=area.regions[-1]):
            bpy.ops.screen.area_split(direction=direction, factor=factor)

    def split_right(self):
        self.split(self.areas()[0], "VERTICAL", 0.6)
        return True

    def split_down(self):
        right = max(self.areas(), key=lambda area: area.x)
        if right.x < 10:  # not yet laid out
            return False
        right.type = "IMAGE_EDITOR"
        self.split(right, "HORIZONTAL", 0.5)
        return True

    def dress(self):
        for area in self.areas():
            space = area.spaces.active
            if area.type == "VIEW_3D":
                space.show_region_ui = True
                space.shading.type = "SOLID"
                overlay = space.overlay
                overlay.show_floor = overlay.show_axis_x = overlay.show_axis_y = overlay.show_cursor = overlay.show_text = False  # they would lie over the micrograph
                space.region_3d.view_perspective = "ORTHO"
                space.region_3d.view_rotation = (1.0, 0.0, 0.0, 0.0)
                side = next(region for region in area.regions if region.type == "UI")
                try:
                    side.active_panel_category = CATEGORY
                except (AttributeError, TypeError):  # the sidebar was not drawn yet
                    area.tag_redraw()
                    return False
            else:
                space.show_region_ui = False
        return True


OPERATORS = (OpenWorkspace,)
