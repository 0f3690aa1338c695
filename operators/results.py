"""Segmenting the references; looking at what was found, tuning it, taking it away."""

from __future__ import annotations

import functools
from pathlib import Path

import bpy
import numpy as np

from .. import properties
from ..errors import NanosynthError
from ..fields import walk
from ..files import write_text
from ..learn.images import list_images, write_grey, write_labels
from ..learn.particles import table_text
from ..learn.pictures import PALETTE, colours, overlay
from ..learn.segmentation import SegmentationOptions
from ..learn.tuning import Stored, open_stored, settings_of
from . import jobs, pictures, state
from .base import RELATIVE, Action, Work

RESULT = "Nanosynth result"
FAST_PX = 640
"""Longest side of the first answer to a slider."""
SETTLED_S = 0.4
"""A slider that has not moved for so long gets the full answer."""


class SegmentImages(Work):
    kind = "segment"
    bl_idname = "nanosynth.segment_images"
    bl_label = "Segment"
    bl_description = "Find the particles in the references, in the training environment"

    model: bpy.props.StringProperty(name="Model", description="Run or model; empty: the panels'", subtype="DIR_PATH", options=RELATIVE)
    images: bpy.props.StringProperty(name="Images", description="An image or a folder of images; empty: the references", subtype="FILE_PATH", options=RELATIVE)
    directory: bpy.props.StringProperty(name="Results", description="Folder of the results; empty: the panels'", subtype="DIR_PATH", options=RELATIVE)

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        model = state.absolute(self.model, "model") if self.model else state.model_of(scene)
        if model is None:
            raise NanosynthError("There is no model yet.", "Train a network first, or name a model.")
        if self.images:
            images = list_images([state.absolute(self.images, "images")])
        else:
            images = [state.absolute(r.path) for r in window.references]
        if not images:
            raise NanosynthError("There is no micrograph to segment.", "Load one under References.")
        out = state.absolute(self.directory or window.result, "results")
        flags = option_flags(scene.nanosynth_options)
        home = scene.name

        def then():
            found = bpy.data.scenes.get(home)
            if found is not None and state.place(found, "result") == out:  # another file may have been opened meanwhile
                take_over(found, model)
                show(bpy.context, found)

        return jobs.perform(self, self.kind, lambda desk: jobs.learn_command("segment", model, *images, "--out", out, *flags), out, then=then)


def take_over(scene, model):
    """Set the sliders to what the result was made with."""
    options = properties.from_properties(SegmentationOptions, scene.nanosynth_options)
    values = {name: getattr(options, name) for name in state.TUNED}
    values["threshold"] = values["threshold"] or settings_of(model).threshold
    Quiet.now = True
    try:
        for name, value in values.items():
            setattr(scene.nanosynth, name, value)
    finally:
        Quiet.now = False


def option_flags(group) -> list[str]:
    """The flags of the command line for the options that are not at their defaults."""
    options = properties.from_properties(SegmentationOptions, group)
    flags = []
    for name, hint, _, default in walk(SegmentationOptions):
        value = getattr(options, name)
        if value == default:
            continue
        flag = "--" + name.replace("_", "-")
        flags += ([flag] if value else ["--no-" + flag[2:]]) if hint is bool else [flag, str(value)]
    return flags


def entries(scene) -> list[dict]:
    return state.results(state.place(scene, "result"))


def entry_of(scene) -> dict:
    """The result that is looked at.

    Raises
    ------
    NanosynthError
        If there is none.
    """
    found = entries(scene)
    if not found:
        raise NanosynthError("There is no result yet.", "Segment a micrograph first.")
    return found[min(scene.nanosynth.shown_result, len(found) - 1)]


@functools.lru_cache(maxsize=2)
def _stored(folder, name, stamp, model) -> Stored:
    entry = next(entry for entry in state.results(Path(folder)) if entry["name"] == name)
    return open_stored(folder, entry, model)


def stored(scene) -> Stored:
    """The result that is looked at, with its probability; read once."""
    folder, entry, model = state.absolute(scene.nanosynth.result, "results"), entry_of(scene), state.model_of(scene)
    if model is None:
        raise NanosynthError("The model that made this result is not known.", "Name it under Segment.")
    stamp = (folder / "segmentation.json").stat().st_mtime_ns
    return _stored(str(folder), entry["name"], stamp, str(model))


class Tuned:
    """The particles found with the sliders as they are; only the newest is kept."""

    key = None
    labels: np.ndarray | None = None
    count: int | None = None


def tuned_labels(scene, longest_px: int | None = None) -> np.ndarray:
    """The particles of the result that is looked at, with the sliders as they are."""
    window = scene.nanosynth
    values = {name: getattr(window, name) for name in state.TUNED}
    this = stored(scene)
    key = (id(this), longest_px, tuple(values.values()))
    if Tuned.key != key:
        Tuned.labels = this.separate(**values, longest_px=longest_px)
        Tuned.key, Tuned.count = key, int(Tuned.labels.max(initial=0))
    return Tuned.labels


def picture(kind: str, this: Stored, labels: np.ndarray) -> np.ndarray:
    """What is shown of a result.

    Parameters
    ----------
    kind : str
        "overlay", "instances", "mask" or "probability".
    labels : ndarray (h, w)
        In the size that the picture gets.

    Returns
    -------
    ndarray (h, w) or (h, w, 3)
    """
    from ..learn.scale import resize

    if kind == "mask":
        return np.where(labels > 0, 255, 0).astype(np.uint8)
    if kind == "instances":
        return np.where(labels[..., None] > 0, PALETTE[colours(labels)][labels], 0).astype(np.uint8)
    if kind == "probability":
        return np.clip(resize(this.probability, labels.shape), 0, 1)
    return overlay(resize(this.micrograph.pixels, labels.shape), labels)


