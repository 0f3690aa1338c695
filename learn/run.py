"""A training run on disk: what was asked for, what came of each epoch, and which epoch was chosen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from .. import __version__
from ..errors import NanosynthError, explained
from ..fields import read_toml, to_dict, to_toml
from ..files import mend_lines, read_json, read_lines, sweep, write_json, write_lines, write_text
from .settings import TrainingSettings

FORMAT = 1
FOLDERS = ("epochs", "state", "validation")
FIRST = ("settings.toml", "recipe.toml", "events.jsonl")
"""Files that are there before `run.json` makes a folder a run."""
SCORES = ("f1", "instance_f1")
"""Scores an epoch can be selected by: F1 of the pixels, F1 of the instances at an IoU of 0.5."""


class Run:
    """The folder of a training run; see `docs/architecture.md` for what lies in it.

    Made by `Run.start` (to train) or `Run.open` (to look at and to select).

    Attributes
    ----------
    path : pathlib.Path
    info : dict
        The content of `run.json`.
    settings : TrainingSettings
    """

    def __init__(self, path, info: dict, settings: TrainingSettings):
        self.path, self.info, self.settings = Path(path), info, settings

    @classmethod
    def start(cls, path, settings: TrainingSettings, identity: dict, facts: dict, recipe_toml: str) -> Run:
        """Begin a run, or take up one that was asked for in the same words, more epochs excepted.

        Parameters
        ----------
        path : path-like
            A new or empty folder, or the folder of a run.
        settings : TrainingSettings
        identity : dict
            What must not change while a run is continued: data set, validation images.
        facts : dict
            What is noted beside it: versions, command, sizes.
        recipe_toml : str
            The data set's recipe.

        Raises
        ------
        NanosynthError
            If the folder holds something else, or a run with other settings or data.
        """
        path = Path(path)
        if (path / "run.json").is_file():
            run = cls.open(path)
            run.refuse_change(settings, identity)
            if settings.epochs > run.settings.epochs:
                run.extend(settings, facts)
            for folder in (path, *(path / name for name in FOLDERS)):
                sweep(folder)
            for name in ("history.jsonl", "events.jsonl"):
                mend_lines(path / name)
            return run
        with explained(path):
            for entry in path.iterdir() if path.exists() else ():
                # What a start that was cut short leaves is taken up; run.json comes last.
                known = entry.name in FIRST or entry.name.startswith(".") or entry.name in FOLDERS and not any(entry.iterdir())
                if not known:
                    raise NanosynthError(f"{path}: the folder holds something else than a run ({entry.name}).", "Choose a new or empty folder for --out.")
            for name in FOLDERS:
                (path / name).mkdir(parents=True, exist_ok=True)
        write_text(path / "settings.toml", to_toml(settings))
        write_text(path / "recipe.toml", recipe_toml)
        write_json(path / "run.json", {"format": FORMAT, "nanosynth": __version__, "identity": identity, **facts})  # last: it makes the folder a run
        return cls.open(path)

    @classmethod
    def open(cls, path) -> Run:
        """Open the folder of a run.

        Raises
        ------
        NanosynthError
            If it is none, or comes from a newer Nanosynth.
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            raise NanosynthError(f"{path}: not a training run (it has no run.json).", "Name the folder that `train --out` wrote.")
        info = read_json(path / "run.json")
        if not isinstance(info, dict) or not isinstance(info.get("format"), int):
            raise NanosynthError(f"{path / 'run.json'}: the format version is missing.", "Restore the file or train again into another folder.")
        if info["format"] > FORMAT:
            raise NanosynthError(f"{path}: a run of format {info['format']}; this Nanosynth reads up to {FORMAT}.", "Update Nanosynth.")
        return cls(path, info, read_toml(TrainingSettings, path / "settings.toml"))

    def refuse_change(self, settings: TrainingSettings, identity: dict):
        """Raise if settings (but for more epochs) or data differ from those this run was begun with; the first difference is named."""
        there, here = leaves({**to_dict(self.settings), **self.info["identity"]}), leaves({**to_dict(settings), **identity})
        for key in {**there, **here}:
            if key == "epochs" and here[key] > there[key]:
                continue
            if there.get(key) != here.get(key):
                if key.startswith("data_set."):
                    what = f"on another data set, or this one has changed since ({key} differs)"
                elif key == "validation":
                    what = f"with the validation images {_names(there[key])}, not {_names(here[key])}"
                else:
                    what = f"with {key} = {there.get(key)!r}, not {here.get(key)!r}"
                raise NanosynthError(
                    f"{self.path}: holds a run {what}.",
                    "Choose another folder for --out, or repeat the command that began this run.",
                )

    def extend(self, settings: TrainingSettings, facts: dict):
        """Let a run go on to more epochs; `run.json` keeps where, and by which command.

        The learning rate follows the new number from there on: after a tail that has
        fallen to 0 it starts high again.
        """
        self.info.setdefault("extended", []).append({"from": self.settings.epochs, "to": settings.epochs, "command": facts.get("command")})
        write_json(self.path / "run.json", self.info)
        write_text(self.path / "settings.toml", to_toml(settings))
        self.settings = settings

    def history(self) -> list[dict]:
        """A dict per finished epoch, in order."""
        return read_lines(self.path / "history.jsonl")

    def cut_history(self, epoch: int):
        """Forget the lines of epochs after `epoch`: they ended before their state was written, and come again."""
        lines = self.history()
        if any(line["epoch"] > epoch for line in lines):
            write_lines(self.path / "history.jsonl", [line for line in lines if line["epoch"] <= epoch])

    def weights_path(self, epoch: int) -> Path:
        return self.path / "epochs" / f"{epoch:04d}.weights.h5"

    def kept(self) -> list[int]:
        """Finished epochs whose weights are there."""
        return [line["epoch"] for line in self.history() if self.weights_path(line["epoch"]).is_file()]

    def best(self, score: str = "f1") -> int | None:
        """Of the epochs whose weights are there, the one with the highest mean score on the annotated validation images; the first of equals."""
        kept = set(self.kept())
        scored = [line for line in self.history() if line["epoch"] in kept and line.get(score) is not None]
        return max(scored, key=lambda line: line[score])["epoch"] if scored else None

    def tidy(self):
        """Delete the weights that the retention policy does not keep."""
        if self.settings.keep == "all":
            return
        kept = self.kept()
        chosen = self.selected()
        needed = {kept[-1], *map(self.best, SCORES), chosen["epoch"] if chosen else None, *self.favourites()} if kept else set()
        for epoch in kept:
            if epoch not in needed and epoch % self.settings.keep_every:
                self.weights_path(epoch).unlink(missing_ok=True)

    def select(self, *, epoch: int | None = None, best: str | None = None) -> dict:
        """Choose the epoch that segments, and write it to `selected.json`.

        Parameters
        ----------
        epoch : int, optional
            Chosen by eye from the pictures in `validation/`.
        best : str, optional
            One of `SCORES`: the epoch whose mean over the annotated validation images is highest.

        Returns
        -------
        dict
            `epoch`, `by` ("eye" or the score) and the scores (None without annotation).

        Raises
        ------
        NanosynthError
            If there is no such epoch, its weights were not kept, or nothing is annotated.
        """
        kept = self.kept()
        if not kept:
            raise NanosynthError(f"{self.path}: no epoch is finished.", "Let the training run for an epoch at least.")
        if best is not None:
            epoch = self.best(best)
            if epoch is None:
                raise NanosynthError(
                    f"{self.path}: no validation image is annotated, so no epoch has a score ({best}).",
                    "Look at the pictures in its folder validation and use --epoch N.",
                )
        if epoch not in kept:
            nearest = min(kept, key=lambda e: (abs(e - epoch), e))
            raise NanosynthError(f"{self.path}: the weights of epoch {epoch} are not there.", f"The nearest epoch kept is {nearest}.")
        line = next(line for line in self.history() if line["epoch"] == epoch)
        chosen = {"epoch": epoch, "by": best or "eye", **{score: line.get(score) for score in SCORES}}
        write_json(self.path / "selected.json", chosen)
        return chosen

    def selected(self) -> dict | None:
        """What `select` chose, or None."""
        path = self.path / "selected.json"
        return read_json(path) if path.is_file() else None

    def favourites(self) -> list[int]:
        """The epochs that were marked; their weights stay."""
        path = self.path / "favourites.json"
        return read_json(path) if path.is_file() else []

    def mark(self, epoch: int) -> bool:
        """Make an epoch a favourite, or no longer one; True if it is one now.

        Raises
        ------
        NanosynthError
            If there is no such epoch.
        """
        if all(line["epoch"] != epoch for line in self.history()):
            raise NanosynthError(f"{self.path}: epoch {epoch} is not finished.", "Mark one of those that are.")
        marked = set(self.favourites()) ^ {epoch}
        write_json(self.path / "favourites.json", sorted(marked))
        return epoch in marked

    def serving_epoch(self) -> int:
        """The epoch that segments: the selected one, else the best by F1, else the last.

        Raises
        ------
        NanosynthError
            If no epoch is finished.
        """
        chosen = self.selected()
        if chosen:
            return chosen["epoch"]
        kept = self.kept()
        if not kept:
            raise NanosynthError(f"{self.path}: no epoch is finished.", "Let the training run for an epoch at least.")
        return self.best() or kept[-1]


def _names(validation) -> str:
    return ", ".join(f"{entry['image']}{' with truth' if entry['truth'] else ''}" for entry in validation) or "none"


def leaves(tree, prefix="") -> dict:
    """The leaves of nested dicts by dotted name; lists and tuples compare whole."""
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in leaves(value, f"{prefix}.{key}" if prefix else str(key)).items()}
    return {prefix: list(tree) if isinstance(tree, tuple) else tree}


def content_hash(records) -> str:
    """A hash of a data set's files, from the manifest's own hashes of them."""
    listed = [[record["index"], record["sha256"]] for record in sorted(records, key=lambda r: r["index"])]
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
