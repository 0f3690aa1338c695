"""The label a network is trained on: particles with the borders between them opened."""

from __future__ import annotations

import math

import numpy as np


def training_label(instances, radius_px: float, outline: bool = False):
    """Binarise an instance map and erode it where particles meet.

    Parameters
    ----------
    instances : array (H, W) of integers
        0 background, every other value one particle.
    radius_px : float
        A particle pixel is removed if a pixel of another particle lies within
        this distance, centre to centre. Below 1 nothing is removed.
    outline : bool
        Pixels within the radius of the background are removed, too. What lies
        beyond the image's edge never erodes.

    Returns
    -------
    array (H, W) of bool
    """
    instances = np.asarray(instances)
    inside = instances > 0
    if radius_px < 1 or not inside.any():
        return inside
    # Another particle lies within the disc if the largest id there is larger
    # than the pixel's own, or the smallest one smaller.
    top = instances.max()
    upside_down = np.where(inside, top - instances + 1, 0).astype(instances.dtype)
    label = inside & (disc_max(instances, radius_px) == instances) & (disc_max(upside_down, radius_px) == upside_down)
    if outline:
        label &= ~disc_max(~inside, radius_px)
    return label


def disc_max(values, radius: float):
    """The largest value within a distance of each pixel, in O(radius) passes.

    A disc is a stack of rows, and the rows' widths grow towards its middle: one
    running maximum along x, widened step by step, serves all of them.

    Parameters
    ----------
    values : array (H, W)
        Not negative.
    radius : float
        In pixels, centre to centre; need not be whole.

    Returns
    -------
    array (H, W)
        Of the type of `values`.
    """
    height = values.shape[0]
    result = np.zeros_like(values)
    row_max = values.copy()
    width = 0
    for dy in range(int(radius), -1, -1):
        for dx in range(width + 1, math.isqrt(math.floor(radius**2 - dy**2)) + 1):
            np.maximum(row_max[:, dx:], values[:, :-dx], out=row_max[:, dx:])
            np.maximum(row_max[:, :-dx], values[:, dx:], out=row_max[:, :-dx])
            width = dx
        overlap = max(height - dy, 0)
        np.maximum(result[dy:], row_max[:overlap], out=result[dy:])
        np.maximum(result[:overlap], row_max[dy:], out=result[:overlap])
    return result
