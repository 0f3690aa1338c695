"""The training loop: resumable at every epoch, telling what it does, losing nothing."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..errors import NanosynthError
from ..files import append_line, locked, written_whole
from ..reporting import Clock, EventFile, Reporter
from ..synth.dataset import Dataset
from . import validation as real
from .backend import load_keras, versions
from .data import Batches, Joined, Scenes, particle_sizes
from .metadata import scales_of
from .model import Model, save_weights
from .run import SCORES, Run, content_hash
from .settings import TrainingSettings
from .unet import build_unet, parameter_count

LOCK = ".train.lock"
GRACE = 1.0
"""Seconds after a signal to stop in which a running step may end by itself."""
REPORT_EVERY = 1.0
"""Seconds between two progress messages."""


def train(dataset, settings: TrainingSettings, out, *, validation=(), truth=(), validation_diameter=None, validation_scale_file=None, command=None, reporter=None) -> Run:
    """Train a network on a data set; the same call again goes on with an interrupted run.

    Parameters
    ----------
    dataset : path-like, sequence of path-like, or realpairs.RealPairs
        One or several data sets made by `generate`, or annotated micrographs.
    settings : TrainingSettings
    out : path-like
        Folder of the run.
    validation : sequence of path-like
        Real images, predicted after each epoch and never trained on.
    truth : sequence of path-like
        Their label images, for scores only; empty, or one for each.
    validation_diameter : float, optional
        Typical particle diameter in the validation images, in px.
    validation_scale_file : path-like, optional
        CSV file with the columns image and nm_per_px, for validation images whose files do not state it.
    command : str, optional
        The command that asked for it, for the record.
    reporter : Reporter, optional

    Returns
    -------
    Run

    Raises
    ------
    NanosynthError
        If the data set is damaged, `out` holds another run, Keras or its backend
        is missing, the disk is full, or the training diverges.
    """
    with stops_promptly():  # from here on: Keras takes seconds to load
        stated = scales_of(validation_scale_file, validation)
        return _train(dataset, settings, Path(out), list(validation), list(truth), validation_diameter, stated, command, reporter or Reporter())


def _train(dataset, settings, out, validation, truth, validation_diameter, stated, command, reporter) -> Run:
    keras = load_keras()
    data = opened(dataset)
    records = [data.records[index] for index in sorted(data.finished())]
    sizes = particle_sizes(records, settings)
    if not data.in_nm:
        sizes = replace(sizes, nm_per_px=0.0)
    images = real.read_validation(validation, truth, sizes, validation_diameter, stated)
    identity = {
        "data_set": {"recipe": data.info["recipe"], "content": content_hash(records), "pairs": len(records)},
        "validation": real.identity(validation, truth),
        "validation_diameter": validation_diameter,
        **({"validation_nm_per_px": stated} if stated else {}),
    }
    facts = {
        "data_set_path": str(data.path.resolve()),
        "sizes": asdict(sizes),
        "scales": {image.name: {"zoom": image.zoom, "source": image.scale_source} for image in images},
        "command": command,
        "commit": commit(),
        "versions": versions(keras),
    }
    with locked(out / LOCK, "training into"):
        run = Run.start(out, settings, identity, facts, data.described())
        _Training(keras, run, data, sizes, images, EventFile(run.path / "events.jsonl", reporter)).go()
    return run


def opened(dataset):
    """The data set of a path, several of them as one, or what is a data set already."""
    if isinstance(dataset, (str, os.PathLike)):
        return Dataset.open(dataset)
    if isinstance(dataset, (list, tuple)):
        datasets = [Dataset.open(path) for path in dataset]
        return datasets[0] if len(datasets) == 1 else Joined(datasets)
    return dataset


class _Training:
    """A training in memory: network, optimiser, batches, and how far they are."""

    def __init__(self, keras, run, data, sizes, images, reporter):
        self.run, self.settings, self.images, self.reporter = run, run.settings, images, reporter
        s = self.settings
        self.total = s.epochs * s.iterations_per_epoch
        self.announce(len(data.finished()))
        self.network = build_unet(s)
        self.optimizer = keras.optimizers.Adam(s.learning_rate, epsilon=s.adam_epsilon)
        self.optimizer.build(self.network.trainable_variables)
        # The same layers once more: a compiled model would save its optimiser with its weights.
        self.trainer = keras.Model(self.network.inputs, self.network.outputs)
        # Under TensorFlow XLA is slower on processors and needs a compiler of its own on GPUs; JAX is nothing without it.
        self.trainer.compile(self.optimizer, loss=keras.losses.BinaryCrossentropy(), jit_compile=keras.backend.backend() == "jax")
        self.model = Model(self.network, s, (sizes.diameter_px, sizes.log_sd), sizes.nm_per_px, {})
        self.state = run.path / "state" / "training.npz"
        # Started after the first step: its compilation says nothing of the pace.
        self.clock, self.told = None, 0.0
        self.epoch = self.restore()
        run.cut_history(self.epoch)
        run.tidy()
        if self.epoch < s.epochs:
            scenes = Scenes(data, sizes, s.memory_gb, lambda done, total: self.tell(0, f"reading pair {done} of {total}"))
            self.batches = Batches(scenes, s, sizes.diameter_px)

    def announce(self, pairs):
        """Say what begins, with the disk space it needs."""
        s, needed = self.settings, disk_need(self.settings, len(self.images))
        text = f"Training on {pairs} pairs: {s.epochs} epochs of {s.iterations_per_epoch} steps; up to {needed / 1e6:.0f} MB in {self.run.path}."
        self.reporter.started("train", text=text, disk_bytes=needed, epochs=s.epochs, run=str(self.run.path))
        free = shutil.disk_usage(self.run.path).free
        if free < needed:
            self.reporter.warning(
                f"{self.run.path}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free.",
                "Free some space, or keep fewer epochs (keep = 'best+every', a larger keep_every).",
            )
        for image in self.images:
            if image.scale_source.startswith("none"):
                self.reporter.warning(
                    f"{image.name}: its scale is not known, so it is predicted as it is.",
                    "Give the particles' diameter in its pixels with --validation-diameter.",
                )

    def go(self):
        while self.epoch < self.settings.epochs:
            self.one_epoch(self.epoch + 1)
        self.reporter.done(run=str(self.run.path), epochs=self.epoch, best=self.run.best())

    def one_epoch(self, epoch: int):
        """Train for an epoch, look at the real images, and write everything; the state comes last."""
        s, started = self.settings, time.monotonic()
        first = (epoch - 1) * s.iterations_per_epoch
        waited = worked = summed = loss = 0.0
        moment = time.monotonic()
        for step, (images, targets, weights) in enumerate(self.batches.stream(epoch, 0, s.iterations_per_epoch)):
            ready = time.monotonic()
            self.optimizer.learning_rate = s.learning_rate_at(first + step)
            summed += float(self.trainer.train_on_batch(images, targets, sample_weight=weights))
            loss = summed / (step + 1)
            waited, moment, worked = waited + ready - moment, time.monotonic(), worked + time.monotonic() - ready
            if not math.isfinite(loss):
                raise NanosynthError(f"The training diverged in epoch {epoch} (the loss is {loss}).", "Lower learning_rate and train into another folder.")
            if self.clock is None:
                self.clock = Clock(self.total, first + step + 1)
            self.tell(first + step + 1, f"epoch {epoch} of {s.epochs}, loss {loss:.4f}")
        line = {"epoch": epoch, "loss": loss, "lr": s.learning_rate_at(first + s.iterations_per_epoch - 1), "data_wait_share": waited / (waited + worked)}
        with self.serving(epoch * s.iterations_per_epoch):
            save_weights(self.network, self.run.weights_path(epoch))
            line.update(self.validate(epoch))
        line["seconds"] = time.monotonic() - started
        append_line(self.run.path / "history.jsonl", line)
        self.save(epoch)
        self.epoch = epoch
        self.run.tidy()
        self.reporter.artifact(self.run.weights_path(epoch), "weights", **line)

    def validate(self, epoch) -> dict:
        """Segment, score and picture the real images; each score of `run.SCORES` is the mean over those annotated."""
        scores = {}
        for image in self.images:
            found = image.segment(self.model)
            path = self.run.path / "validation" / f"{epoch:04d}_{image.name}.png"
            image.write_picture(path, found)
            self.reporter.artifact(path, "validation", epoch=epoch)
            if image.truth is not None:
                scores[image.name] = image.scores(found, self.settings.threshold)
        means = {name: float(np.mean([found[name] for found in scores.values()])) if scores else None for name in SCORES}
        return {"validation": scores, **means}

    @contextmanager
    def serving(self, steps: int):
        """For the block, rid the running statistics of batch normalisation of their initial values.

        After t steps a running statistic of momentum m still holds its initial
        value with weight m^t; taking that out leaves the weighted mean of what
        was seen, however short the run (as Adam corrects its moments).
        """
        norms = [layer for layer in self.network.layers if hasattr(layer, "moving_mean")]
        raw = [(values_of(layer.moving_mean), values_of(layer.moving_variance)) for layer in norms]
        left = self.settings.batch_norm_momentum**steps
        for layer, (mean, variance) in zip(norms, raw, strict=True):
            layer.moving_mean.assign(mean / (1 - left))
            layer.moving_variance.assign((variance - left) / (1 - left))
        try:
            yield
        finally:
            for layer, (mean, variance) in zip(norms, raw, strict=True):
                layer.moving_mean.assign(mean)
                layer.moving_variance.assign(variance)

    def variables(self):
        return [*self.network.weights, *self.optimizer.variables]

    def save(self, epoch: int):
        """Write all that going on needs. Random numbers need nothing: they follow from seed, epoch and step."""
        arrays = {f"v{i:04d}": values_of(variable) for i, variable in enumerate(self.variables())}
        with written_whole(self.state) as temporary:
            np.savez(temporary, epoch=epoch, **arrays)

    def restore(self) -> int:
        """Take up the saved state; returns the number of finished epochs."""
        if not self.state.is_file():
            return 0
        try:
            with np.load(self.state, allow_pickle=False) as saved:
                for i, variable in enumerate(self.variables()):
                    variable.assign(saved[f"v{i:04d}"])
                return int(saved["epoch"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise NanosynthError(f"{self.state}: damaged ({error}).", "Restore the file, or train into another folder.") from error

    def tell(self, done, text):
        now = time.monotonic()
        if now - self.told >= REPORT_EVERY or done == self.total:
            self.told = now
            left = self.clock.seconds_left(done) if self.clock else None
            self.reporter.progress(done, self.total, text, seconds_left=left)


def values_of(variable):
    """A copy of a Keras variable's values."""
    return np.array(variable.numpy())


