"""Intensities to [0, 1] and local contrast: the same for training and prediction."""

from __future__ import annotations

import numpy as np

from .settings import Preprocess


def intensity_bounds(pixels, settings: Preprocess | None = None) -> tuple[float, float]:
    """The two percentiles that become 0 and 1. At most a million pixels, evenly spread, are looked at."""
    settings = settings or Preprocess()
    flat = np.asarray(pixels).ravel()
    low, high = np.percentile(flat[:: max(1, flat.size // 1_000_000)], (settings.low_percentile, settings.high_percentile))
    return float(low), float(high)


def normalise(pixels, settings: Preprocess | None = None, bounds=None):
    """Bring intensities to [0, 1] by percentiles, then equalise the local contrast (CLAHE).

    Parameters
    ----------
    pixels : array (H, W)
        An image at the network's scale, in any intensity unit.
    settings : Preprocess, optional
    bounds : (float, float), optional
        Intensities that become 0 and 1. Training gives wider ones than the
        patch's own percentiles, since a patch rarely shows all of the range that
        the micrograph around it has.

    Returns
    -------
    float32 (H, W) in [0, 1]
        A constant image becomes constant 0.
    """
    settings = settings or Preprocess()
    pixels = np.asarray(pixels, np.float32)
    low, high = bounds or intensity_bounds(pixels, settings)
    if not high > low:
        return np.zeros_like(pixels)
    stretched = np.clip((pixels - low) / (high - low), 0.0, 1.0)
    if not settings.clahe:
        return stretched
    from skimage.exposure import equalize_adapthist

    kernel = tuple(min(settings.clahe_kernel_px, side) for side in stretched.shape)
    return equalize_adapthist(stretched, kernel_size=kernel, clip_limit=settings.clahe_clip).astype(np.float32)
