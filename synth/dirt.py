"""Contamination on the substrate: the diamond-square fractal."""

from __future__ import annotations

import numpy as np


def diamond_square(levels: int, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """Random midpoint displacement on a square (Fournier, Fussell, Carpenter 1982).

    Parameters
    ----------
    levels : int
        The side has 2**levels + 1 points.
    roughness : float
        Factor on the displacement from one level to the next; 0.5 smooth, 1 white.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (2**levels + 1, 2**levels + 1) float64
    """
    side = 2**levels + 1
    height = np.zeros((side, side))
    height[:: side - 1, :: side - 1] = rng.standard_normal((2, 2))
    amplitude = 1.0
    for level in range(levels):
        step = (side - 1) >> level
        half = step // 2
        # Diamond: the middle of each square.
        corners = height[::step, ::step]
        middle = (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]) / 4
        height[half::step, half::step] = middle + amplitude * rng.standard_normal(middle.shape)
        # Square: the middle of each edge, from the two to four points around it.
        for first, second in ((0, half), (half, 0)):
            target = height[first::step, second::step]
            total, known = np.zeros_like(target), np.zeros_like(target)
            rows = np.arange(first, side, step)[:, None]
            columns = np.arange(second, side, step)[None, :]
            for down, right in ((-half, 0), (half, 0), (0, -half), (0, half)):
                r, c = rows + down, columns + right
                inside = (r >= 0) & (r < side) & (c >= 0) & (c < side)
                total += np.where(inside, height[r.clip(0, side - 1), c.clip(0, side - 1)], 0)
                known += inside
            height[first::step, second::step] = total / known + amplitude * rng.standard_normal(target.shape)
        amplitude *= roughness
    return height


def dirt_map(coverage: float, roughness: float, rng: np.random.Generator, levels: int = 8) -> np.ndarray:
    """Thickness of the dirt, 0 to 1, on a share `coverage` of the area.

    Returns
    -------
    ndarray (2**levels + 1, 2**levels + 1) float32
    """
    height = diamond_square(levels, roughness, rng)
    bare = np.quantile(height, 1 - coverage)
    top = max(height.max() - bare, 1e-12)
    return np.clip((height - bare) / top, 0, 1).astype(np.float32)