def disk_need(settings: TrainingSettings, images: int) -> int:
    """Bytes that a run takes at most, with this number of validation images."""
    kept = settings.epochs
    if settings.keep != "all":
        # Every Nth, the best by either score, the selected and the last one.
        kept = min(kept, settings.epochs // settings.keep_every + 4)
    # The state holds the weights and Adam's two moments, once more while it is replaced.
    return 4 * parameter_count(settings) * (kept + 2 * 3) + settings.epochs * images * real.PICTURE_BYTES


def commit() -> str | None:
    """The commit of this checkout; None where it is none, or has no git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() or None


@contextmanager
def stops_promptly():
    """Turn SIGTERM into KeyboardInterrupt, and end the process if a long step holds either up.

    Python runs signal handlers only between steps of its own; a step inside the
    network may take long on a large one. So a thread waits for the signal, too.
    Ending hard is safe: every file is written whole, the state after each epoch.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number, frame):
        raise KeyboardInterrupt

    ended = threading.Event()
    heard, speak = socket.socketpair()
    speak.setblocking(False)

    def watch():
        while received := heard.recv(1):
            if received[0] in (signal.SIGINT, signal.SIGTERM) and not ended.wait(GRACE):
                with suppress(OSError):
                    os.write(2, b"\ninterrupted. Run the same command again to go on from the last finished epoch.\n")
                os._exit(130)

    handlers = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    before = signal.set_wakeup_fd(speak.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True, name="watcher")
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        speak.close()
        watcher.join()
        heard.close()
