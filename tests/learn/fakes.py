"""A stand-in for a trained network, and images of discs; loaded with `runpy`, since tests are not a package."""

import numpy as np
from scipy import ndimage

from nanosynth.learn.settings import Preprocess, TrainingSettings


class Threshold:
    """Finds bright discs near the trained size; of larger ones it sees the rim only, as a network would."""

    provenance = {"name": "fake"}
    software = {"fake": "1.0"}

    def __init__(self, diameter_px=32.0, log_sd=0.1, nm_per_px=None, selective=True, border_radius_px=0.0):
        self.diameter_px = (diameter_px, log_sd)
        self.nm_per_px = nm_per_px
        self.selective = selective
        self.settings = TrainingSettings(
            threshold=0.51, border_radius_px=border_radius_px, preprocess=Preprocess(low_percentile=0, high_percentile=100, clahe=False)
        )
        self.shapes = []

    def predict(self, batch):
        self.shapes.append(batch.shape)
        found = ndimage.gaussian_filter(batch, (0, 0.7, 0.7, 0))
        if self.selective:
            for image in found[..., 0]:
                depth = ndimage.distance_transform_edt(image > 0.5)
                image[depth > 0.9 * self.diameter_px[0]] = 0.1
        return np.clip(0.5 + 1.6 * (found - 0.5), 0, 1).astype(np.float32)


def discs(shape, diameter, rng, share=0.25, spread=0.05, gap=1.15):
    """Anti-aliased bright discs that do not touch, on a dark ground: (pixels, labels)."""
    height, width = shape
    pixels, labels = np.full(shape, 0.2, np.float32), np.zeros(shape, np.int32)
    placed, covered = np.zeros((0, 3)), 0.0
    for _ in range(4000):
        if covered > share * height * width:
            break
        r = diameter / 2 * np.exp(spread * rng.normal())
        y, x = rng.uniform(r, height - r), rng.uniform(r, width - r)
        if (np.hypot(placed[:, 0] - y, placed[:, 1] - x) < gap * (r + placed[:, 2])).any():
            continue
        placed = np.vstack([placed, (y, x, r)])
        covered += np.pi * r * r
        window = tuple(slice(max(0, int(c - r) - 2), min(side, int(c + r) + 3)) for c, side in zip((y, x), shape, strict=True))
        rows, columns = np.ogrid[window]
        distance = np.hypot(rows + 0.5 - y, columns + 0.5 - x)
        pixels[window] = np.maximum(pixels[window], 0.2 + 0.6 * np.clip(r - distance + 0.5, 0, 1))
        labels[window][distance < r] = len(placed)
    return pixels, labels
