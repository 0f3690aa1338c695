"""Training a network and choosing its epoch."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..errors import NanosynthError
from ..fields import to_toml
from ..files import write_text
from ..learn.images import SUFFIXES
from ..learn.run import SCORES, Run
from ..learn.settings import read_settings
from . import jobs, lines, painter, state
from .base import RELATIVE, Action, Work
from .references import drawn_scales, scale_flags


class TrainNetwork(Work):
    kind = "train"
    bl_idname = "nanosynth.train_network"
    bl_label = "Train Network"
    bl_description = "Train a network on the data set, in the training environment. A run that was interrupted goes on"

    dataset: bpy.props.StringProperty(
        name="Data set", description="Folder of the data set; empty: the panels'", subtype="DIR_PATH", options=RELATIVE
    )
    directory: bpy.props.StringProperty(
        name="Run", description="Folder of the run; empty: the panels'", subtype="DIR_PATH", options=RELATIVE
    )
    settings: bpy.props.StringProperty(name="Settings", description="Preset or TOML file; empty: the panels' choice")
    epochs: bpy.props.IntProperty(name="Epochs", description="Number of epochs; 0 takes the panels'", min=0)

    def act(self, context):
        scene = state.home(context)
        window = scene.nanosynth
        dataset = state.absolute(self.dataset or window.dataset, "data set")
        run = state.absolute(self.directory or window.run, "run")
        if not state.made_pairs(dataset):
            raise NanosynthError(f"{dataset}: there is no data set yet.", "Generate one first.")
        if self.settings:
            settings = read_settings(self.settings)
        elif window.training == "file":
            settings = read_settings(state.absolute(window.training_file, "training settings"))
        else:
            settings = read_settings(window.training)
        settings.epochs = self.epochs or window.epochs or settings.epochs
        watched = [state.absolute(r.path) for r in window.references] if window.validate else []
        truths = [annotation_of(path, window.annotations) for path in watched] if window.annotations else []
        scales = drawn_scales(window.references, watched)
        if (run / "run.json").is_file() and state.history(run):  # to go on, in the words it was begun with
            begun = Run.open(run)
            scales = begun.info["identity"].get("validation_nm_per_px", {})
            if not (self.epochs or window.epochs or self.settings):
                settings = begun.settings

        def command(desk):
            write_text(desk / "settings.toml", to_toml(settings))
            validation = ["--validation", *watched, *scale_flags("--validation-scale-file", scales, desk)] if watched else []
            validation += ["--truth", *truths] if truths else []
            return jobs.learn_command("train", dataset, "--out", run, "--preset", desk / "settings.toml", *validation)

        # At the end once more: what was painted last may be of an epoch before.
        return jobs.perform(self, self.kind, command, run, then=lambda: _news(jobs.RUNNING["train"]))


def annotation_of(micrograph, folder: str):
    """The label image of a micrograph: of its name, whatever the format.

    Raises
    ------
    NanosynthError
        If the folder has none.
    """
    folder = state.absolute(folder, "annotations")
    for suffix in SUFFIXES:
        if (folder / micrograph.name).with_suffix(suffix).is_file():
            return (folder / micrograph.name).with_suffix(suffix)
    raise NanosynthError(f"{folder}: has no annotation of {micrograph.name}.", "Add a label image of that name, or leave Annotations empty.")


def newest_epoch(run) -> int:
    return state.history(run)[-1]["epoch"] if state.history(run) else 0


def epoch_of(scene) -> int:
    """The epoch that is looked at: the panel's, or the newest."""
    newest = newest_epoch(state.place(scene, "run"))
    return min(scene.nanosynth.epoch or newest, newest)


def pictures_of(run, epoch: int) -> list:
    """The validation pictures of an epoch."""
    return sorted((run / "validation").glob(f"{epoch:04d}_*.png")) if run else []


def kept(run, epoch: int) -> bool:
    """Whether the weights of an epoch are there."""
    return run is not None and (run / "epochs" / f"{epoch:04d}.weights.h5").is_file()


def _looked_at(scene) -> str:
    """By what name the pictures of the training call the reference that is looked at."""
    reference = lines.chosen_reference(scene)
    return Path(reference.path).stem if reference else ""


def show_training(context, scene, show: bool = True):
    """Loss curve and newest validation picture, in the image editor."""
    painter.ask(
        context,
        {"what": "training", "run": str(state.absolute(scene.nanosynth.run, "run")), "image": _looked_at(scene)},
        show=show,
    )


def _news(job):
    """The training has finished an epoch, or ended."""
    scene = state.home(bpy.context)
    if not bpy.app.background and job.out == state.place(scene, "run"):
        show_training(bpy.context, scene, show=job.epochs_shown == 0 or painter.shown(bpy.context, "training"))
        job.epochs_shown += 1


jobs.NEWS["train"] = ("weights", _news)


def show_epoch(context, scene, gallery: bool = True):
    """The picture of the epoch that is looked at in one image editor, those of all epochs in the other."""
    run, epoch = state.absolute(scene.nanosynth.run, "run"), epoch_of(scene)
    favourites, chosen, image = state.favourites(run), state.selected(run), _looked_at(scene)
    marks = ["favourite"] * (epoch in favourites) + ["in use"] * (epoch == chosen)
    common = {"run": str(run), "epoch": epoch, "image": image}
    painter.ask(context, {"what": "epoch", "opacity": scene.nanosynth.epoch_opacity, "marks": marks, **common})
    if gallery:
        painter.ask(context, {"what": "gallery", "favourites": favourites, "chosen": chosen, **common})


