"""The real images a training looks at after each epoch: predicted, scored where annotated, pictured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import NanosynthError
from ..files import sha256, written_whole
from .images import Micrograph, read_labels, read_micrograph
from .metrics import match_instances, pixel_scores
from .pictures import overlay, stretched
from .scale import resize
from .segmentation import Segmentation, SegmentationOptions, segment

PANEL_PX = 800
"""Longest side of each of the three panels of a picture."""
GAP_PX = 4
"""White space between them."""
PICTURE_BYTES = 2_000_000
"""Size of a picture, roughly and at most."""


@dataclass
class ValidationImage:
    """A real micrograph, never trained on.

    Attributes
    ----------
    name : str
    micrograph : Micrograph
    truth : int32 (H, W) or None
        Its annotation, for scores only.
    zoom : float
        Network pixels per image pixel.
    scale_source : str
        Where the zoom comes from.
    """

    name: str
    micrograph: Micrograph
    truth: np.ndarray | None
    zoom: float
    scale_source: str

    def segment(self, model) -> Segmentation:
        """What `segment` finds in it at this scale."""
        return segment(model, self.micrograph, SegmentationOptions(diameter=model.diameter_px[0] / self.zoom))

    def scores(self, found: Segmentation, threshold: float) -> dict:
        """Scores against the annotation.

        Returns
        -------
        dict
            precision, recall, accuracy, f1 and iou of the pixels above the
            threshold; instance_f1, the F1 of the separated particles at an IoU of 0.5.
        """
        rows = slice(len(self.truth))
        pixels = pixel_scores(self.truth > 0, found.probability[rows] > threshold)
        instances = match_instances(self.truth, found.labels[rows], iou=0.5)
        return {**{name: float(pixels[name]) for name in ("precision", "recall", "accuracy", "f1", "iou")}, "instance_f1": float(instances["f1"])}

    def write_picture(self, path, found: Segmentation):
        """Write image, probability and the particles' outlines side by side, as PNG."""
        pixels = self.micrograph.pixels
        height, width = pixels.shape
        shrink = min(1.0, PANEL_PX / max(height, width))
        small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        grey = stretched(resize(pixels, small))
        probability = np.clip(resize(found.probability[:height], small), 0, 1)
        # Ids are taken at the pixel centres.
        rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(small, pixels.shape, strict=True))
        outlined = overlay(grey, found.labels[np.ix_(rows, columns)], opacity=0.0)
        plain = [np.repeat(np.uint8(panel * 255 + 0.5)[..., None], 3, -1) for panel in (grey, probability)]
        gap = np.full((small[0], GAP_PX, 3), 255, np.uint8)
        with written_whole(path) as temporary:
            Image.fromarray(np.concatenate([plain[0], gap, plain[1], gap, outlined], 1)).save(temporary)


def read_validation(images, truths, sizes, diameter_px: float | None = None, nm_per_px: dict | None = None) -> list[ValidationImage]:
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
    nm_per_px : dict, optional
        File name -> nm per pixel, where it is not to be read from the file.
    """
    if diameter_px is not None and not 0 < diameter_px < math.inf:
        raise NanosynthError(f"The particle diameter in the validation images is {diameter_px} px.", "Give a number above 0.")
    if truths and len(truths) != len(images):
        raise NanosynthError(
            f"{len(images)} validation images, but {len(truths)} label images.", "Give one label image for each, in the same order, or none."
        )
    found = []
    for i, path in enumerate(images):
        micrograph = read_micrograph(path, nm_per_px=(nm_per_px or {}).get(Path(path).name))
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
        found.append(ValidationImage(name, micrograph, truth, zoom, source))
    return found


def _zoom(micrograph, truth, sizes, diameter_px):
    if diameter_px is not None:
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
