"""From a clean render to a micrograph: one chain of optional steps.

Row i of an N-pixel image covers [i, i+1) / N of the field of view, before and
after resampling: pixel centres lie at (i + 0.5) / N.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

EXACT_BELOW = 400.0
"""Below this dose counts are drawn from Poisson distributions; above it a normal one of equal mean and variance differs by no grey level."""


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


def counted(image: np.ndarray, dose: float, yield_at_white: float, rng: np.random.Generator) -> np.ndarray:
    """What a detector that counts secondary electrons makes of a clean signal.

    `dose` primaries fall on a pixel on average, and each frees `yield_at_white * image`
    secondary electrons on average. Both numbers are Poisson distributed, so the count of
    mean m = dose * delta has the variance m * (1 + delta) (compound Poisson statistics).

    Parameters
    ----------
    image : ndarray float32
        White = 1; clipped at 0.
    dose : float
        Ions or electrons per pixel.

    Returns
    -------
    ndarray float32
        The count in units of its mean at white.
    """
    delta = np.float32(yield_at_white) * np.clip(image, 0, None)
    if dose < EXACT_BELOW:
        count = rng.poisson(rng.poisson(dose, image.shape) * delta).astype(np.float32)
    else:
        mean = np.float32(dose) * delta
        count = mean + np.sqrt(mean * (1 + delta)) * rng.standard_normal(image.shape, dtype=np.float32)
    return count / np.float32(dose * yield_at_white)


DARKEST, BRIGHTEST = 10.0, 99.9
"""Percentiles between which `exposure` sets the contrast."""
MOST_CONTRAST = 1.5
"""An operator does not turn a bare substrate white."""
NEAREST_WHITE = 0.995


def exposed(image: np.ndarray, drawn: dict) -> tuple[float, float]:
    """Gain and offset by which the darkest tenth keeps its brightness, and the brightest thousandth gets `exposure` after offset, shoulder and gamma."""
    seen = min(drawn["exposure"], NEAREST_WHITE) ** (1 / drawn["gamma"])
    room = 1 - drawn["shoulder"]
    if seen > drawn["shoulder"]:
        seen = drawn["shoulder"] - room * np.log1p((drawn["shoulder"] - seen) / room)
    dark, bright = np.percentile(image, (DARKEST, BRIGHTEST))
    contrast = min(max((seen - drawn["offset"] - dark) / max(bright - dark, 1e-3), 0.0), MOST_CONTRAST)
    return contrast, dark * (1 - contrast)


def saturated(image: np.ndarray, shoulder: float) -> np.ndarray:
    """A detector's response: proportional up to `shoulder`, from there ever less, towards 1; with a shoulder of 1 the image as it is."""
    if shoulder >= 1:
        return image
    room = np.float32(1 - shoulder)
    above = np.maximum(image - np.float32(shoulder), 0)
    return np.minimum(image, np.float32(shoulder)) + room * -np.expm1(-above / room)


def along_lines(noise: np.ndarray, sigma: float) -> np.ndarray:
    """Noise blurred along the scan line, its standard deviation kept."""
    kernel = ndimage.gaussian_filter1d(np.eye(1, 8 * int(np.ceil(sigma)) + 1, 4 * int(np.ceil(sigma))), sigma)
    return ndimage.gaussian_filter1d(noise, sigma, axis=1, mode="reflect") / np.float32(np.sqrt((kernel**2).sum()))


def degrade(render: np.ndarray, drawn: dict, size: int, rng: np.random.Generator) -> np.ndarray:
    """Apply the chain with the values drawn for a scene.

    Parameters
    ----------
    render : ndarray (n, n) float
        Linear brightness, white = 1.
    drawn : dict
        The values drawn for `recipe.Degradation`, `drift_angle` (degrees) and
        `field_of_view` (nm, for the probe).
    size : int
        Side of the result in pixels.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (size, size) uint8
    """
    n = render.shape[0]
    # Each random step has its own stream, so that none shifts another's noise.
    jitter, lines, counts, plain = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=4))
    image = np.clip(render, 0, None).astype(np.float32)
    blur = np.hypot(drawn["blur"], drawn["probe"] * n / drawn["field_of_view"])
    if blur:
        image = ndimage.gaussian_filter(image, blur, mode="nearest")
    if drawn["jitter"]:
        shift = jitter.normal(0, drawn["jitter"], n)
        columns = np.arange(n)
        image = np.stack([np.interp(columns + s, columns, row) for s, row in zip(shift, image)]).astype(np.float32)
    if drawn["streaks"]:
        # The detector's output sinks by a share of what it has just seen, and recovers exponentially.
        keep = np.exp(-1 / (drawn["streak_length"] * n))
        level = image.mean()
        seen, _ = signal.lfilter([1 - keep], [1, -keep], image - level, axis=1, zi=np.zeros((n, 1)))
        image = np.clip(image - np.float32(drawn["streaks"]) * seen.astype(np.float32), 0, None)
    image = upsample(image, size)
    if drawn["lines"]:
        image *= np.clip(1 + drawn["lines"] * lines.standard_normal(size), 0, None).astype(np.float32)[:, None]
    contrast, lift = exposed(image, drawn) if drawn["exposure"] else (1.0, 0.0)
    if drawn["dose"]:
        noise = counted(image, drawn["dose"], drawn["yield_at_white"], counts) - image
        if drawn["noise_grain"]:
            noise = along_lines(noise, drawn["noise_grain"])
        image = image + noise
    if drawn["drift"]:
        across = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
        angle = np.radians(drawn["drift_angle"])
        image += np.float32(drawn["drift"] * np.cos(angle)) * across[None, :] + np.float32(drawn["drift"] * np.sin(angle)) * across[:, None]
    image = (image * np.float32(contrast) + np.float32(lift)) * np.float32(drawn["gain"]) + np.float32(drawn["offset"])
    image = saturated(image, drawn["shoulder"])
    if drawn["gamma"] != 1:
        image = np.clip(image, 0, 4) ** np.float32(drawn["gamma"])
    if drawn["noise"]:
        noise = np.float32(drawn["noise"]) * plain.standard_normal(image.shape, dtype=np.float32)
        image = image + (along_lines(noise, drawn["noise_grain"]) if drawn["noise_grain"] else noise)
    if drawn["smoothing"]:
        image = ndimage.gaussian_filter(np.clip(image, 0, 1), drawn["smoothing"], mode="nearest")
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
