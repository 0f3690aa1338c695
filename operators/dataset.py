"""Making a data set from Blender's window or from a script."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..errors import NanosynthError
from ..reporting import Reporter


class GenerateDataset(bpy.types.Operator):
    bl_idname = "nanosynth.generate_dataset"
    bl_label = "Generate Data Set"
    bl_description = "Render synthetic micrographs and their labels into a folder"

    recipe: bpy.props.StringProperty(name="Recipe", description="Recipe file, or the name of a preset", default="sio2")
    directory: bpy.props.StringProperty(name="Folder", description="Folder of the data set", subtype="DIR_PATH")
    count: bpy.props.IntProperty(name="Count", description="Number of pairs; 0 takes the recipe's", min=0)
    seed: bpy.props.IntProperty(name="Seed", description="Seed of every random draw; -1 takes the recipe's", default=-1, min=-1)
    workers: bpy.props.IntProperty(name="Workers", description="Blender processes that work side by side", default=1, min=1)

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        from ..jobs.generate import generate
        from ..synth.recipe import read_recipe

        if not self.directory:
            self.report({"ERROR"}, "No folder is chosen for the data set.")
            return {"CANCELLED"}
        try:
            generate(
                read_recipe(self.recipe),
                Path(bpy.path.abspath(self.directory)),
                count=self.count or None,
                seed=None if self.seed < 0 else self.seed,
                workers=self.workers,
                device="CPU",
                reporter=Reporter(),
            )
        except NanosynthError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}
