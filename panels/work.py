"""The steps that take time: generate, train, select, segment; and what comes of them."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from ..doctor import learn_python
from ..learn.segmentation import SegmentationOptions
from ..operators import jobs, painter, results, state, training
from ..operators.base import perhaps
from ..properties import title
from . import plots
from .common import BUSY, DONE, READY, WAITING, Step, ending, fields, note, progress, sentence, spoken, work


class Generate(Step):
    bl_idname = "NANOSYNTH_PT_generate"
    bl_label = "Generate"

    def mark(self, scene):
        made = state.made_pairs(state.place(scene, "dataset"))
        if jobs.running("generate"):
            return BUSY
        ready = scene.nanosynth_recipe.templates and state.place(scene, "dataset")
        return DONE if made >= scene.nanosynth_recipe.count and state.as_made(scene) else READY if ready else WAITING

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
        reason = perhaps(state.recipe_of, scene) or perhaps(state.absolute, window.dataset, "data set")
        text = "Generate" if not made else "Go On" if made < recipe.count else "Check Data Set"
        work(layout, scene, "generate", "nanosynth.generate_dataset", text, reason)
        if made:
            row = layout.row(align=True)
            row.label(text=f"{made} of {recipe.count} pairs are finished", icon="CHECKMARK" if made >= recipe.count else "INFO")
            row.operator("nanosynth.show_pair", text="", icon="HIDE_OFF")
            if not reason and not state.as_made(scene):
                note(layout, "Made of another recipe than the panels have now. To generate, name another folder.", "INFO")
        job = jobs.RUNNING.get("generate")
        if job is not None and job.recent and job.out == state.place(scene, "dataset"):
            row = layout.row(align=True)
            for path in job.recent:
                row.template_icon(plots.thumbnail(path), scale=3.2)


def equipped() -> bool:
    """Whether there is a training environment."""
    python = learn_python()
    return python is not None and python.is_file()


def _environment(layout) -> str:
    """Why nothing can be trained or segmented in the training environment; the way to mend it is drawn."""
    if equipped():
        return ""
    python = learn_python()
    if not progress(layout, jobs.RUNNING.get("environment")):
        layout.operator("nanosynth.create_environment", icon="IMPORT")
        ending(layout, jobs.RUNNING.get("environment"), "Nothing was left behind; try again when you like.")
    layout.operator("nanosynth.show_preferences", text="Preferences", icon="PREFERENCES")
    if python is not None:
        return f"{python}: there is no such Python. Name another in the preferences, or create one."
    if not bpy.app.online_access:
        return "No training environment yet. Allow online access in the preferences, under System, and create one, or name its Python."
    return "No training environment yet. Create one, or name its Python in the preferences."


class Train(Step):
    bl_idname = "NANOSYNTH_PT_train"
    bl_label = "Train"

    def mark(self, scene):
        run = state.place(scene, "run")
        if jobs.running("train"):
            return BUSY
        if state.trained(run):
            return DONE
        return READY if state.made_pairs(state.place(scene, "dataset")) and equipped() else WAITING

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
        if window.validate:
            column.prop(window, "annotations")
        if window.validate and not window.references:
            note(layout, "Load references to see after each epoch what the network makes of them.", "INFO")
        lines = state.history(run)
        reason = _environment(layout) or ("" if state.made_pairs(state.place(scene, "dataset")) else "Generate a data set first.")
        work(layout, scene, "train", "nanosynth.train_network", "Go On" if lines else "Train", reason)
        if lines:
            last = lines[-1]
            score = f", F1 {last['f1']:.3f}" if last.get("f1") is not None else ""
            row = layout.row(align=True)
            row.label(text=f"{last['epoch']} epoch{'s' * (last['epoch'] != 1)}, loss {last['loss']:.4f}{score}", icon="CHECKMARK" if state.trained(run) else "INFO")
            row.operator("nanosynth.show_training", text="", icon="HIDE_OFF")
            plot(layout, "training")


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
        epoch, favourites, chosen = training.epoch_of(scene), state.favourites(run), state.selected(run)
        row = layout.row(align=True)
        row.operator("nanosynth.show_epoch", text="", icon="TRIA_LEFT").step = -1
        row.operator("nanosynth.show_epoch", text=f"Epoch {epoch} of {lines[-1]['epoch']}", icon="HIDE_OFF").step = 0
        row.operator("nanosynth.show_epoch", text="", icon="TRIA_RIGHT").step = 1
        row.operator("nanosynth.mark_epoch", text="", icon="SOLO_ON" if epoch in favourites else "SOLO_OFF")
        if training.pictures_of(run, epoch):
            layout.prop(scene.nanosynth, "epoch_opacity", slider=True)
            note(layout, "With the mouse over the pictures, the arrow keys step through the epochs.", "INFO")
        else:
            note(layout, "No reference was watched in this run.", "INFO")
        line = next((line for line in lines if line["epoch"] == epoch), lines[-1])
        column = layout.column(align=True)
        column.label(text=f"Loss {line['loss']:.4f}")
        if line.get("f1") is not None:
            column.label(text=f"F1 of the pixels {line['f1']:.3f}")
            column.label(text=f"F1 of the particles {line['instance_f1']:.3f}")
        if favourites:
            row = layout.row(align=True)
            row.label(text="Favourites")
            for favourite in favourites[:8]:
                row.operator("nanosynth.show_epoch", text=str(favourite), depress=favourite == epoch).epoch = favourite
        kept = training.kept(run, epoch)
        row = layout.row()
        row.scale_y = 1.4
        row.enabled = kept and epoch != chosen
        row.operator("nanosynth.select_epoch", text="Use This Model", icon="CHECKMARK")
        if not kept:
            note(layout, "The weights of this epoch were not kept; favourites are.", "INFO")
        if chosen:
            layout.label(text=f"Epoch {chosen} is in use", icon="CHECKMARK")
        problem(layout, "epoch")


class Segment(Step):
    bl_idname = "NANOSYNTH_PT_segment"
    bl_label = "Segment"

    def mark(self, scene):
        if jobs.running("segment"):
            return BUSY
        found, loaded = {entry["name"] for entry in results.entries(scene)}, scene.nanosynth.references
        if found and all(Path(reference.name).stem in found for reference in loaded):
            return DONE
        ready = state.model_of(scene) and loaded and state.place(scene, "result") and equipped()
        return READY if ready else WAITING

    def body(self, context, layout, scene):
        window = scene.nanosynth
        column = layout.column()
        column.enabled = not jobs.running("segment")
        row = column.row(align=True)
        model = state.model_of(scene)
        own = model is None or model == state.place(scene, "run")
        row.prop(window, "model", placeholder="this file's run" if own else f"{model.name}, shipped")
        row.operator_menu_enum("nanosynth.use_model", "model", text="", icon="DOWNARROW_HLT")
        column.prop(window, "result")
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
        if painter.Studio.busy("result"):
            return BUSY
        if not results.entries(scene):
            return WAITING
        return DONE if scene.nanosynth.exported or scene.nanosynth.reported else READY

    def body(self, context, layout, scene):
        window, found = scene.nanosynth, results.entries(scene)
        if not found:
            note(layout, "Segment a micrograph first; what was found is shown and tuned here.", "INFO")
            return
        entry = found[min(window.shown_result, len(found) - 1)]
        if len(found) > 1:
            layout.prop(window, "shown_name")
        facts = results.facts_of(scene)
        count = facts.get("count", entry["particles"])
        name = f"{entry['name']}: " if len(found) == 1 else ""
        doubts = ", remark below" if entry["warnings"] else ""  # at the end, where it moves no button out of sight
        note(layout, f"{name}{count} particle{'s' * (count != 1)}{doubts}", "IMAGE_DATA")
        grid = layout.grid_flow(columns=2, even_columns=True, align=True)
        grid.use_property_split = False
        grid.prop(window, "shown", expand=True)
        layout.prop(window, "opacity", slider=True)
        for name in state.TUNED:
            layout.prop(window, name, text=title(name), slider=True)
        row = layout.row()
        row.operator(
            "nanosynth.show_result", text="As Segmented" if window.tuned else "Show", icon="LOOP_BACK" if window.tuned else "HIDE_OFF"
        )
        clicking = results.Clicking.now
        row.operator(
            "nanosynth.click_particles", text="Stop Clicking" if clicking else "Click Particles", icon="EYEDROPPER", depress=clicking
        )
        problem(layout, "result")
        if clicking:  # in the place of the plot, so that what stands below stays where it is
            particle(layout, facts.get("particle"))
        else:
            plot(layout, "result")
        if facts.get("median"):
            whole = facts.get("whole", count)
            kept = "" if whole == count else f" of the {whole} that the border does not cut"
            note(layout, f"Median {facts['median']:.4g} {facts['unit']}{kept}")
        row = layout.row()
        row.scale_y = 1.4
        row.operator("nanosynth.export_results", icon="EXPORT")
        if painter.Studio.busy("export"):
            note(layout, "Exporting…", "SORTTIME")
        elif window.exported:
            note(layout, window.exported, "CHECKMARK")
        problem(layout, "export")
        job = jobs.RUNNING.get("report")
        if not progress(layout, job):
            layout.operator("nanosynth.write_report", icon="FILE_TEXT")
            report = Path(bpy.path.abspath(window.reported))
            if window.reported and report.is_file():
                row = layout.row(align=True)
                row.label(text=report.name, icon="CHECKMARK")
                row.operator("wm.path_open", text="Open", icon="URL").filepath = str(report)
            ending(layout, job, "No report was written.")
        for warning in entry["warnings"]:
            note(layout, spoken(sentence(warning)), "INFO")


MEASURES = (
    ("Diameter", "diameter", ""),
    ("Area", "area", "2"),
    ("Largest Feret", "max_feret", ""),
    ("Smallest Feret", "min_feret", ""),
)


def particle(layout, row):
    """The measures of the particle that was clicked, each beside its name."""
    if row is None:
        note(layout, "Click a particle in the image editor.", "INFO")
        return
    unit = "nm" if row["diameter_nm"] is not None else "px"
    lines = [("Particle", str(row["label"]))]
    for name, key, power in MEASURES:
        value = row[f"{key}_{unit}{power}" if unit == "nm" else f"{key}_px"]
        lines.append((name, f"{plain(value)} {unit}{'²' if power else ''}"))
    lines += [(title(key), f"{row[key]:.3f}") for key in ("circularity", "aspect_ratio", "solidity")]
    lines += [("Confidence", f"{row['confidence']:.2f}")] if row["confidence"] is not None else []
    beside = [words for key, words in (("on_border", "cut by the border"), ("touching", "touches another")) if row[key]]
    box = layout.box().column(align=True)
    box.scale_y = 0.75
    for name, value in lines:
        line = box.split(factor=0.5)
        line.label(text=name)
        line.label(text=value)
    if beside:
        box.label(text=sentence(", ".join(beside)))


def plain(value: float) -> str:
    """A number to four digits, without powers of ten."""
    return f"{float(f'{value:.4g}'):,.0f}".replace(",", " ") if value >= 1000 else f"{value:.4g}"


def plot(layout, what):
    """The painter's newest small plot, if there is one."""
    known = painter.Studio.plots.get(what)
    if known is not None:
        layout.template_icon(plots.icon(what, known[0], lambda: opaque(known[1])), scale=8.5)


def opaque(pixels):
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], -1)


def problem(layout, what):
    """Why the painter could not paint."""
    if what in painter.Studio.errors:
        note(layout, painter.Studio.errors[what], "ERROR")


PANELS = (Generate, Train, Select, Segment, Options, Analyse)
