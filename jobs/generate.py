"""Make a data set with several Blender processes, safely and resumably.

This process starts the workers, tells each which scene to make next and is the
only one to write the manifest. A pair counts once its line is there.
"""

from __future__ import annotations

import queue
import shutil
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import NanosynthError, explained
from ..fields import from_dict, to_dict
from ..files import locked, sweep
from ..reporting import Clock, Reporter
from ..synth.dataset import Dataset, refuse_foreign
from ..synth.recipe import Recipe, read_recipe
from .child import interruptible
from .process import Child, host_command

LOCK = ".generate.lock"
DESK = ".work"
"""The workers' logs and temporary files, thrown away afterwards."""
RENEW_AFTER = 20
"""Scenes after which a worker makes room for a fresh one: Blender's memory grows from scene to scene."""
RENEW_ABOVE_MB = 1500
"""Peak memory at which it does so earlier."""
TRIES = 2
FALSE_STARTS = 3


def generate(
    recipe,
    out,
    *,
    count: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    device: str = "CPU",
    reporter: Reporter | None = None,
    renew_after: int = RENEW_AFTER,
    command: list[str] | None = None,
) -> Dataset:
    """Make a data set, or what is missing of it.

    The result depends on recipe and seed alone, not on the number of workers or
    on interruptions. Run it again with the same arguments to go on.

    Parameters
    ----------
    recipe : Recipe, or path or name of one
    out : path-like
        Folder of the data set.
    count, seed : int, optional
        Instead of the recipe's.
    workers : int
        Number of Blender processes.
    device : str
        Of the photo render.
    reporter : Reporter, optional
    renew_after : int
        Scenes after which a worker is replaced by a fresh process.
    command : list of str, optional
        Runs a worker; by default this Blender or Python with the verb `worker`.

    Raises
    ------
    NanosynthError
        If the folder cannot be used or is in use, if no worker starts, or, after
        all others were made, if scenes failed twice.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, with all workers ended.
    """
    reporter = reporter or Reporter()
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    changes = {"count": count, "seed": seed}
    recipe = from_dict(Recipe, {**to_dict(recipe), **{key: value for key, value in changes.items() if value is not None}})
    if workers < 1:
        raise NanosynthError(f"workers = {workers} is below 1.", "Give at least one worker.")
    out = Path(out)
    refuse_foreign(out)
    with locked(out / LOCK, "generating into"):
        dataset = Dataset.create(out, recipe)
        for problem in dataset.check(deep=True, indices=dataset.damaged):
            reporter.warning(f"{problem}.", "It is made again.")
        waiting = [index for index in range(recipe.count) if index not in dataset.finished()]
        finished = recipe.count - len(waiting)
        reporter.started(
            "generate",
            out=str(out),
            count=recipe.count,
            finished=finished,
            text=f"{out}: {len(waiting)} pair{'' if len(waiting) == 1 else 's'} to make" + (f", {finished} are finished" if finished else ""),
        )
        failed = {}
        if waiting:
            command = command or host_command("worker", "--out", out, "--device", device)
            with interruptible(), clean_folder(out / DESK) as desk:
                failed = Crew(dataset, waiting, recipe.count, command, workers, renew_after, reporter, desk).work()
        dataset.tidy()  # even where nothing was missing: an earlier call may have been cut off just before this
        if failed:
            index, error = next(iter(failed.items()))
            raise NanosynthError(
                f"{len(failed)} of {recipe.count} scenes failed ({', '.join(map(str, failed))}); the others are finished. "
                f"Scene {index}: {error.message}",
                error.remedy,
            )
        bare = [index for index in waiting if not any(dataset.records[index]["particles"]["area_px"])]
        if bare:
            reporter.warning(
                f"{len(bare)} of {len(waiting)} pairs made show{'s' if len(bare) == 1 else ''} no particle, such as {bare[0]:06d}.png.",
                "If that is not meant, raise arrangement.coverage or reduce the particles.",
            )
        reporter.done(out=str(out), count=recipe.count, made=len(waiting), text=f"The data set is in {out}.")
    return dataset


