"""Contamination on the substrate: films (the diamond-square fractal), smears and specks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .degrade import upsample


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


def film(coverage: float, roughness: float, rng: np.random.Generator, levels: int = 8) -> np.ndarray:
    """Thickness of a film, 0 to 1, on a share `coverage` of the area.

    Returns
    -------
    ndarray (2**levels + 1, 2**levels + 1) float32
    """
    height = diamond_square(levels, roughness, rng)
    bare = np.quantile(height, 1 - coverage)
    top = max(height.max() - bare, 1e-12)
    return np.clip((height - bare) / top, 0, 1).astype(np.float32)


def smears(image: np.ndarray, count: int, length: float, strength: float, rng: np.random.Generator):
    """Paint smears into an image: patches drawn out in one direction, streaky along it.

    Parameters
    ----------
    image : ndarray (n, n) float32
        Changed in place.
    length : float
        Pixels; each smear's own lies within half as much of it.
    strength : float
        Brightness that the thickest part adds or, in some smears, takes away.
    """
    side = image.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(count):
        angle, middle = rng.uniform(0, 2 * np.pi), rng.uniform(0, side, 2)
        half = 0.5 * length * rng.uniform(0.5, 1.5)
        width = half * rng.uniform(0.1, 0.4)
        along = ((x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)) / half
        across = ((y - middle[1]) * np.cos(angle) - (x - middle[0]) * np.sin(angle)) / (width * (1.3 - 0.5 * np.clip(along, -1, 1)))
        across += rng.normal(0, 0.3) * along**2
        # Streaks: a rough function of the position across alone, which frays towards the smear's end.
        cells = 64
        streaks = ndimage.gaussian_filter1d(rng.random(cells), 1.0, mode="wrap")
        streaks = (streaks - streaks.min()) / np.ptp(streaks)
        streak = np.interp((across + 2) / 4 * cells, np.arange(cells), streaks)
        head = 1 / (1 + np.exp(-12 * (along + 0.9).clip(-2, 2)))  # thick where it was put down ...
        body = np.clip(1 - (along + 1) / 2, 0, 1) * head  # ... thin where it was drawn out to
        thickness = np.clip(body * (0.3 + 0.7 * streak) * 1.6 - 0.15 * (1 + along), 0, 1) * np.exp(-(np.abs(across) ** 4))
        cloud = diamond_square(6, 0.6, rng)
        thickness = thickness * upsample(np.clip(0.5 + (cloud - np.median(cloud)) / (3 * cloud.std()), 0, 1), side)
        sign = 1.0 if rng.random() < 0.5 else -1.0
        image += np.float32(sign * strength * rng.uniform(0.5, 1.0)) * thickness.astype(np.float32)


def specks(image: np.ndarray, count: int, size: float, strength: float, rng: np.random.Generator):
    """Paint specks into an image: small lopsided blobs, two in three of them bright.

    Parameters
    ----------
    image : ndarray (n, n) float32
        Changed in place.
    size : float
        Median diameter in pixels; each speck's own lies within a factor of two.
    strength : float
        Brightness that a speck adds or takes away; the strongest twice as much.
    """
    side = image.shape[0]
    for _ in range(count):
        radius = size / 2 * 2 ** rng.uniform(-1, 1)
        centre, stretch, angle = rng.uniform(0, side, 2), rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
        change = strength * rng.uniform(0.5, 2.0) * (1.0 if rng.random() < 2 / 3 else -1.0)
        # A speck smaller than a pixel is painted a pixel large and as much fainter.
        drawn = max(radius, 0.7)
        change *= (radius / drawn) ** 2
        reach = int(np.ceil(2.5 * drawn)) + 1
        rows, columns = (np.arange(max(int(c) - reach, 0), min(int(c) + reach + 1, side)) for c in centre)
        v, u = rows[:, None] + 0.5 - centre[0], columns[None, :] + 0.5 - centre[1]
        along = (u * np.cos(angle) + v * np.sin(angle)) * stretch
        across = (v * np.cos(angle) - u * np.sin(angle)) / stretch
        blob = 1 / (1 + np.exp(4 * (np.hypot(along, across) / drawn - 1) * min(drawn, 3)))
        image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += np.float32(change) * blob.astype(np.float32)
