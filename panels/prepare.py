"""The steps before the data set: project, references, templates, look and scene."""

from __future__ import annotations

import functools

import bpy

from .. import __version__, properties
from ..doctor import examine
from ..errors import NanosynthError
from ..operators import jobs, light, lines, match, preview, profiles, references, state, templates
from ..operators.base import perhaps
from ..properties import title
from ..synth.recipe import Arrangement, Camera, Degradation, Dirt, Light, Shader, Size, Substrate, Template
from . import plots
from .common import BUSY, DONE, READY, WAITING, Step, ending, field, fields, note, progress, sentence, wanting


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
        row = layout.row()
        row.enabled = bool(recipe.templates)
        row.operator("nanosynth.reset_recipe", text="Reset Values", icon="LOOP_BACK").part = "all"
        layout.label(text=f"Nanosynth {__version__}")


class ReferenceList(bpy.types.UIList):
    bl_idname = "NANOSYNTH_UL_references"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index):
        row = layout.split(factor=0.6, align=True)
        row.label(text=item.name, icon_value=plots.thumbnail(bpy.path.abspath(item.path)))
        row.label(text=f"{item.nm_per_px:.4g} nm/px" if item.nm_per_px else "no scale")


class References(Step):
    bl_idname = "NANOSYNTH_PT_references"
    bl_label = "References"

    def mark(self, scene):
        if references.LoadReferences.at_work:
            return BUSY
        loaded = scene.nanosynth.references
        return DONE if loaded and all(reference.nm_per_px for reference in loaded) else READY

    def body(self, context, layout, scene):
        window = scene.nanosynth
        at_work = references.LoadReferences.at_work
        if at_work:
            layout.progress(factor=at_work[0] / at_work[1], text=f"Reading {at_work[0] + 1} of {at_work[1]}")
        if not window.references:
            row = layout.row()
            row.scale_y = 1.4
            row.operator("nanosynth.load_references", icon="IMAGE_DATA")
            note(layout, "Or drop image files on the 3D view.", "INFO")
            return
        row = layout.row()
        row.template_list("NANOSYNTH_UL_references", "", window, "references", window, "listed_reference", rows=3, maxrows=8)
        column = row.column(align=True)
        column.operator("nanosynth.load_references", text="", icon="ADD")
        column.operator("nanosynth.remove_reference", text="", icon="REMOVE")
        column.operator("nanosynth.show_reference", text="", icon="HIDE_OFF")
        reference = window.references[min(window.reference_index, len(window.references) - 1)]
        layout.prop(reference, "typed_nm_per_px", text="Pixel size (nm)")
        note(layout, sentence(reference.scale_source.removeprefix("none: ")), "CHECKMARK" if reference.nm_per_px else "INFO")
        row = layout.row(align=True)
        row.operator("nanosynth.find_scale_bar", icon="VIEWZOOM")
        row.operator("nanosynth.draw_line", text="Draw over Bar", icon="GREASEPENCIL").target = "scale"


class TemplateList(bpy.types.UIList):
    bl_idname = "NANOSYNTH_UL_templates"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index):
        total = sum(template.weight for template in data.templates)
        row = layout.split(factor=0.5, align=True)
        row.prop(item, "name", text="", emboss=False, icon="MESH_UVSPHERE" if "sphere" in item.shape else "MESH_DATA")
        row = row.row(align=True)
        row.label(text=f"{item.size.median:.4g} nm")
        row.label(text=f"{item.weight / total:.0%}" if total else "")


FORMS = {
    "stretch": {"sphere", "core_shell", "rough_sphere", "hollow_sphere", "mesh"},
    "variants": {"rough_sphere", "hollow_sphere", "grain", "bipyramid", "cube", "platelet", "rod"},
    "aspect": {"grain", "bipyramid", "cube", "platelet", "rod", "wire"},
    "roundness": {"grain", "bipyramid", "cube", "platelet", "rod", "wire"},
    "faces": {"grain"},
    "irregularity": {"grain", "bipyramid", "cube", "platelet"},
    "relief": {"rough_sphere", "grain", "bipyramid", "cube", "platelet"},
    "relief_waves": {"rough_sphere", "grain", "bipyramid", "cube", "platelet"},
    "sides": {"rod", "wire"},
    "tip": {"rod", "wire"},
    "bend": {"rod", "wire"},
    "wall": {"hollow_sphere"},
    "opening": {"hollow_sphere"},
    "core": {"core_shell"},
    "core_contrast": {"core_shell"},
    "mesh": {"mesh"},
    "object": {"mesh"},
}
"""The shapes to which a template's field matters; one that is not named here matters to all."""
SIZES = {
    "second_median": {"bimodal"},
    "second_spread": {"bimodal"},
    "second_share": {"bimodal"},
    "measured": {"list"},
    "median": {"lognormal", "normal", "uniform", "bimodal"},
    "spread": {"lognormal", "normal", "uniform", "bimodal"},
}
"""The distributions to which a field of the sizes matters."""


