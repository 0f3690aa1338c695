"""The steps before the data set: project, references, templates, look and scene."""

from __future__ import annotations

import functools

import bpy

from .. import __version__
from ..doctor import examine
from ..operators import state
from ..operators.base import perhaps
from ..synth.recipe import Arrangement, Camera, Degradation, Dirt, Light, Shader, Size, Substrate
from .common import DONE, READY, WAITING, Step, fields, note, reading


@functools.cache
def _problems():
    """What is missing in this Python; asked once, because a panel draws many times a second."""
    return examine(devices=False)["problems"]


class Project(Step):
    bl_idname = "NANOSYNTH_PT_project"
    bl_label = "Project"
    bl_options = set()

    def mark(self, scene):
        return DONE if bpy.data.filepath and scene.nanosynth_recipe.templates else READY

    def body(self, context, layout, scene):
        for problem in _problems():
            note(layout, problem["message"], "ERROR")
            note(layout, problem["remedy"], "BLANK1")
        if context.scene != scene:
            note(layout, f"This is a drawn scene of {scene.name}.", "SCENE_DATA")
            layout.operator("nanosynth.close_scene", icon="LOOP_BACK")
        if context.workspace is None or context.workspace.name != "Nanosynth":
            layout.operator("nanosynth.open_workspace", icon="WORKSPACE")
        if not bpy.data.filepath:
            note(layout, "Save the file: data sets, networks and results are kept beside it.", "INFO")
            layout.operator("wm.save_as_mainfile", text="Save As…", icon="FILE_TICK")
        recipe = scene.nanosynth_recipe
        layout.prop(recipe, "name", text="Recipe")
        if not recipe.templates:
            note(layout, "The recipe is empty. Take a preset to begin with.", "INFO")
        row = layout.row(align=True)
        row.operator_menu_enum("nanosynth.use_preset", "preset", text="Preset", icon="PRESET")
        row.operator("nanosynth.load_recipe", text="Load", icon="FILE_FOLDER")
        row.operator("nanosynth.save_recipe", text="Save", icon="FILE_TICK")
        layout.label(text=f"Nanosynth {__version__}")


class ReferenceList(bpy.types.UIList):
    bl_idname = "NANOSYNTH_UL_references"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index):
        row = layout.row(align=True)
        preview = item.image.preview.icon_id if item.image and item.image.preview else 0
        row.label(text=item.name, icon_value=preview or 0, icon="NONE" if preview else "IMAGE_DATA")
        row.label(text=f"{item.nm_per_px:.4g} nm/px" if item.nm_per_px else "no scale")


class References(Step):
    bl_idname = "NANOSYNTH_PT_references"
    bl_label = "References"

    def mark(self, scene):
        return DONE if scene.nanosynth.references else READY

    def body(self, context, layout, scene):
        window = scene.nanosynth
        row = layout.row()
        row.template_list("NANOSYNTH_UL_references", "", window, "references", window, "reference_index", rows=3)
        column = row.column(align=True)
        column.operator("nanosynth.load_references", text="", icon="ADD")
        column.operator("nanosynth.remove_reference", text="", icon="REMOVE")
        if not window.references:
            row = layout.row()
            row.scale_y = 1.4
            row.operator("nanosynth.load_references", icon="IMAGE_DATA")
            note(layout, "Or drop image files on the 3D view.", "INFO")
            return
        reference = window.references[min(window.reference_index, len(window.references) - 1)]
        layout.prop(reference, "nm_per_px", text="Pixel size (nm)")
        note(layout, f"Scale: {reference.scale_source}", "INFO")
        layout.operator("nanosynth.show_reference", icon="HIDE_OFF")


class TemplateList(bpy.types.UIList):
    bl_idname = "NANOSYNTH_UL_templates"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index):
        row = layout.row(align=True)
        row.prop(item, "name", text="", emboss=False, icon="MESH_UVSPHERE" if item.shape == "sphere" else "MESH_DATA")
        row.label(text=f"{item.size.median:.4g} nm")


class Templates(Step):
    bl_idname = "NANOSYNTH_PT_templates"
    bl_label = "Templates"

    def mark(self, scene):
        return DONE if scene.nanosynth_recipe.templates else READY

    def body(self, context, layout, scene):
        window, recipe = scene.nanosynth, scene.nanosynth_recipe
        row = layout.row()
        row.template_list("NANOSYNTH_UL_templates", "", recipe, "templates", window, "template_index", rows=3)
        column = row.column(align=True)
        column.operator_menu_enum("nanosynth.add_template", "shape", text="", icon="ADD")
        column.operator("nanosynth.remove_template", text="", icon="REMOVE")
        layout.operator("nanosynth.mark_template", icon="OUTLINER_OB_MESH")
        if not recipe.templates:
            note(layout, "Add a particle, or use a mesh of your own.", "INFO")
            return
        template = recipe.templates[min(window.template_index, len(recipe.templates) - 1)]
        if template.shape == "mesh":
            layout.prop(template, "mesh")
            layout.prop(template, "object")
        layout.prop(template, "weight", text="Weight")
        layout.prop(template, "stretch", text="Stretch")
        fields(layout.column(), template.size, Size)


class Section(Step):
    """A step whose sections of the recipe are sub-panels."""

    parts = ()

    def mark(self, scene):
        return DONE if scene.nanosynth_recipe.templates else WAITING


class Part(bpy.types.Panel):
    """A section of the recipe."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        fields(layout.column(), getattr(state.home(context).nanosynth_recipe, self.section), self.kind)


class Look(Section):
    bl_idname = "NANOSYNTH_PT_look"
    bl_label = "Shader & Light"

    def body(self, context, layout, scene):
        preview(layout, scene)


class Scene(Section):
    bl_idname = "NANOSYNTH_PT_scene"
    bl_label = "Scene"

    def body(self, context, layout, scene):
        preview(layout, scene)
        row = layout.row()
        row.enabled = not perhaps(state.recipe_of, scene)
        row.operator("nanosynth.open_scene", icon="SCENE_DATA")


def preview(layout, scene):
    window = scene.nanosynth
    reason = perhaps(state.recipe_of, scene)
    layout.prop(window, "scene_index", text="Scene")
    layout.prop(window, "preview_px", text="Preview (px)")
    row = layout.row()
    row.enabled = not reason
    row.operator("nanosynth.preview_scene", icon="RENDER_STILL")
    if reason:
        note(layout, reason, "INFO")


def _parts(parent, *sections):
    return tuple(
        type(
            f"NANOSYNTH_PT_{section}",
            (Part,),
            {
                "bl_idname": f"NANOSYNTH_PT_{section}",
                "bl_label": reading(section),
                "bl_parent_id": parent.bl_idname,
                "section": section,
                "kind": kind,
                "__module__": __name__,
            },
        )
        for section, kind in sections
    )


PANELS = (
    Project,
    ReferenceList,
    References,
    TemplateList,
    Templates,
    Look,
    *_parts(Look, ("shader", Shader), ("substrate", Substrate), ("light", Light), ("degradation", Degradation)),
    Scene,
    *_parts(Scene, ("arrangement", Arrangement), ("dirt", Dirt), ("camera", Camera)),
)
