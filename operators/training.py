"""Training a network and choosing its epoch."""

from __future__ import annotations

import bpy

from ..errors import NanosynthError
from ..fields import to_toml
from ..files import write_text
from ..learn.run import SCORES, Run
from ..learn.settings import read_settings
from . import jobs, pictures, state
from .base import RELATIVE, Action, Work

EPOCH = "Nanosynth epoch"


class TrainNetwork(Work):
    kind = "train"
    bl_idname = "nanosynth.train_network"
    bl_label = "Train Network"
    bl_description = "Train a network on the data set, in the training environment. A run that was interrupted goes on"

    dataset: bpy.props.StringProperty(name="Data set", description="Folder of the data set; empty: the panels'", subtype="DIR_PATH", options=RELATIVE)
    directory: bpy.props.StringProperty(name="Run", description="Folder of the run; empty: the panels'", subtype="DIR_PATH", options=RELATIVE)
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
        if (run / "run.json").is_file() and state.history(run) and not (self.epochs or window.epochs or self.settings):
            settings = Run.open(run).settings  # to go on, in the words it was begun with
        watched = [state.absolute(r.path) for r in window.references] if window.validate else []

        def command(desk):
            write_text(desk / "settings.toml", to_toml(settings))
            validation = ["--validation", *watched] if watched else []
            return jobs.learn_command("train", dataset, "--out", run, "--preset", desk / "settings.toml", *validation)

        return jobs.perform(self, self.kind, command, run)


def newest_epoch(run) -> int:
    return state.history(run)[-1]["epoch"] if state.history(run) else 0


def pictures_of(run, epoch: int) -> list:
    """The validation pictures of an epoch."""
    return sorted((run / "validation").glob(f"{epoch:04d}_*.png")) if run else []


class ShowEpoch(Action):
    bl_idname = "nanosynth.show_epoch"
    bl_label = "Show Epoch"
    bl_description = "Show what the network of an epoch sees in a real micrograph: the image, the probability and the particles"

    step: bpy.props.IntProperty(name="Step", description="So many epochs on, or back", default=0)
    epoch: bpy.props.IntProperty(name="Epoch", description="The epoch; 0 takes the panel's", default=0, min=0)

    @classmethod
    def poll(cls, context):
        if not state.history(state.place(state.home(context), "run")):
            cls.poll_message_set("Train a network first; its first epoch is not finished")
            return False
        return True

    def act(self, context):
        scene = state.home(context)
        run = state.absolute(scene.nanosynth.run, "run")
        newest = newest_epoch(run)
        wanted = (self.epoch or scene.nanosynth.epoch or newest) + self.step
        scene.nanosynth.epoch = epoch = max(1, min(wanted, newest))
        found = pictures_of(run, epoch)
        if not found:
            self.report({"INFO"}, f"Epoch {epoch} has no picture: no reference was watched")
            return
        chosen = found[min(max(scene.nanosynth.reference_index, 0), len(found) - 1)]
        pictures.show(context, pictures.show_file(EPOCH, chosen), "result")


class SelectEpoch(Action):
    bl_idname = "nanosynth.select_epoch"
    bl_label = "Use This Epoch"
    bl_description = "Let the network of this epoch segment"

    epoch: bpy.props.IntProperty(name="Epoch", description="The epoch; 0 takes the panel's", default=0, min=0)
    best: bpy.props.StringProperty(name="Best", description="Take the epoch with the best of this score instead: f1 or instance_f1")

    poll = ShowEpoch.poll

    def act(self, context):
        scene = state.home(context)
        folder = state.absolute(scene.nanosynth.run, "run")
        run = Run.open(folder)
        if self.best and self.best not in SCORES:
            raise NanosynthError(f"There is no score {self.best}.", f"Use {' or '.join(SCORES)}.")
        chosen = run.select(best=self.best) if self.best else run.select(epoch=self.epoch or scene.nanosynth.epoch or newest_epoch(folder))
        scene.nanosynth.epoch = chosen["epoch"]
        scene.nanosynth.model = scene.nanosynth.run
        self.report({"INFO"}, f"Epoch {chosen['epoch']} segments from now on")


OPERATORS = (TrainNetwork, ShowEpoch, SelectEpoch)