class Templates(Step):
    bl_idname = "NANOSYNTH_PT_templates"
    bl_label = "Templates"

    def mark(self, scene):
        return described(scene) or READY

    def body(self, context, layout, scene):
        window, recipe = scene.nanosynth, scene.nanosynth_recipe
        row = layout.row()
        row.template_list("NANOSYNTH_UL_templates", "", recipe, "templates", window, "template_index", rows=3)
        column = row.column(align=True)
        column.operator_menu_enum("nanosynth.add_template", "shape", text="", icon="ADD")
        column.operator("nanosynth.remove_template", text="", icon="REMOVE")
        layout.operator("nanosynth.mark_template", icon="OUTLINER_OB_MESH")
        wanting(layout, context, templates.MarkTemplate)
        if not recipe.templates:
            note(layout, "Add a particle, or use a mesh of your own.", "INFO")
            return
        template = recipe.templates[min(window.template_index, len(recipe.templates) - 1)]
        field(layout, template, "shape", "Shape")
        other = {name for name, shapes in FORMS.items() if template.shape not in shapes}
        fields(layout.column(), template, Template, skip={"name", "shape", *other})
        layout.operator("nanosynth.edit_template", icon="EDITMODE_HLT")


class Sizes(bpy.types.Panel):
    """The size distribution of the chosen template."""

    bl_idname = "NANOSYNTH_PT_sizes"
    bl_label = "Sizes"
    bl_parent_id = Templates.bl_idname
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"

    @classmethod
    def poll(cls, context):
        return bool(state.home(context).nanosynth_recipe.templates)

    def draw(self, context):
        layout, scene = self.layout, state.home(context)
        layout.use_property_split, layout.use_property_decorate = True, False
        size = templates.chosen(scene).size
        try:
            layout.template_icon(plots.size_icon(properties.from_properties(Size, size)), scale=7.0)
        except NanosynthError as error:
            note(layout, str(error), "ERROR")
        other = {name for name, kinds in SIZES.items() if size.distribution not in kinds}
        fields(layout.column(), size, Size, skip=other)
        layout.operator("nanosynth.load_sizes", icon="FILE_FOLDER")


def described(scene) -> str:
    """The mark of a step that describes the synthetic micrographs; none without a recipe."""
    if not scene.nanosynth_recipe.templates:
        return ""
    return DONE if state.made_pairs(state.place(scene, "dataset")) and state.as_made(scene) else READY


class Section(Step):
    """A step whose sections of the recipe are sub-panels."""

    def mark(self, scene):
        return described(scene) or WAITING


