"""Looking at a drawn scene: as a render, or as objects in the file."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
import numpy as np

from ..errors import NanosynthError
from ..fields import specs
from ..synth.dataset import Dataset
from ..synth.recipe import Camera
from ..synth.sampling import look_of, sample_scene
from ..synth.scene import building
from ..synth.substrate import map_side, substrate_map
from ..synth.templates import load_shapes
from . import light, pictures, preview, state, templates
from .base import RELATIVE, Action, Gradual, aside


class PreviewScene(Action):
    bl_idname = "nanosynth.preview_scene"
    bl_label = "Preview Once"
    bl_description = "Render one drawn scene of the recipe small, with noise and all, into the image 'Nanosynth preview', and wait for it"

    index: bpy.props.IntProperty(name="Scene", description="Number of the scene; -1 takes the panel's", default=-1, min=-1)
    side: bpy.props.IntProperty(name="Side", description="Side of the preview; 0 takes the panel's [px]", default=0, min=0, max=8192)

    def act(self, context):
        from ..synth.previewer import small
        from ..synth.render import make_pair

        scene = state.home(context)
        templates.freshen(scene)
        index = scene.nanosynth.scene_index if self.index < 0 else self.index
        side, least = self.side or scene.nanosynth.preview_px, next(spec.low for name, _, spec in specs(Camera) if name == "image_px")
        if side < least:
            raise NanosynthError(f"A preview of {side} px is too small.", f"Use {least} px or more.")
        begun = time.monotonic()
        pair = make_pair(small(state.recipe_of(scene), side), index)
        image = pictures.show_array(preview.IMAGE, pair.image)
        image["nm_per_px"] = pair.record["nm_per_pixel"]
        pictures.show(context, image, "result")
        particles = np.unique(pair.instances).size - 1
        self.report({"INFO"}, f"Scene {index}: {particles} particles in view, {time.monotonic() - begun:.1f} s")


class OpenScene(Gradual):
    bl_idname = "nanosynth.open_scene"
    bl_label = "Open Drawn Scene"
    bl_description = "Build one drawn scene in this file, as a scene of its own, to look at and to edit"
    bl_options = {"REGISTER", "UNDO"}

    index: bpy.props.IntProperty(name="Scene", description="Number of the scene; -1 takes the panel's", default=-1, min=-1)
    dataset: bpy.props.StringProperty(
        name="Data set", description="Take the recipe from this data set; empty: from the panels", subtype="DIR_PATH", options=RELATIVE
    )

    alone = True

    def steps(self, context):
        scene = state.home(context)
        index = scene.nanosynth.scene_index if self.index < 0 else self.index
        templates.freshen(scene)
        yield
        if self.dataset:
            reading = aside(_recipe_in, state.absolute(self.dataset))
            yield reading
            recipe = reading.result()
        else:
            recipe = state.recipe_of(scene)
        recipe = look_of(recipe, index)
        shapes = load_shapes(recipe)
        drawing = aside(_draw, recipe, index, shapes)
        yield drawing
        sample, painted = drawing.result()
        tuning = scene.nanosynth_tuning
        if tuning.own_light and not self.dataset:
            sample.drawn["light"].update(tuning.light())
        built = yield from building(recipe, sample, painted)
        bpy.data.materials.remove(built.label)  # of the second render, which is not made here
        built.scene.name = f"Nanosynth {recipe.name} {index}"
        built.scene.nanosynth_home = scene
        if not self.dataset:
            tuning.take({name: sample.drawn["light"][name] for name in light.VALUES})
            light.adopt(built.scene, next(item for item in built.scene.objects if item.type == "LIGHT"), scene)
        built.scene.render.resolution_x = built.scene.render.resolution_y = recipe.camera.render_px
        built.scene.render.engine = "CYCLES"
        built.scene.cycles.samples = recipe.camera.samples
        yield
        if context.window:
            context.window.scene = built.scene
            built.scene.camera.data.passepartout_alpha = 1.0  # the picture alone, not the triangle that the substrate is
            pictures.through_camera(context, True)
        self.report({"INFO"}, f"Scene {index} with {len(built.particles)} particles is open")


def _recipe_in(folder):
    return Dataset.open(folder, check=False).recipe


def _draw(recipe, index, shapes):
    sample = sample_scene(recipe, index, shapes)
    return sample, substrate_map(sample, map_side(recipe.camera.render_px))


class CloseScene(Action):
    bl_idname = "nanosynth.close_scene"
    bl_label = "Back to Project"
    bl_description = "Go back to the scene of the recipe and take the drawn scene out of the file"
    bl_options = {"REGISTER", "UNDO"}

    keep: bpy.props.BoolProperty(name="Keep", description="Leave the drawn scene in the file", default=False)

    @classmethod
    def poll(cls, context):
        if context.scene.nanosynth_home is None:
            cls.poll_message_set("This is the scene of the recipe")
            return False
        if context.window and context.window.scene != context.scene:
            # An override's scene is used by Blender after the operator, when it would be gone.
            cls.poll_message_set("Show the drawn scene in the window first")
            return False
        return True

    def act(self, context):
        drawn, scene = context.scene, context.scene.nanosynth_home
        if context.window:
            context.window.scene = scene
            pictures.through_camera(context, False)
        if not self.keep:
            objects = list(drawn.objects)
            parts = {item.data for item in objects if item.data is not None} | {drawn.world}
            materials = {slot.material for item in objects for slot in item.material_slots if slot.material}
            nodes = [node for material in materials for node in material.node_tree.nodes]
            images = {node.image for node in nodes if node.type == "TEX_IMAGE"}
            groups = {node.node_tree for node in nodes if node.type == "GROUP"}
            bpy.data.batch_remove([*objects, drawn])
            for group in (parts, materials, images, groups):  # wholes before what they use
                bpy.data.batch_remove([item for item in group if item is not None and item.users == 0])


class ShowPair(Action):
    bl_idname = "nanosynth.show_pair"
    bl_label = "Show Pair"
    bl_description = "Show a finished micrograph of the data set, or its label, in the image editor"

    index: bpy.props.IntProperty(name="Scene", description="Number of the scene; -1 takes the panel's", default=-1, min=-1)
    label: bpy.props.BoolProperty(name="Label", description="The label instead of the micrograph", default=False)

    def act(self, context):
        scene = state.home(context)
        index = scene.nanosynth.scene_index if self.index < 0 else self.index
        folder = state.absolute(scene.nanosynth.dataset, "data set")
        path = Path(folder, "labels" if self.label else "images", f"{index:06d}.png")
        if not path.is_file():
            raise NanosynthError(f"{path}: scene {index} is not finished.", "Choose another, or generate it.")
        pictures.show_file(context, "Nanosynth pair", path)


OPERATORS = (PreviewScene, OpenScene, CloseScene, ShowPair)