def changed(scene):
    """Another epoch or opacity was chosen in the panel."""
    if bpy.app.background or Quiet.now or not state.history(state.place(scene, "run")):
        return
    try:
        show_epoch(bpy.context, scene)
    except NanosynthError as error:
        painter.Studio.errors["epoch"] = str(error)


class Quiet:
    """While `now` is true, a change of a property shows nothing: the operator that makes it does."""

    now = False


def look_at(scene, epoch: int):
    Quiet.now = True
    try:
        scene.nanosynth.epoch = epoch
    finally:
        Quiet.now = False


def _shown_in(context) -> bool:
    """Whether the mouse is over an image editor that shows an epoch, or all of them."""
    area = context.area
    return area is not None and area.type == "IMAGE_EDITOR" and painter.painted_in(area) in ("epoch", "gallery")


class ShowTraining(Action):
    bl_idname = "nanosynth.show_training"
    bl_label = "Show Training"
    bl_description = "Show the loss curve and the newest validation picture in the image editor; they follow the training"

    @classmethod
    def poll(cls, context):
        if not state.history(state.place(state.home(context), "run")):
            cls.poll_message_set("Train a network first; its first epoch is not finished")
            return False
        return True

    def act(self, context):
        show_training(context, state.home(context))


class ShowEpoch(Action):
    bl_idname = "nanosynth.show_epoch"
    bl_label = "Show Epoch"
    bl_description = "Show what the network of an epoch sees in a real micrograph, beside the pictures of all epochs"

    step: bpy.props.IntProperty(name="Step", description="So many epochs on, or back", default=0)
    epoch: bpy.props.IntProperty(name="Epoch", description="The epoch; 0 takes the panel's", default=0, min=0)

    poll = ShowTraining.poll

    def act(self, context):
        go_to(self, context, (self.epoch or epoch_of(state.home(context))) + self.step)


def go_to(operator, context, wanted: int):
    """Look at an epoch, or the nearest that there is."""
    scene = state.home(context)
    run = state.absolute(scene.nanosynth.run, "run")
    epoch = max(1, min(wanted, newest_epoch(run)))
    look_at(scene, epoch)
    if not pictures_of(run, epoch):
        operator.report({"INFO"}, f"Epoch {epoch} has no picture: no reference was watched")
    show_epoch(context, scene)


class StepEpoch(Action):
    bl_idname = "nanosynth.step_epoch"
    bl_label = "Step Through Epochs"
    bl_description = "Show the next epoch, or the one before; the arrow keys do so over the pictures"

    step: bpy.props.IntProperty(name="Step", description="So many epochs on, or back", default=1)

    @classmethod
    def poll(cls, context):
        if not bpy.app.background and not _shown_in(context):
            cls.poll_message_set("The mouse is not over the pictures of the epochs")
            return False
        return ShowTraining.poll.__func__(cls, context)

    def act(self, context):
        go_to(self, context, epoch_of(state.home(context)) + self.step)


class MarkEpoch(Action):
    bl_idname = "nanosynth.mark_epoch"
    bl_label = "Mark Epoch"
    bl_description = "Make the epoch a favourite, or no longer one. Favourites are kept with the run, their weights too"

    epoch: bpy.props.IntProperty(name="Epoch", description="The epoch; 0 takes the panel's", default=0, min=0)

    poll = ShowTraining.poll

    def act(self, context):
        scene = state.home(context)
        run = Run.open(state.absolute(scene.nanosynth.run, "run"))
        run.mark(self.epoch or epoch_of(scene))
        show_epoch(context, scene)


class SelectEpoch(Action):
    bl_idname = "nanosynth.select_epoch"
    bl_label = "Use This Epoch"
    bl_description = "Let the network of this epoch segment"
    bl_options = {"REGISTER", "UNDO"}  # it lays the model aside that was named in the panel

    epoch: bpy.props.IntProperty(name="Epoch", description="The epoch; 0 takes the panel's", default=0, min=0)
    best: bpy.props.StringProperty(name="Best", description="Take the epoch with the best of this score instead: f1 or instance_f1")

    poll = ShowTraining.poll

    def act(self, context):
        scene = state.home(context)
        folder = state.absolute(scene.nanosynth.run, "run")
        run = Run.open(folder)
        if self.best and self.best not in SCORES:
            raise NanosynthError(f"There is no score {self.best}.", f"Use {' or '.join(SCORES)}.")
        chosen = run.select(best=self.best) if self.best else run.select(epoch=self.epoch or epoch_of(scene))
        look_at(scene, chosen["epoch"])
        scene.nanosynth.model = ""  # the network of this project, whose making the report tells
        if painter.shown(context, "epoch"):
            show_epoch(context, scene)
        self.report({"INFO"}, f"Epoch {chosen['epoch']} is in use")


class Keys:
    """The keys that work over the pictures of the epochs."""

    made: list = []
    wanted = (
        ("nanosynth.step_epoch", "LEFT_ARROW", {"step": -1}),
        ("nanosynth.step_epoch", "RIGHT_ARROW", {"step": 1}),
    )


def begin():
    """Add the keys; there are none without a window."""
    configuration = bpy.context.window_manager.keyconfigs.addon
    if configuration is None:
        return
    keymap = configuration.keymaps.new(name="Frames", space_type="EMPTY")  # asked before that of the image editor
    for operator, key, values in Keys.wanted:
        item = keymap.keymap_items.new(operator, key, "PRESS", repeat=True)
        for name, value in values.items():
            setattr(item.properties, name, value)
        Keys.made.append((keymap, item))


def stop():
    """For unregistering."""
    while Keys.made:
        keymap, item = Keys.made.pop()
        keymap.keymap_items.remove(item)


OPERATORS = (TrainNetwork, ShowTraining, ShowEpoch, StepEpoch, MarkEpoch, SelectEpoch)
