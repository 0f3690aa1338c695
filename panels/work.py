"""The steps that take time: generate, train, select, segment; and what comes of them."""

from __future__ import annotations

import bpy

from ..doctor import learn_python
from ..learn.segmentation import SegmentationOptions
from ..operators import jobs, results, state, training
from ..operators.base import perhaps
from .common import BUSY, DONE, READY, WAITING, Step, ending, fields, note, progress, reading, sentence, work


class Generate(Step):
    bl_idname = "NANOSYNTH_PT_generate"
    bl_label = "Generate"

    def mark(self, scene):
        made = state.made_pairs(state.place(scene, "dataset"))
        if jobs.running("generate"):
            return BUSY
        return DONE if made >= scene.nanosynth_recipe.count else READY if scene.nanosynth_recipe.templates else WAITING

    def body(self, context, layout, scene):
        window, recipe = scene.nanosynth, scene.nanosynth_recipe
        column = layout.column()
        column.enabled = not jobs.running("generate")
        column.prop(window, "dataset")
        column.prop(recipe, "count", text="Pairs")
        column.prop(recipe, "seed", text="Seed")
        column.prop(window, "workers")
        column.prop(window, "device")
        made = state.made_pairs(state.place(scene, "dataset"))
        if made:
            row = layout.row(align=True)
            row.label(text=f"{made} of {recipe.count} pairs are finished", icon="CHECKMARK" if made >= recipe.count else "INFO")
            row.operator("nanosynth.show_pair", text="", icon="HIDE_OFF")
        reason = perhaps(state.recipe_of, scene) or perhaps(state.absolute, window.dataset, "data set")
        text = "Generate" if not made else "Go On" if made < recipe.count else "Check Data Set"
        work(layout, scene, "generate", "nanosynth.generate_dataset", text, reason)


def _environment(layout) -> str:
    """Why nothing can be trained or segmented in the training environment; the way to mend it is drawn."""
    python = learn_python()
    if python is not None and python.is_file():
        return ""
    if not progress(layout, jobs.RUNNING.get("environment")):
        layout.operator("nanosynth.create_environment", icon="IMPORT")
        ending(layout, jobs.RUNNING.get("environment"), "Nothing was left behind; try again when you like.")
    layout.operator("nanosynth.show_preferences", text="Preferences", icon="PREFERENCES")
    if python is not None:
        return f"{python}: there is no such Python. Name another in the preferences, or create one."
    return "No training environment yet. Create one, or name its Python in the preferences."


class Train(Step):
    bl_idname = "NANOSYNTH_PT_train"
    bl_label = "Train"

    def mark(self, scene):
        run = state.place(scene, "run")
        if jobs.running("train"):
            return BUSY
        if state.history(run):
            return DONE
        return READY if state.made_pairs(state.place(scene, "dataset")) else WAITING

    def body(self, context, layout, scene):
        window = scene.nanosynth
        run = state.place(scene, "run")
        column = layout.column()
        column.enabled = not jobs.running("train")
        column.prop(window, "run")
        column.prop(window, "training")
        if window.training == "file":
            column.prop(window, "training_file")
        column.prop(window, "epochs")
        column.prop(window, "validate")
        if window.validate and not window.references:
            note(layout, "Load references to see after each epoch what the network makes of them.", "INFO")
        lines = state.history(run)
        if lines:
            last = lines[-1]
            score = f", F1 {last['f1']:.3f}" if last.get("f1") is not None else ""
            layout.label(text=f"{last['epoch']} epochs, loss {last['loss']:.4f}{score}", icon="CHECKMARK")
        reason = _environment(layout) or (
            "" if state.made_pairs(state.place(scene, "dataset")) else "Generate a data set first."
        )
        work(layout, scene, "train", "nanosynth.train_network", "Go On" if lines else "Train", reason)


