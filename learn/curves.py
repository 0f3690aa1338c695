"""Curves by which micrographs are compared: grey levels, edge profile, noise, power spectrum.

Every curve is of one image or of its patches, so that sets are compared by the
median and the spread of their images. Lengths are in px of the images given.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_objects

BINS = 64
EDGE_PX = 16
"""How far from the outline the edge profile reaches to both sides, in px."""
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
"""The difference of two Laplace masks; blind to slopes and to straight edges (Immerkaer 1996)."""


def histogram(patches) -> np.ndarray:
    """Density of grey levels over [0, 1]: float (BINS,), mean 1.

    Parameters
    ----------
    patches : numpy.ndarray
        uint8 of any shape.
    """
    counts = np.bincount(np.asarray(patches, np.uint8).ravel() // (256 // BINS), minlength=BINS)
    return counts / counts.mean()


def noise(patches) -> float:
    """Standard deviation of the pixel-to-pixel noise in grey levels of [0, 1]; the median of the patches.

    From the median absolute response to Immerkaer's mask, so that edges do
    not count. Noise that is correlated over several pixels is underestimated.
    """
    values = [np.median(np.abs(ndimage.convolve(np.float64(p) / 255, LAPLACIANS, mode="reflect"))) for p in patches]
    return float(np.median(values) / 0.6745 / np.sqrt((LAPLACIANS**2).sum()))


def spectrum(patches) -> np.ndarray:
    """Power against spatial frequency, averaged over directions and patches: float (p // 2,).

    Element k - 1 is for the frequency k / p in cycles per px. The mean is taken
    off, a Hann window of mean square 1 put on, and the squared magnitudes are
    divided by the number of pixels, so that white noise has its variance at
    every frequency.
    """
    patches = np.asarray(patches, np.float64) / 255
    side = patches.shape[-1]
    window = np.outer(*[np.hanning(side + 1)[:-1]] * 2)
    window /= np.sqrt((window**2).mean())
    centred = patches - patches.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(0) / side**2
    frequency = np.fft.fftfreq(side, 1 / side)
    ring = np.round(np.hypot(*np.meshgrid(frequency, frequency))).astype(int)
    return (np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))[1 : side // 2 + 1]


def outlines(pixels) -> np.ndarray:
    """A rough mask of the particles, for profiles only: smoothed, Otsu's threshold, filled, specks left out."""
    smooth = ndimage.gaussian_filter(pixels, 1.5)
    mask = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth))
    return remove_small_objects(mask, 64)


def edge_profile(pixels) -> np.ndarray:
    """Mean grey level against the distance from the rough outline: float (2 EDGE_PX,), NaN where there are no pixels.

    Element i holds the pixels whose signed distance is in
    [i - EDGE_PX, i - EDGE_PX + 1), negative outside the particles.
    """
    mask = outlines(pixels)
    if mask.all() or not mask.any():
        return np.full(2 * EDGE_PX, np.nan)
    signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    # The nearest pixels on either side are 1 away from the other side's: the outline is halfway.
    place = np.floor(signed - 0.5 * np.sign(signed)).astype(int) + EDGE_PX
    near = (place >= 0) & (place < 2 * EDGE_PX)
    count = np.bincount(place[near], minlength=2 * EDGE_PX)
    total = np.bincount(place[near], pixels[near], minlength=2 * EDGE_PX)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def line_profile(patch) -> tuple[int, np.ndarray]:
    """A row of a patch and the grey levels along it, in [0, 1]: through the middle of the particle nearest the patch's middle.

    Without a particle it is the row that crosses most contrast.
    """
    values = np.float64(patch) / 255
    margin = len(values) // 8
    parts, count = ndimage.label(outlines(values))
    if count and (parts > 0).mean() < 0.9:
        middles = np.array(ndimage.center_of_mass(parts > 0, parts, np.arange(1, count + 1)))
        nearest = middles[np.argmin(np.hypot(*(middles - len(values) / 2).T))]
        row = int(np.clip(round(nearest[0]), margin, len(values) - margin - 1))
        return row, values[row]
    smooth = ndimage.gaussian_filter(values, 2)
    low, high = np.percentile(smooth[margin:-margin], [10, 90], axis=1)
    row = int(np.argmax(high - low)) + margin
    return row, values[row]


def percentile(values, percent) -> np.ndarray:
    """The percentile of the images' curves, NaN left out; NaN where all are, as far inside small particles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanpercentile(values, percent, axis=0)


def differences(real: dict, other: dict) -> dict:
    """How far the mean curves of two sets are apart.

    Parameters
    ----------
    real, other : dict
        Of `histogram`, `edge_profile`, `spectrum` (arrays) and `noise`, each the median or mean of a set.

    Returns
    -------
    dict
        `histogram`: Wasserstein distance in grey levels of [0, 1]; `edge_profile`:
        root mean square in grey levels; `spectrum`: root mean square in decibels;
        `noise`: the natural logarithm of the ratio. None where it is not defined.
    """
    edge = np.asarray(real["edge_profile"]) - np.asarray(other["edge_profile"])
    ratio = np.maximum(real["spectrum"], 1e-9) / np.maximum(other["spectrum"], 1e-9)
    cumulated = np.cumsum(np.asarray(real["histogram"]) - np.asarray(other["histogram"])) / BINS
    quiet = min(real["noise"], other["noise"]) <= 0
    return {
        "histogram": float(np.abs(cumulated).mean()),
        "edge_profile": float(np.sqrt(np.nanmean(edge**2))) if np.isfinite(edge).any() else None,
        "spectrum": float(np.sqrt(np.mean((10 * np.log10(ratio)) ** 2))),
        "noise": None if quiet else float(np.log(other["noise"] / real["noise"])),
    }