@contextmanager
def clean_folder(path: Path):
    """An empty folder for the time of a block. What a killed process left there is removed."""
    shutil.rmtree(path, ignore_errors=True)
    with explained(path):
        path.mkdir()
    try:
        yield path.resolve()
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass
class Hand:
    """What a worker is at."""

    started: bool = False
    scene: int | None = None
    made: int = 0


class Crew:
    """The workers of one `generate` and their work."""

    def __init__(self, dataset, waiting, count, command, workers, renew_after, reporter, desk):
        self.dataset, self.command, self.workers, self.renew_after = dataset, command, workers, renew_after
        self.reporter, self.desk = reporter, desk
        self.waiting = deque(waiting)
        self.count, self.done = count, count - len(waiting)
        self.clock = Clock(count, self.done)
        self.inbox = queue.SimpleQueue()
        self.hands: dict[Child, Hand] = {}
        self.hired = self.false_starts = 0
        self.crashes = Counter()
        self.failed: dict[int, NanosynthError] = {}

    def work(self) -> dict[int, NanosynthError]:
        """Make all waiting scenes; return those that failed, with their errors."""
        self.reporter.progress(self.done, self.count, f"{self.done} of {self.count} pairs")
        try:
            self.hire()
            while self.hands:
                try:
                    child, message = self.inbox.get(timeout=0.2)  # short, because Ctrl-C waits for it on Windows
                except queue.Empty:
                    continue
                if message is None:
                    self.bury(child)
                    self.hire()
                else:
                    self.hear(child, message)
        finally:
            for child in self.hands:
                child.untether()
            for child in self.hands:
                child.end()
            for folder in self.dataset.folders():
                sweep(folder)
        return self.failed

    def hire(self):
        busy = sum(hand.scene is not None for hand in self.hands.values())
        while len(self.hands) < min(self.workers, busy + len(self.waiting)):
            child = Child(self.command, log=self.desk / f"{self.hired}.log", inbox=self.inbox, temporary=self.desk)
            self.hands[child] = Hand()
            self.hired += 1

    def hear(self, child, message):
        hand, kind = self.hands[child], message.pop("kind")
        if kind == "started":
            hand.started, self.false_starts = True, 0
            self.dataset.made_with(message["blender"])
            self.assign(child, hand)
        elif kind == "artifact":
            self.dataset.append(message["record"])
            self.done += 1
            hand.made += 1
            self.reporter.artifact(message["path"], "pair", index=hand.scene, memory_mb=message["memory_mb"])
            self.reporter.progress(self.done, self.count, f"{self.done} of {self.count} pairs", self.clock.seconds_left(self.done))
            self.assign(child, hand, message["memory_mb"] or 0)
        elif kind == "warning":
            self.reporter.send(kind, **message)
        elif kind == "error":  # something the user can mend: no other scene would fare better
            raise NanosynthError(message["message"], message["remedy"])

    def assign(self, child, hand, memory_mb=0.0):
        hand.scene = None
        if not self.waiting or hand.made >= self.renew_after or memory_mb > RENEW_ABOVE_MB:
            child.send(stop=True)
        else:
            hand.scene = self.waiting.popleft()
            child.send(scene=hand.scene)

    def bury(self, child):
        """Draw the consequences of a worker's end."""
        hand = self.hands.pop(child)
        child.end()
        if not hand.started:
            self.false_starts += 1
            if self.false_starts == FALSE_STARTS or child.late:
                raise child.failure("a worker")
        elif hand.scene is not None:
            self.crashes[hand.scene] += 1
            if self.crashes[hand.scene] < TRIES:
                self.waiting.appendleft(hand.scene)
                return
            error = child.failure(f"the worker that made scene {hand.scene}")
            self.failed[hand.scene] = error
            self.reporter.error(error.message, error.remedy, scene=hand.scene)