def show(context, scene):
    """The chosen result as `segment` wrote it, in the image editor and over its micrograph in the 3D view."""
    Tuned.key = Tuned.labels = Tuned.count = None
    window, entry = scene.nanosynth, entry_of(scene)
    folder = state.absolute(window.result, "results")
    kind = window.shown
    if kind == "instances":  # ids are no colours
        this = stored(scene)
        from ..learn.images import read_labels

        labels = read_labels(folder / entry["files"]["instances"])[: this.probability.shape[0]]
        image = pictures.show_array(RESULT, picture(kind, this, labels))
    else:
        image = pictures.show_file(RESULT, folder / entry["files"][kind])
    _place(context, scene, entry, image, kind)


def _place(context, scene, entry, image, kind):
    pictures.show(context, image, "result")
    reference = next((r for r in scene.nanosynth.references if r.image and str(state.absolute(r.path)) == entry["image"]), None)
    if kind != "histogram" and reference is not None:
        pictures.lay_out(scene, reference.image, image, entry["nm_per_px"] or 0.0, scene.nanosynth.opacity)


class ShowResult(Action):
    bl_idname = "nanosynth.show_result"
    bl_label = "Show Result"
    bl_description = "Show what was found in the image editor and, over its micrograph, in the 3D view"

    kind: bpy.props.StringProperty(name="Show", description="overlay, instances, mask, probability or histogram; empty: the panel's choice")

    @classmethod
    def poll(cls, context):
        if not entries(state.home(context)):
            cls.poll_message_set("Segment a micrograph first")
            return False
        return True

    def act(self, context):
        scene = state.home(context)
        if self.kind:
            if self.kind not in scene.nanosynth.bl_rna.properties["shown"].enum_items:
                raise NanosynthError(f"There is no picture {self.kind!r}.", "Use overlay, instances, mask, probability or histogram.")
            Quiet.now = True
            try:
                scene.nanosynth.shown = self.kind
            finally:
                Quiet.now = False
        show(context, scene)


class TuneSegmentation(Action):
    bl_idname = "nanosynth.tune_segmentation"
    bl_label = "Apply"
    bl_description = "Find the particles anew in the stored probability, with the sliders as they are"
    bl_options = {"REGISTER", "UNDO"}

    longest_px: bpy.props.IntProperty(name="Longest side", description="Answer in an image of this size at most; 0: the full size [px]", default=0, min=0)

    poll = ShowResult.poll

    def act(self, context):
        scene = state.home(context)
        labels = tuned_labels(scene, self.longest_px or None)
        tuned_picture(context, scene, labels)
        self.report({"INFO"}, f"{labels.max(initial=0)} particles")


def tuned_picture(context, scene, labels):
    kind = scene.nanosynth.shown if scene.nanosynth.shown != "histogram" else "overlay"
    image = pictures.show_array(RESULT, picture(kind, stored(scene), labels))
    _place(context, scene, entry_of(scene), image, kind)


class ExportResults(Action):
    bl_idname = "nanosynth.export_results"
    bl_label = "Export"
    bl_description = "Write particles as table, mask, label image and picture, with the sliders as they are"

    directory: bpy.props.StringProperty(name="Folder", description="Where the files go", subtype="DIR_PATH", options=RELATIVE)
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    poll = ShowResult.poll

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context):
        scene = state.home(context)
        folder, entry, this = state.absolute(self.directory, "export"), entry_of(scene), stored(scene)
        labels, nm = tuned_labels(scene), this.micrograph.nm_per_px
        name = entry["name"]
        write_grey(folder / f"{name}_mask.png", picture("mask", this, labels), nm_per_px=nm)
        write_grey(folder / f"{name}_particles.png", picture("overlay", this, labels), nm_per_px=nm)
        write_labels(folder / f"{name}_instances.png", labels, nm_per_px=nm)
        write_text(folder / f"{name}.csv", table_text(this.measure(labels), nm_per_px=nm, scale_source=entry["nm_per_px_source"]))
        self.report({"INFO"}, f"{labels.max(initial=0)} particles of {name} are in {folder}")


class Quiet:
    """While `now` is true, a change of a property shows nothing: the operator that makes it does."""

    now = False


class Waiting:
    """The scene whose sliders were moved, until the answer is shown."""

    scene: str | None = None


def tuning_changed(scene):
    """A slider was moved: answer coarsely very soon, fully once it rests."""
    if bpy.app.background or Quiet.now or not entries(scene):
        return
    Waiting.scene = scene.name
    for function, after in ((_coarse, 0.02), (_full, SETTLED_S)):
        if bpy.app.timers.is_registered(function):
            bpy.app.timers.unregister(function)
        bpy.app.timers.register(function, first_interval=after)


def _answer(longest_px):
    scene = bpy.data.scenes.get(Waiting.scene or "")
    if scene is not None:
        try:
            tuned_picture(bpy.context, scene, tuned_labels(scene, longest_px))
        except NanosynthError:  # the result has gone meanwhile; its panel says so
            pass
        jobs.redraw()


def _coarse():
    _answer(FAST_PX)


def _full():
    _answer(None)


def shown_changed(scene):
    """Another picture of the result was chosen."""
    if bpy.app.background or Quiet.now or not entries(scene):
        return
    try:
        show(bpy.context, scene)
    except NanosynthError:
        pass


def stop():
    """Forget what waits; for unregistering."""
    for function in (_coarse, _full):
        if bpy.app.timers.is_registered(function):
            bpy.app.timers.unregister(function)
    Tuned.key = Tuned.labels = Tuned.count = Waiting.scene = None
    _stored.cache_clear()


OPERATORS = (SegmentImages, ShowResult, TuneSegmentation, ExportResults)
