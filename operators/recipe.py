"""The recipe: read, written, taken from a preset; its templates."""

from __future__ import annotations

import os
import re
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..fields import specs, to_toml
from ..files import write_text, written_whole
from ..synth import shapes as shapes_module
from ..synth.recipe import NM_PER_UNIT, PRESETS, Recipe, Template, read_recipe
from . import state
from .base import RELATIVE, Action

BUILT_IN = tuple(
    choice for name, _, spec in specs(Template) if name == "shape" for choice in spec.choices if choice != "mesh"
)


NAMES = [(path.stem, path.stem, f"The preset {path.stem}") for path in sorted(PRESETS.glob("*.toml"))]


class UsePreset(Action):
    bl_idname = "nanosynth.use_preset"
    bl_label = "Use Preset"
    bl_description = "Take all values of the recipe from a preset"
    bl_options = {"REGISTER", "UNDO"}

    preset: bpy.props.EnumProperty(name="Preset", description="A recipe that comes with Nanosynth", items=NAMES)

    def act(self, context):
        scene = state.home(context)
        state.put_recipe(scene, read_recipe(self.preset))
        scene.nanosynth.recipe_file = ""


class LoadRecipe(Action):
    bl_idname = "nanosynth.load_recipe"
    bl_label = "Load Recipe"
    bl_description = "Read all values of the recipe from a TOML file"
    bl_options = {"REGISTER", "UNDO"}

    filepath: bpy.props.StringProperty(name="File", description="Recipe file", subtype="FILE_PATH", options=RELATIVE)
    filter_glob: bpy.props.StringProperty(default="*.toml", options={"HIDDEN"})

    def invoke(self, context, event):
        if self.filepath:  # dropped
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        scene = state.home(context)
        path = state.absolute(self.filepath, "recipe")
        state.put_recipe(scene, read_recipe(path))
        scene.nanosynth.recipe_file = state.relative(path)


class SaveRecipe(Action):
    bl_idname = "nanosynth.save_recipe"
    bl_label = "Save Recipe"
    bl_description = "Write all values of the recipe to a TOML file, from which `nanosynth generate` makes the same data set"

    filepath: bpy.props.StringProperty(name="File", description="Recipe file", subtype="FILE_PATH", options=RELATIVE)
    filter_glob: bpy.props.StringProperty(default="*.toml", options={"HIDDEN"})

    def invoke(self, context, event):
        scene = state.home(context)
        self.filepath = bpy.path.abspath(scene.nanosynth.recipe_file or f"//{scene.nanosynth_recipe.name}.toml")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        scene = state.home(context)
        path = state.absolute(self.filepath, "recipe")
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


class AddTemplate(Action):
    bl_idname = "nanosynth.add_template"
    bl_label = "Add Template"
    bl_description = "Add a built-in particle to the templates that scenes are made of"
    bl_options = {"REGISTER", "UNDO"}

    shape: bpy.props.EnumProperty(
        name="Shape", description="A built-in shape", items=[(name, name.replace("_", " ").capitalize(), "") for name in BUILT_IN]
    )

    def act(self, context):
        scene = state.home(context)
        template = _add(scene, self.shape)
        template.shape = self.shape


class MarkTemplate(Action):
    bl_idname = "nanosynth.mark_template"
    bl_label = "Use Selected Mesh"
    bl_description = "Make the active mesh a template: it is saved in a .blend file beside the project, and stays as it is here"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        item = context.active_object
        if item is None or item.type != "MESH":
            cls.poll_message_set("Select a mesh that encloses a volume")
            return False
        return True

    def act(self, context):
        scene, item = state.home(context), context.active_object
        path = state.absolute(f"//nanosynth/templates/{file_name(item.name)}.blend", "templates")
        median = volume_diameter_nm(item)  # also refuses what has no volume, before anything is written
        with written_whole(path) as temporary:
            bpy.data.libraries.write(str(temporary), {item}, fake_user=True, path_remap="ABSOLUTE")
        template = next((t for t in scene.nanosynth_recipe.templates if t.mesh == state.relative(path)), None) or _add(scene, item.name)
        template.shape, template.mesh, template.object = "mesh", state.relative(path), item.name
        template.size.median = median
        template.size.smallest, template.size.largest = median / 10, median * 10


class RemoveTemplate(Action):
    bl_idname = "nanosynth.remove_template"
    bl_label = "Remove Template"
    bl_description = "Take the chosen template out of the recipe; its mesh and files stay"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty(name="Index", description="Which; -1 is the one chosen in the list", default=-1, min=-1)

    @classmethod
    def poll(cls, context):
        return bool(state.home(context).nanosynth_recipe.templates)

    def act(self, context):
        scene = state.home(context)
        index = scene.nanosynth.template_index if self.index < 0 else self.index
        templates = scene.nanosynth_recipe.templates
        if index >= len(templates):
            raise NanosynthError(f"There is no template {index}.", f"There are {len(templates)}.")
        templates.remove(index)
        scene.nanosynth.template_index = max(0, min(index, len(templates) - 1))


def file_name(name: str) -> str:
    """A name without the characters that some file system refuses."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ") or "template"


def _add(scene, name):
    templates = scene.nanosynth_recipe.templates
    taken, number, unique = {t.name for t in templates}, 1, name
    while unique in taken:
        number += 1
        unique = f"{name} {number}"
    template = templates.add()
    template.name = unique
    scene.nanosynth.template_index = len(templates) - 1
    return template


def volume_diameter_nm(item: bpy.types.Object) -> float:
    """Diameter of the sphere of the same volume as a mesh object, modifiers and scale applied.

    Raises
    ------
    NanosynthError
        If it encloses no volume.
    """
    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        mesh.calc_loop_triangles()
        vertices = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", vertices)
        triangles = np.empty(3 * len(mesh.loop_triangles), np.int32)
        mesh.loop_triangles.foreach_get("vertices", triangles)
    finally:
        evaluated.to_mesh_clear()
    corners = (vertices.reshape(-1, 3) * np.array(item.scale))[triangles.reshape(-1, 3)].astype(float)
    volume = abs(np.einsum("ni,ni->n", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()) / 6 if len(corners) else 0.0
    shapes_module.normalised(corners.reshape(-1, 3), np.arange(corners.size // 3).reshape(-1, 3), name=item.name)
    return float((6 * volume / np.pi) ** (1 / 3) * NM_PER_UNIT)


class RecipeFileHandler(bpy.types.FileHandler):
    bl_idname = "NANOSYNTH_FH_recipe"
    bl_label = "Nanosynth recipe"
    bl_import_operator = "nanosynth.load_recipe"
    bl_file_extensions = ".toml"

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


OPERATORS = (UsePreset, LoadRecipe, SaveRecipe, AddTemplate, MarkTemplate, RemoveTemplate, RecipeFileHandler)
