"""Making a data set from Blender's window or from a script."""

from __future__ import annotations

import bpy

from ..synth.recipe import PRESETS, read_recipe
from . import jobs, recipe, state, templates
from .base import RELATIVE, Work


class GenerateDataset(Work):
    kind = "generate"
    bl_idname = "nanosynth.generate_dataset"
    bl_label = "Generate Data Set"
    bl_description = "Render synthetic micrographs and their labels into a folder. What is finished already is kept"

    recipe: bpy.props.StringProperty(
        name="Recipe", description="Recipe file, or the name of a preset; empty: the panels' recipe", default=""
    )
    directory: bpy.props.StringProperty(
        name="Folder", description="Folder of the data set; empty: the panels'", subtype="DIR_PATH", options=RELATIVE
    )
    count: bpy.props.IntProperty(name="Count", description="Number of pairs; 0 takes the recipe's", min=0)
    seed: bpy.props.IntProperty(name="Seed", description="Seed of every random draw; -1 takes the recipe's", default=-1, min=-1)
    workers: bpy.props.IntProperty(name="Workers", description="Blender processes side by side; 0 takes the panels'", default=0, min=0)

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        out = state.absolute(self.directory or window.dataset, "data set")
        if not self.recipe:
            templates.freshen(scene)
            chosen = state.recipe_of(scene)
        elif (PRESETS / f"{self.recipe}.toml").is_file():
            chosen = read_recipe(self.recipe)
        else:
            chosen = read_recipe(state.absolute(self.recipe, "recipe") if self.recipe.startswith("//") else self.recipe)
        chosen.count = self.count or chosen.count
        chosen.seed = chosen.seed if self.seed < 0 else self.seed
        workers = self.workers or window.workers

        def command(desk):
            recipe.write_recipe(desk / "recipe.toml", chosen)
            return jobs.blender_command(
                "generate", "--recipe", desk / "recipe.toml", "--out", out, "--workers", workers, "--device", window.device
            )

        return jobs.perform(self, self.kind, command, out)


OPERATORS = (GenerateDataset,)
