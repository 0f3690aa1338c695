"""The real images a training looks at after each epoch: predicted, scored where annotated, pictured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import NanosynthError
from ..files import sha256, written_whole
from .images import read_labels, read_micrograph
from .metrics import pixel_scores
from .prediction import predict_probability
from .scale import resize, zoomed

PICTURE_PX = 1200
"""Longest side of an image in the pictures."""
OUTLINE = (255, 140, 0)


@dataclass
class ValidationImage:
    """A real micrograph, never trained on.

    Attributes
    ----------
    name : str
    pixels : float32 (H, W)
    truth : int32 (H, W) or None
        Its annotation, for scores only.
    zoom : float
        Network pixels per image pixel.
    scale_source : str
        Where the zoom comes from.
    """

    name: str
    pixels: np.ndarray
    truth: np.ndarray | None
    zoom: float
    scale_source: str

    def predict(self, model):
        """Probability of each pixel, float32 (H, W)."""
        return resize(predict_probability(model, zoomed(self.pixels, self.zoom)), self.pixels.shape)

    def scores(self, probability, threshold: float) -> dict | None:
        """Precision, recall, accuracy, F1 and IoU of the pixels; None without annotation."""
        if self.truth is None:
            return None
        scores = pixel_scores(self.truth > 0, probability > threshold)
        return {name: float(scores[name]) for name in ("precision", "recall", "accuracy", "f1", "iou")}

    def write_picture(self, path, probability, threshold: float):
        """Write the image with the prediction's outline beside the probability, as PNG."""
        mask = probability > threshold
        outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
        grey = np.uint8(np.clip(self.pixels, 0, 1) * 255)
        left = np.stack([np.where(outline, np.uint8(colour), grey) for colour in OUTLINE], -1)
        right = np.repeat(np.uint8(np.clip(probability, 0, 1) * 255)[..., None], 3, -1)
        picture = Image.fromarray(np.concatenate([left, right], 1))
        shrink = PICTURE_PX / max(self.pixels.shape)
        if shrink < 1:
            picture = picture.resize([max(1, round(side * shrink)) for side in picture.size], Image.Resampling.LANCZOS)
        with written_whole(path) as temporary:
            picture.save(temporary)


def read_validation(images, truths, sizes, diameter_px: float | None = None) -> list[ValidationImage]:
    """Read validation images and find the scale at which the network is to see them.

    The scale follows from `diameter_px`, else from the annotation's median
    diameter, else from the nm per pixel of the image and of the training; else
    the image keeps its own.

    Parameters
    ----------
    images, truths : sequences of path-like
        `truths` empty, or one label image for each image.
    sizes : data.Sizes
    diameter_px : float, optional
        Typical particle diameter in the images' own pixels.
    """
    if truths and len(truths) != len(images):
        raise NanosynthError(
            f"{len(images)} validation images, but {len(truths)} label images.", "Give one label image for each, in the same order, or none."
        )
    found = []
    for i, path in enumerate(images):
        micrograph = read_micrograph(path)
        truth = None
        if truths:
            truth = read_labels(truths[i])
            height, width = micrograph.pixels.shape
            if truth.shape[1] != width or truth.shape[0] not in (height, height + micrograph.banner_px):
                raise NanosynthError(
                    f"{truths[i]}: {truth.shape[1]} x {truth.shape[0]} px, but its image has {width} x {height + micrograph.banner_px} px.",
                    "Give the label image that belongs to it.",
                )
            truth = truth[:height]
        zoom, source = _zoom(micrograph, truth, sizes, diameter_px)
        name = Path(path).stem
        if any(other.name == name for other in found):
            raise NanosynthError(f"{path}: another validation image has the name {name}, too.", "Rename one of them.")
        found.append(ValidationImage(name, micrograph.pixels, truth, zoom, source))
    return found


def _zoom(micrograph, truth, sizes, diameter_px):
    if diameter_px:
        return sizes.diameter_px / diameter_px, "diameter given"
    if truth is not None and truth.max() > 1:
        area = np.bincount(truth.ravel())[1:]
        return sizes.diameter_px / float(np.median(np.sqrt(4 * area[area > 0] / np.pi))), "annotation"
    if micrograph.nm_per_px and sizes.nm_per_px:
        return micrograph.nm_per_px / sizes.nm_per_px, "nm per pixel"
    return 1.0, "none: own scale"


def identity(images, truths) -> list[dict]:
    """Name and hash of each validation image and its annotation, for `run.json`."""
    truths = list(truths) or [None] * len(images)
    return [
        {"image": Path(image).name, "sha256": sha256(image), "truth": sha256(truth) if truth else None}
        for image, truth in zip(images, truths, strict=True)
    ]
