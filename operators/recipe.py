"""The recipe: read, written, taken from a preset, put back to one."""

from __future__ import annotations

import os
from dataclasses import is_dataclass
from pathlib import Path

import bpy

from .. import properties
from ..errors import NanosynthError
from ..fields import specs, to_toml
from ..files import write_text
from ..synth.recipe import Recipe, Template, read_recipe
from . import state, templates
from .base import RELATIVE, Action, browse, warned_of_existing

NAMES = [(name, name, f"The preset {name}") for name in state.PRESET_NAMES]


PARTS = [("all", "All", "The whole recipe")]
PARTS += [(name, name.capitalize(), spec.doc) for name, hint, spec in specs(Recipe) if is_dataclass(hint)]


class UsePreset(Action):
    bl_idname = "nanosynth.use_preset"
    bl_label = "Use Preset"
    bl_description = "Take all values of the recipe from a preset"
    bl_options = {"REGISTER", "UNDO"}

    preset: bpy.props.EnumProperty(
        name="Preset", description="A recipe that comes with Nanosynth", items=NAMES, options={"SKIP_SAVE"}
    )

    def invoke(self, context, event):
        if self.properties.is_property_set("preset"):
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(self)  # found by the search: which one?

    def act(self, context):
        scene = state.home(context)
        state.put_preset(scene, self.preset)
        scene.nanosynth.recipe_file = ""


class LoadRecipe(Action):
    bl_idname = "nanosynth.load_recipe"
    bl_label = "Load Recipe"
    bl_description = "Read all values of the recipe from a TOML file"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(name="File", description="Recipe file", subtype="FILE_PATH", options={"SKIP_SAVE"} | RELATIVE)
    filter_glob: bpy.props.StringProperty(default="*.toml", options={"HIDDEN"})

    def invoke(self, context, event):
        return self.execute(context) if self.filepath else browse(self, context)  # dropped, or not

    def act(self, context):
        scene = state.home(context)
        path = state.absolute(self.filepath, "recipe")
        state.put_recipe(scene, read_recipe(path))
        scene.nanosynth.preset, scene.nanosynth.recipe_file = "", state.relative(path)


class SaveRecipe(Action):
    bl_idname = "nanosynth.save_recipe"
    bl_label = "Save Recipe"
    bl_description = "Write all values of the recipe to a TOML file, from which `nanosynth generate` makes the same data set"

    filepath: bpy.props.StringProperty(name="File", description="Recipe file", subtype="FILE_PATH", options=RELATIVE)
    filter_glob: bpy.props.StringProperty(default="*.toml", options={"HIDDEN"})
    check_existing: warned_of_existing()

    def invoke(self, context, event):
        scene = state.home(context)
        self.filepath = bpy.path.abspath(scene.nanosynth.recipe_file or f"//{scene.nanosynth_recipe.name}.toml")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        scene = state.home(context)
        path = state.absolute(self.filepath, "recipe")
        templates.freshen(scene)
        write_recipe(path, state.recipe_of(scene))
        scene.nanosynth.recipe_file = state.relative(path)


def write_recipe(path: Path, recipe: Recipe):
    """Write a recipe; its meshes are named relative to it where that is possible."""
    for template in recipe.templates:
        if template.mesh:
            try:
                template.mesh = Path(os.path.relpath(template.mesh, path.parent)).as_posix()
            except ValueError:  # another drive
                pass
    write_text(path, to_toml(recipe))


class ResetRecipe(Action):
    bl_idname = "nanosynth.reset_recipe"
    bl_label = "Reset"
    bl_description = (
        "Put the recipe's values back to those of a preset. Templates that are meshes of your own stay, and so does every object"
    )
    bl_options = {"REGISTER", "UNDO"}

    preset: bpy.props.EnumProperty(
        name="Preset",
        description="A recipe that comes with Nanosynth; left alone, the one that the recipe was taken from",
        items=NAMES,
        options={"SKIP_SAVE"},
    )
    part: bpy.props.EnumProperty(
        name="Part",
        description="What is put back",
        items=PARTS,
        options={"SKIP_SAVE"},
    )

    def invoke(self, context, event):
        if self.properties.is_property_set("preset") or state.preset_of(state.home(context)):
            return self.execute(context)
        self.preset = state.PRESET_NAMES[0]  # of a recipe of the user's own nobody knows which
        return context.window_manager.invoke_props_dialog(self)

    def act(self, context):
        scene = state.home(context)
        name = self.preset if self.properties.is_property_set("preset") else state.preset_of(scene)
        if not name:
            raise NanosynthError("The recipe comes from no preset.", "Name the one whose values are wanted.")
        preset = read_recipe(name)
        group = scene.nanosynth_recipe
        if self.part != "all":
            properties.to_properties(getattr(preset, self.part), getattr(group, self.part))
            return
        taken = {template.name for template in preset.templates}
        for item in group.templates:
            if item.shape == "mesh":
                template = properties.from_properties(Template, item)
                template.name = templates.free_name(template.name, taken)
                taken.add(template.name)
                preset.templates.append(template)
        index = scene.nanosynth.template_index
        state.put_recipe(scene, preset)
        scene.nanosynth.preset = name
        scene.nanosynth.template_index = min(index, len(preset.templates) - 1)


class RecipeFileHandler(bpy.types.FileHandler):
    bl_idname = "NANOSYNTH_FH_recipe"
    bl_label = "Nanosynth recipe"
    bl_import_operator = "nanosynth.load_recipe"
    bl_file_extensions = ".toml"

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


OPERATORS = (UsePreset, LoadRecipe, SaveRecipe, ResetRecipe, RecipeFileHandler)
