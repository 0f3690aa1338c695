"""A stand-in for a trained network, and images of discs."""

import numpy as np
import pytest
from nanosynth.learn.settings import Preprocess, TrainingSettings
from scipy import ndimage


class Threshold:
    """Finds bright discs near the trained size; of larger ones it sees the rim only, as a network would."""

    provenance = {"name": "fake"}

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
    rows, columns = np.mgrid[:height, :width]
    pixels, labels = np.full(shape, 0.2, np.float32), np.zeros(shape, np.int32)
    placed, covered = [], 0.0
    for _ in range(4000):
        if covered > share * height * width:
            break
        r = diameter / 2 * np.exp(spread * rng.normal())
        y, x = rng.uniform(r, height - r), rng.uniform(r, width - r)
        if any(np.hypot(y - b, x - a) < gap * (r + s) for b, a, s in placed):
            continue
        placed.append((y, x, r))
        covered += np.pi * r * r
        distance = np.hypot(rows + 0.5 - y, columns + 0.5 - x)
        pixels = np.maximum(pixels, 0.2 + 0.6 * np.clip(r - distance + 0.5, 0, 1).astype(np.float32))
        labels[distance < r] = len(placed)
    return pixels, labels


@pytest.fixture(name="Threshold")
def threshold():
    return Threshold


@pytest.fixture(name="discs")
def disc_maker():
    return discs
