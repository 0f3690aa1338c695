"""A trained network with all that using it takes: from a run or a model folder, and into one."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import NanosynthError
from ..fields import from_dict, to_dict
from ..files import read_json, write_json, written_whole
from .backend import load_keras, versions
from .preprocess import normalise
from .run import Run
from .settings import TrainingSettings
from .unet import build_unet

FORMAT = 1
MODELS = Path(__file__).resolve().parent.parent / "models"
"""The models that are shipped, a folder each."""


@dataclass
class Model:
    """A trained network.

    Attributes
    ----------
    network : keras.Model
    settings : TrainingSettings
    diameter_px : (float, float)
        Median equivalent circular diameter of the training particles in network
        pixels, and standard deviation of its natural logarithm.
    nm_per_px : float or None
        Nanometres per network pixel in training.
    provenance : dict
        Recipe, seed, command, commit, versions, epoch.
    """

    network: object
    settings: TrainingSettings
    diameter_px: tuple[float, float]
    nm_per_px: float | None
    provenance: dict

    @property
    def software(self) -> dict:
        """Versions of what predicts."""
        return versions(load_keras())

    def normalise(self, pixels):
        """Prepare an image at network scale as in training; see `preprocess.normalise`."""
        return normalise(pixels, self.settings.preprocess)

    def predict(self, batch):
        """Probabilities of a batch of prepared images.

        Parameters
        ----------
        batch : float32 (B, H, W, 1)
            In [0, 1]; H and W multiples of `settings.multiple`.

        Returns
        -------
        float32 (B, H, W, 1)
        """
        return np.asarray(self.network.predict_on_batch(np.asarray(batch, np.float32)), np.float32)


def load_model(path) -> Model:
    """Load a network from the folder of a model or of a run, or by the name of a shipped model such as `sio2`.

    A run gives its selected epoch, else the best by F1, else the last.

    Raises
    ------
    NanosynthError
        If the folder is neither, or its weights are missing or damaged.
    """
    path = Path(path)
    if not any((path / name).is_file() for name in ("model.json", "run.json")) and (MODELS / path).is_dir():
        path = MODELS / path  # even where another folder has that name: that of a data set or of results
    if (path / "model.json").is_file():
        described, weights = read_json(path / "model.json"), path / "model.weights.h5"
    elif (path / "run.json").is_file():
        described, weights = describe(Run.open(path))
    else:
        shipped = ", ".join(sorted(p.parent.name for p in MODELS.glob("*/model.json"))) or "none"
        raise NanosynthError(
            f"{path}: neither a model nor a training run.", f"Name a folder with model.json or run.json, or a shipped model ({shipped})."
        )
    if not isinstance(described, dict) or not {"settings", "sizes", "provenance"} <= described.keys():
        raise NanosynthError(f"{path / 'model.json'}: not the description of a model.", "Restore the file, or export the model again.")
    if described.get("format", 0) > FORMAT:
        raise NanosynthError(f"{path}: a model of format {described['format']}; this Nanosynth reads up to {FORMAT}.", "Update Nanosynth.")
    settings = from_dict(TrainingSettings, described["settings"], source=str(path / "model.json"))
    network = build_unet(settings)
    load_weights(network, weights)
    sizes = described["sizes"]
    return Model(network, settings, (sizes["diameter_px"], sizes["log_sd"]), sizes["nm_per_px"], described["provenance"])


def load_weights(network, path):
    """Load a weights file; a missing or damaged one is named."""
    if not Path(path).is_file():
        raise NanosynthError(f"{path}: the weights are missing.", "Restore the file, or train again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # weights that Keras would skip
            network.load_weights(path)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0]
        raise NanosynthError(f"{path}: damaged, or of another network ({reason}).", "Restore the file, or train again.") from error


def save_weights(network, path):
    """Write a weights file, whole or not at all."""
    with written_whole(path) as temporary:
        # Keras insists on the ending.
        named = temporary.with_name(temporary.name + ".weights.h5")
        try:
            network.save_weights(named)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def describe(run: Run) -> tuple[dict, Path]:
    """What `model.json` says of the epoch of a run that segments, and its weights file."""
    epoch = run.serving_epoch()
    chosen = run.selected()
    line = next((line for line in run.history() if line["epoch"] == epoch), {})
    described = {
        "format": FORMAT,
        "nanosynth": __version__,
        "settings": to_dict(run.settings),
        "sizes": run.info["sizes"],
        "provenance": {
            "recipe": (run.path / "recipe.toml").read_text(encoding="utf-8"),
            "data_set": run.info["identity"]["data_set"],
            "seed": run.settings.seed,
            "command": run.info["command"],
            "extended": run.info.get("extended", []),
            "commit": run.info["commit"],
            "versions": run.info["versions"],
            "epoch": epoch,
            "chosen_by": chosen["by"] if chosen else ("f1" if run.best() else "last epoch"),
            "validation": line.get("validation", {}),
        },
    }
    return described, run.weights_path(epoch)


def export(run, folder) -> Path:
    """Write the epoch of a run that segments as a model folder.

    Parameters
    ----------
    run : Run or path-like
    folder : path-like
        Made if it is missing; a model in it is replaced.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    folder = Path(folder)
    described, weights = describe(run)
    with written_whole(folder / "model.weights.h5") as temporary:
        shutil.copyfile(weights, temporary)
    write_json(folder / "model.json", described)
    return folder
