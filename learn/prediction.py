"""Probability maps of images of any size: overlapping tiles, blended without seams."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from .preprocess import normalise
from .settings import TrainingSettings

TILE = 768
"""Longest side of a tile in px. Bounds the memory that a prediction takes."""
OVERLAP = 64
"""Overlap of neighbouring tiles in px."""
MARGIN = 16
"""Width in px of the reflected frame around the image, and of the rim of a tile that is not used where a neighbour has it."""
STEP = 32
"""Tile sides are multiples of it, or of what the network needs, so that only few shapes occur."""


class Model(Protocol):
    """What prediction and segmentation ask of a trained network."""

    diameter_px: tuple[float, float]
    """Equivalent circular diameter of the training particles: median in network px, and standard deviation of its logarithm."""
    nm_per_px: float | None
    """Nanometres per network px in training."""
    settings: TrainingSettings

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities of a batch, float32 (B, H, W, 1) to float32 (B, H, W, 1)."""


def predict_probability(model: Model, pixels: np.ndarray, *, bounds=None, flips: bool = False, progress=None) -> np.ndarray:
    """Probability of belonging to a particle, for each pixel.

    The image is normalised as in training and cut into equal tiles that overlap
    by at least `OVERLAP`. Neighbouring tiles fade into each other with weights
    that sum to one; the rim of a tile, where the network lacks context, has
    weight zero.

    Parameters
    ----------
    model : Model
    pixels : ndarray (H, W), float
        Intensities in [0, 1], at the scale of the training images.
    bounds : (float, float), optional
        Intensities that become 0 and 1, for a part of an image whose bounds are known.
    flips : bool
        Average the predictions of the image and its three mirror images. Four times the work.
    progress : callable, optional
        Called with the share that is done, after each batch of tiles.

    Returns
    -------
    ndarray (H, W), float32
        In [0, 1].
    """
    image = normalise(pixels, model.settings.preprocess, bounds)
    height, width = image.shape
    step = max(STEP, model.settings.multiple)
    rows, tile_height = _cuts(height + 2 * MARGIN, step)
    columns, tile_width = _cuts(width + 2 * MARGIN, step)
    below = max(0, tile_height - height - 2 * MARGIN)
    right = max(0, tile_width - width - 2 * MARGIN)
    framed = np.pad(image, ((MARGIN, MARGIN + below), (MARGIN, MARGIN + right)), mode="reflect")
    row_weights = _weights(rows, tile_height, framed.shape[0])
    column_weights = _weights(columns, tile_width, framed.shape[1])

    total = np.zeros_like(framed)
    places = [(i, j) for i in range(len(rows)) for j in range(len(columns))]
    at_once = max(1, TILE * TILE // (tile_height * tile_width))
    for first in range(0, len(places), at_once):
        chosen = places[first : first + at_once]
        corners = [(rows[i], columns[j]) for i, j in chosen]
        batch = np.stack([framed[y : y + tile_height, x : x + tile_width] for y, x in corners])[..., None]
        for (i, j), (y, x), tile in zip(chosen, corners, _predicted(model, batch, flips), strict=True):
            weight = row_weights[i][:, None] * column_weights[j][None, :]
            total[y : y + tile_height, x : x + tile_width] += tile[..., 0] * weight
        if progress is not None:
            progress(min(1.0, (first + at_once) / len(places)))
    return np.clip(total[MARGIN : MARGIN + height, MARGIN : MARGIN + width], 0, 1)


def _predicted(model, batch, flips):
    if not flips:
        return np.asarray(model.predict(batch), np.float32)
    mirrored = [(), (1,), (2,), (1, 2)]
    return sum(np.flip(np.asarray(model.predict(np.flip(batch, axes)), np.float32), axes) for axes in mirrored) / len(mirrored)


def _cuts(length, step):
    """First pixels of the tiles that cover `length` px, and the side that all of them have."""
    if length <= TILE:
        return [0], step * math.ceil(length / step)
    count = math.ceil((length - OVERLAP) / (TILE - OVERLAP))
    side = step * math.ceil(((length - OVERLAP) / count + OVERLAP) / step)
    return [round(k * (length - side) / (count - 1)) for k in range(count)], side


def _weights(starts, side, length):
    """Weights of each tile along one axis, float32 (tiles, side), that sum to one at every pixel."""
    place = np.arange(side)
    ramp = np.clip((np.minimum(place, place[::-1]) - MARGIN + 1) / (OVERLAP - 2 * MARGIN + 1), 0, 1)
    weights = np.repeat(np.sin(np.pi / 2 * ramp)[None] ** 2, len(starts), axis=0)
    weights[0, : side // 2] = 1  # nothing to fade into at the image's own borders
    weights[-1, side // 2 :] = 1
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + side] += weight
    return np.stack([w / total[s : s + side] for s, w in zip(starts, weights, strict=True)]).astype(np.float32)
