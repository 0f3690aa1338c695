"""A stored result reopened: another threshold, other borders, without the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.segmentation import expand_labels

from ..errors import NanosynthError
from ..fields import default_of, from_dict
from ..files import read_json
from .images import Micrograph, read_micrograph
from .particles import measure
from .postprocess import separate
from .scale import resize
from .segmentation import SegmentationOptions, at_image_scale, joining
from .settings import TrainingSettings


@dataclass(frozen=True)
class Stored:
    """What `segment` wrote for one image.

    Attributes
    ----------
    micrograph : Micrograph
        Its banner cut off.
    probability : ndarray (H, W), float32
        Of the same pixels; it was stored in 8 bits.
    zoom : float
        Network px per image px.
    diameter_px : float
        Of the trained median particle, in network px.
    settings : TrainingSettings
    fill_contacts : bool
        Whether the gaps at contacts were filled; see `SegmentationOptions`.
    """

    micrograph: Micrograph
    probability: np.ndarray
    zoom: float
    diameter_px: float
    settings: TrainingSettings
    fill_contacts: bool

    def separate(
        self,
        *,
        threshold: float,
        min_area: float,
        dynamic_share: float,
        dynamic: float,
        join: float = default_of(SegmentationOptions, "join"),
        outline: float = default_of(SegmentationOptions, "outline"),
        min_confidence: float = default_of(SegmentationOptions, "min_confidence"),
        longest_px: int | None = None,
    ) -> np.ndarray:
        """Find the particles anew, at network scale as `segment` does.

        Parameters
        ----------
        threshold, min_area, dynamic_share, dynamic, join, outline, min_confidence : float
            See `SegmentationOptions`. A threshold of 0 is the training's.
        longest_px : int, optional
            Work and answer in an image with this longest side at most: fast, and coarse.

        Returns
        -------
        ndarray (H, W), int32
            Or smaller, with `longest_px`.
        """
        threshold = threshold or self.settings.threshold
        shape, zoom = self.probability.shape, self.zoom
        if longest_px and longest_px < max(shape):
            shape = reduced(shape, longest_px)
            zoom = min(zoom, longest_px / max(self.probability.shape))
        share = zoom / self.zoom
        small = resize(self.probability, tuple(max(1, round(side * zoom)) for side in self.probability.shape))
        median, border = self.diameter_px * share, self.settings.border_radius_px * share
        labels = separate(
            small,
            threshold=threshold,
            min_area_px=min_area * np.pi / 4 * median**2,
            dynamic_px=dynamic * median,
            dynamic_share=dynamic_share,
            join=joining(self.settings, join),
            grow_px=border,
            outline=outline * threshold,
            confidence=min_confidence,
        )
        if self.settings.border_outline:
            labels = expand_labels(labels, border)
        filled = self.fill_contacts and share == 1  # a coarse answer has no lines between particles
        return at_image_scale(labels, small, outline * threshold, self.micrograph.pixels, shape, filled)

    def measure(self, labels: np.ndarray) -> dict:
        """The particle table; see `particles.measure`."""
        return measure(labels, self.micrograph.pixels, nm_per_px=self.micrograph.nm_per_px)


def reduced(shape, longest_px: int) -> tuple[int, int]:
    """Height and width of an image that is made smaller until its longest side is `longest_px`."""
    return tuple(max(1, round(side * longest_px / max(shape))) for side in shape)


def open_stored(folder, entry: dict) -> Stored:
    """Reopen one image of a folder that `segment` wrote.

    Parameters
    ----------
    folder : path-like
    entry : dict
        Of `images` in its segmentation.json.

    Raises
    ------
    NanosynthError
        If a file is missing or of another size.
    """
    folder = Path(folder)
    micrograph = read_micrograph(entry["image"], nm_per_px=entry["nm_per_px"], crop_bottom=entry["banner_px"])
    probability = read_probability(folder / entry["files"]["probability"])[: micrograph.pixels.shape[0]]
    if probability.shape != micrograph.pixels.shape:
        raise NanosynthError(f"{folder / entry['files']['probability']}: not of its image's size.", "Segment the image again.")
    scale = entry["scale"]
    settings = settings_of(read_json(folder / "segmentation.json"), folder)
    options = from_dict(SegmentationOptions, entry.get("options", {}))
    return Stored(micrograph, probability, scale["zoom"], scale["zoom"] * scale["diameter_px"], settings, options.fill_contacts)


def read_probability(path) -> np.ndarray:
    """A stored probability: float32 (H, W) in [0, 1]."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"), np.float32) / 255
    except OSError as error:
        raise NanosynthError(f"{path}: missing or damaged.", "Segment the image again.") from error


def settings_of(record: dict, folder) -> TrainingSettings:
    """The settings with which the network was trained that made these results, whatever has been trained since.

    Parameters
    ----------
    record : dict
        What their segmentation.json holds.
    folder : path-like
        Their folder.
    """
    if "training" not in record:
        raise NanosynthError(f"{folder}: does not tell how its network was trained.", "Segment the images again.")
    return from_dict(TrainingSettings, record["training"]["settings"], source=f"{folder}/segmentation.json")