class Part(bpy.types.Panel):
    """A section of the recipe."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header_preset(self, context):
        row = self.layout.row()
        row.emboss = "NONE"
        row.operator("nanosynth.reset_recipe", text="", icon="LOOP_BACK").part = self.section

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        scene = state.home(context)
        fields(layout.column(), getattr(scene.nanosynth_recipe, self.section), self.kind)
        if self.section == "light":
            lamp(layout, scene)


def lamp(layout, scene):
    """The light of the preview."""
    tuning = scene.nanosynth_tuning
    box = layout.box()
    box.label(text="In the preview: your own light" if tuning.own_light else "In the preview: as drawn", icon="LIGHT_SUN")
    column = box.column(align=True)
    for name in light.VALUES:
        column.prop(tuning, name, slider=True)
    row = box.row(align=True)
    row.operator("nanosynth.show_light", icon="OUTLINER_OB_LIGHT")
    again = row.row(align=True)
    again.enabled = tuning.own_light
    again.operator("nanosynth.release_light", icon="LOOP_BACK")
    box.operator("nanosynth.use_light", icon="IMPORT")


class Look(Section):
    bl_idname = "NANOSYNTH_PT_look"
    bl_label = "Shader & Light"

    def mark(self, scene):
        return BUSY if jobs.running("match") else Section.mark(self, scene)

    def body(self, context, layout, scene):
        live(layout, scene)


class Profile(bpy.types.Panel):
    """Intensity along lines over reference and preview."""

    bl_idname = "NANOSYNTH_PT_profile"
    bl_label = "Intensity Profile"
    bl_parent_id = Look.bl_idname
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout, scene = self.layout, state.home(context)
        layout.use_property_split, layout.use_property_decorate = True, False
        own = scene.nanosynth_lines
        row = layout.row(align=True)
        for target, words in (("reference", "On Reference"), ("preview", "On Preview")):
            part = row.row(align=True)
            part.enabled = lines.image_of(scene, target) is not None
            icon = "CHECKMARK" if lines.drawn(scene, target) else "GREASEPENCIL"
            part.operator("nanosynth.draw_line", text=words, icon=icon).target = target
        layout.prop(own, "width", text="Width (px)")
        row = layout.row(align=True)
        row.operator("nanosynth.plot_profile", icon="GRAPH")
        row.operator("nanosynth.export_profile", text="", icon="EXPORT")
        if lines.image_of(scene, "reference") is None:
            note(layout, "Without a micrograph under References there is none to draw over.", "INFO")
        if lines.image_of(scene, "preview") is None:
            note(layout, "The preview can be drawn over once Live Preview was on.", "INFO")
        if not profiles.PlotProfile.poll(context):
            note(layout, "Draw a line over the reference and one over the preview, then plot the intensities along them together.", "INFO")


class Match(bpy.types.Panel):
    """The recipe's ranges estimated from the references."""

    bl_idname = "NANOSYNTH_PT_match"
    bl_label = "Match to References"
    bl_parent_id = Look.bl_idname
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout, scene = self.layout, state.home(context)
        layout.use_property_split, layout.use_property_decorate = True, False
        job = jobs.RUNNING.get("match")
        if not progress(layout, job):
            layout.prop(scene.nanosynth_matching, "nm_per_px")
            row = layout.row()
            row.scale_y = 1.4
            row.operator("nanosynth.match_references", icon="EYEDROPPER")
            wanting(layout, context, match.MatchReferences)
            ending(layout, job, "The recipe is as it was.")
        row = layout.row(align=True)
        row.operator("nanosynth.show_match", text="Before, After", icon="IMAGE_DATA")
        row.operator("nanosynth.undo_match", icon="LOOP_BACK")
        wanting(layout, context, match.ShowMatch, match.UndoMatch)
        if match.PICTURE in bpy.data.images:
            note(layout, "In each row: a micrograph, a render before, one after.", "BLANK1")
        looks = len(scene.nanosynth_recipe.looks)
        if looks:
            note(layout, f"{looks} look{'s' if looks > 1 else ''} of references take{'' if looks > 1 else 's'} the place of shader, substrate, light, arrangement, dirt and degradation.", "INFO")
            row = layout.row()
            row.operator("nanosynth.drop_looks", icon="X")


class Scene(Section):
    bl_idname = "NANOSYNTH_PT_scene"
    bl_label = "Scene"

    def body(self, context, layout, scene):
        live(layout, scene)
        row = layout.row()
        row.enabled = not perhaps(state.recipe_of, scene)
        row.operator("nanosynth.open_scene", icon="SCENE_DATA")
        if state.made_pairs(state.place(scene, "dataset")):
            layout.operator("nanosynth.open_scene", text="Open from Data Set", icon="FILE_FOLDER").dataset = scene.nanosynth.dataset


def live(layout, scene):
    """The live preview, and which scene it shows."""
    window = scene.nanosynth
    reason = perhaps(state.recipe_of, scene)
    layout.prop(window, "scene_index", text="Scene")
    layout.prop(window, "preview_px", text="Preview (px)")
    row = layout.row()
    row.scale_y = 1.4
    if preview.Live.on:
        row.operator("nanosynth.stop_preview", icon="PAUSE", depress=True)
        row.operator("nanosynth.show_preview", text="", icon="HIDE_OFF")
        note(layout, preview.status(), "RENDER_STILL")
    else:
        row.enabled = not reason
        row.operator("nanosynth.start_preview", icon="PLAY")
    if preview.Live.error or reason:
        note(layout, preview.Live.error or reason, "ERROR" if preview.Live.error else "INFO")


def _parts(parent, *sections):
    return tuple(
        type(
            f"NANOSYNTH_PT_{section}",
            (Part,),
            {
                "bl_idname": f"NANOSYNTH_PT_{section}",
                "bl_label": title(section),
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
    Sizes,
    Look,
    *_parts(Look, ("shader", Shader), ("substrate", Substrate), ("light", Light), ("degradation", Degradation)),
    Profile,
    Match,
    Scene,
    *_parts(Scene, ("arrangement", Arrangement), ("dirt", Dirt), ("camera", Camera)),
)
