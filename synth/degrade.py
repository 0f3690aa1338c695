"""From a clean render to a micrograph: one chain of optional steps.

Row i of an N-pixel image covers [i, i+1) / N of the field of view, before and
after resampling: pixel centres lie at (i + 0.5) / N.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def upsample(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear resampling of a square image about pixel centres.

    Parameters
    ----------
    image : ndarray (n, n)
    size : int

    Returns
    -------
    ndarray (size, size) float32
    """
    n = image.shape[0]
    if n == size:
        return image.astype(np.float32)
    # A product of two sparse matrices, one for each axis: exact bilinear weights, and
    # some times faster than a general spline.
    position = ((np.arange(size) + 0.5) * n / size - 0.5).clip(0, n - 1)
    low = np.minimum(position.astype(int), max(n - 2, 0))
    share = (position - low).astype(np.float32)
    high = np.minimum(low + 1, n - 1)
    image = image.astype(np.float32)
    rows = image[low] * (1 - share)[:, None] + image[high] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, high] * share


def degrade(render: np.ndarray, drawn: dict, size: int, rng: np.random.Generator) -> np.ndarray:
    """Apply the chain with the values drawn for a scene.

    Parameters
    ----------
    render : ndarray (n, n) float
        Linear brightness, white = 1.
    drawn : dict
        `gain, offset, gamma, drift, drift_angle, blur, jitter, shot, noise`; see `recipe.Degradation`.
    size : int
        Side of the result in pixels.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (size, size) uint8
    """
    n = render.shape[0]
    image = np.clip(render, 0, None).astype(np.float32)
    image = np.clip(image * drawn["gain"] + drawn["offset"], 0, 4) ** np.float32(drawn["gamma"])
    if drawn["drift"]:
        across = (np.arange(n) + 0.5) / n - 0.5
        angle = np.radians(drawn["drift_angle"])
        image = image + drawn["drift"] * (np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None]).astype(np.float32)
    if drawn["blur"]:
        image = ndimage.gaussian_filter(image, drawn["blur"], mode="nearest")
    if drawn["jitter"]:
        shift = rng.normal(0, drawn["jitter"], n)
        columns = np.arange(n)
        image = np.stack([np.interp(columns + s, columns, row) for s, row in zip(shift, image)])
    image = upsample(image, size)
    variance = drawn["noise"] ** 2 + drawn["shot"] ** 2 * np.clip(image, 0, 1)
    image = image + np.sqrt(variance) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