class Select(Step):
    bl_idname = "NANOSYNTH_PT_select"
    bl_label = "Select Model"

    def mark(self, scene):
        run = state.place(scene, "run")
        return DONE if state.selected(run) else READY if state.history(run) else WAITING

    def body(self, context, layout, scene):
        run = state.place(scene, "run")
        lines = state.history(run)
        if not lines:
            note(layout, "Train a network first; the pictures of its epochs are chosen from here.", "INFO")
            return
        newest, epoch = lines[-1]["epoch"], min(scene.nanosynth.epoch or lines[-1]["epoch"], lines[-1]["epoch"])
        row = layout.row(align=True)
        row.operator("nanosynth.show_epoch", text="", icon="TRIA_LEFT").step = -1
        row.operator("nanosynth.show_epoch", text=f"Epoch {epoch} of {newest}")
        row.operator("nanosynth.show_epoch", text="", icon="TRIA_RIGHT").step = 1
        line = next((line for line in lines if line["epoch"] == epoch), lines[-1])
        grid = layout.column(align=True)
        grid.label(text=f"Loss {line['loss']:.4f}")
        if line.get("f1") is not None:
            grid.label(text=f"F1 of the pixels {line['f1']:.3f}, of the particles {line['instance_f1']:.3f}")
        if not training.pictures_of(run, epoch):
            note(layout, "No reference was watched in this run.", "INFO")
        row = layout.row()
        row.scale_y = 1.4
        row.operator("nanosynth.select_epoch", text="Use This Epoch", icon="CHECKMARK")
        chosen = state.selected(run)
        if chosen:
            layout.label(text=f"Epoch {chosen} is in use", icon="CHECKMARK")


class Segment(Step):
    bl_idname = "NANOSYNTH_PT_segment"
    bl_label = "Segment"

    def mark(self, scene):
        if jobs.running("segment"):
            return BUSY
        if results.entries(scene):
            return DONE
        return READY if state.model_of(scene) and scene.nanosynth.references else WAITING

    def body(self, context, layout, scene):
        window = scene.nanosynth
        column = layout.column()
        column.enabled = not jobs.running("segment")
        column.prop(window, "model", placeholder="the run of this file")
        column.prop(window, "result")
        model = state.model_of(scene)
        reason = (
            _environment(layout)
            or ("" if window.references else "Load micrographs under References first.")
            or ("" if model else "Train a network first, or name a model.")
            or perhaps(state.absolute, window.result, "results")
        )
        count = len(window.references)
        text = f"Segment {count} Micrographs" if count > 1 else "Segment"
        work(layout, scene, "segment", "nanosynth.segment_images", text, reason)


class Options(bpy.types.Panel):
    bl_idname = "NANOSYNTH_PT_options"
    bl_label = "Options"
    bl_parent_id = Segment.bl_idname
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Nanosynth"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        self.layout.use_property_split = True
        self.layout.use_property_decorate = False
        fields(self.layout.column(), state.home(context).nanosynth_options, SegmentationOptions)


class Analyse(Step):
    bl_idname = "NANOSYNTH_PT_analyse"
    bl_label = "Analyse"

    def mark(self, scene):
        return READY if results.entries(scene) else WAITING

    def body(self, context, layout, scene):
        window, found = scene.nanosynth, results.entries(scene)
        if not found:
            note(layout, "Segment a micrograph first; what was found is shown and tuned here.", "INFO")
            return
        entry = found[min(window.shown_result, len(found) - 1)]
        if len(found) > 1:
            layout.prop(window, "shown_result", text="Image")
        note(layout, f"{entry['name']}: {entry['particles']} particles", "IMAGE_DATA")
        for warning in entry["warnings"]:
            note(layout, sentence(warning), "INFO")
        column = layout.column(align=True)
        column.use_property_split = False
        column.prop(window, "shown", expand=True)
        layout.prop(window, "opacity", slider=True)
        layout.separator()
        for name in state.TUNED:
            layout.prop(window, name, text=reading(name), slider=True)
        if results.Tuned.count is not None:
            layout.label(text=f"{results.Tuned.count} particles with these values")
        row = layout.row(align=True)
        row.operator("nanosynth.tune_segmentation", text="Apply", icon="FILE_REFRESH")
        row.operator("nanosynth.show_result", text="As Segmented", icon="LOOP_BACK")
        row = layout.row()
        row.scale_y = 1.4
        row.operator("nanosynth.export_results", icon="EXPORT")


PANELS = (Generate, Train, Select, Segment, Options, Analyse)
