"""Brings the particles of an image to the size the network was trained on.

A network separates particles well only near the size it has seen: too large,
and it splits them; too small, and it merges or misses them. The *zoom* is the
number of network pixels to one image pixel. It follows from the nanometres per
pixel of both, from a particle diameter that the user knows, or from a search:
the image is predicted at a ladder of zooms, and that one is taken at which
well-formed, confidently predicted particles of the trained size cover most of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import NanosynthError
from .postprocess import separate
from .prediction import Model, predict_probability
from .preprocess import intensity_bounds

LADDER = math.sqrt(2)
"""Ratio of neighbouring zooms in the search."""
LARGEST = 0.5
"""The largest particle diameter that is searched for, as a share of the image's shorter side."""
SMALLEST = 9.0
"""The smallest particle diameter that is searched for, in image px."""
TARGET = 0.9
"""Size that the search aims at, to the median of the training. Below 1, since particles that are too large are split
and textured ground is taken for them, while somewhat smaller ones only lose detail."""
TOLERANCE = 0.5
"""How far the logarithm of a particle's diameter may be from that of the size aimed at (standard deviation)."""
FEW = 2
"""Prior number of worthless particles: one agglomerate that passes for a large particle is weak evidence, many particles are strong."""
TRIAL_PIXELS = 350_000
"""A trial predicts at most so many network px; at finer zooms it is made on a part of the image."""
POOR_FIT = 0.3
"""Below this fit, what was found does not look like the training's particles: they have another size, or are none."""
GOOD_FIT = 0.4
"""Above this fit, what was found is particles like those of the training."""
MAX_PIXELS = 400_000_000
"""The largest image, in network px, that is predicted."""


@dataclass(frozen=True)
class Trial:
    """The prediction at one zoom of the search.

    Attributes
    ----------
    zoom : float
        Network px per image px.
    diameter_px : float
        Particle diameter in image px at which this zoom would be right.
    count : int
        Predicted particles.
    found_px : float
        Their typical (area-weighted geometric mean) diameter in network px; 0 if there are none.
    covered : float
        Share covered by particles, scaled from the examined part to the image.
    fit : float
        Area-weighted mean quality of the particles: size fit times form times confidence.
    score : float
        `covered` times `fit` times the plain mean quality, in which specks count as much as large particles
        and which few particles lower.
    share : float
        Share of the image that was examined.
    """

    zoom: float
    diameter_px: float
    count: int
    found_px: float
    covered: float
    fit: float
    score: float
    share: float


@dataclass(frozen=True)
class Scale:
    """A zoom and how it was found.

    Attributes
    ----------
    zoom : float
        Network px per image px.
    source : str
        "nm per pixel", "diameter" or "search".
    diameter_px : float
        Particle diameter in image px that this zoom brings to the median of the training.
    trials : list of Trial
        What the search tried, from coarse to fine.
    doubts : list of str
        Why the choice may be wrong; empty if it is clear.
    """

    zoom: float
    source: str
    diameter_px: float
    trials: list[Trial] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def scale_of_diameter(model: Model, diameter_px: float) -> Scale:
    """The scale for particles of a known typical diameter in image px."""
    return Scale(model.diameter_px[0] / diameter_px, "diameter", diameter_px)


def scale_of_nm(model: Model, nm_per_px: float) -> Scale:
    """The scale for an image of known nm per pixel; the model's must be known too."""
    zoom = nm_per_px / model.nm_per_px
    return Scale(zoom, "nm per pixel", model.diameter_px[0] / zoom)


def resize(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing in the pixel-centre convention, with a wider kernel where it shrinks, as in training; float32 (H, W)."""
    pixels = pixels.astype(np.float32, copy=False)
    if pixels.shape == tuple(shape):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def zoomed(pixels: np.ndarray, zoom: float) -> np.ndarray:
    """The image at network scale, float32.

    Raises
    ------
    NanosynthError
        If the result would be too large to be predicted.
    """
    shape = tuple(max(1, round(side * zoom)) for side in pixels.shape)
    if shape[0] * shape[1] > MAX_PIXELS:
        raise NanosynthError(
            f"At this scale ({zoom:.3g} network px per image px) the image becomes {shape[1]} x {shape[0]} px, too large to be predicted.",
            "Check the nm per pixel, or give the particles' diameter in px with --diameter.",
        )
    return resize(pixels, shape)


def search_scale(model: Model, pixels: np.ndarray, *, threshold: float, min_area_px: float, dynamic_px: float) -> Scale:
    """Find the zoom at which the predicted particles have the trained size.

    Parameters
    ----------
    model : Model
    pixels : ndarray (H, W), float
        The image without its banner, in [0, 1].
    threshold : float
        Probability above which a pixel belongs to a particle.
    min_area_px, dynamic_px : float
        Post-processing, in network px.

    Returns
    -------
    Scale
        With every trial, and with doubts if nothing was found, if the sizes do
        not fit, or if two zooms far apart serve equally well.
    """
    trained = model.diameter_px[0]
    shorter = min(pixels.shape)
    coarsest, finest = trained / (LARGEST * shorter), trained / min(SMALLEST, LARGEST * shorter)
    steps = max(1, math.floor(math.log(finest / coarsest) / math.log(LADDER)))
    busy, bounds = _busyness(pixels), intensity_bounds(pixels, model.settings.preprocess)

    def attempt(zoom):
        return _attempt(model, pixels, busy, bounds, zoom, threshold, min_area_px, dynamic_px)

    trials, best, falling = [], None, 0
    for step in range(steps + 1):
        trials.append(attempt(coarsest * LADDER**step))
        best = max(trials, key=lambda t: t.score)
        # Finer zooms cost most; once a good one is well behind, they are spared.
        falling = falling + 1 if trials[-1].score < 0.25 * best.score and best.fit > GOOD_FIT else 0
        if falling == 2:
            break
    doubts = []
    if best.score <= 0:
        native = min(max(1.0, coarsest), finest)
        doubts.append("no particles were found at any scale, so the image was taken at its own scale")
        return Scale(native, "search", trained / native, trials, doubts)

    # The sizes found at the best rung say by how much it misses the right zoom.
    step = TARGET * trained / best.found_px
    refined = attempt(best.zoom * min(max(step, 1 / LADDER), LADDER))
    trials = sorted([*trials, refined], key=lambda t: t.zoom)
    if refined.score >= 0.95 * best.score:
        best = refined
    if best.fit < POOR_FIT:
        doubts.append("at no scale does what was found look much like the particles of the training")
    rivals = [
        t
        for t in trials
        if t.count > FEW and t.covered * t.fit > 0.8 * best.covered * best.fit and abs(math.log(t.zoom / best.zoom)) > math.log(1.9)
    ]
    if rivals:
        rival = max(rivals, key=lambda t: t.covered * t.fit)
        doubts.append(f"particles of about {rival.diameter_px:.0f} px fit nearly as well as particles of about {best.diameter_px:.0f} px")
    return Scale(best.zoom, "search", best.diameter_px, trials, doubts)


@dataclass(frozen=True)
class Assessment:
    """How much the particles of a prediction are like those of the training; see `Trial`."""

    count: int
    found_px: float
    covered: float
    fit: float
    mean_quality: float


def assess(model: Model, labels: np.ndarray, probability: np.ndarray) -> Assessment:
    """Judge labels, int32 (H, W), and the probability they come from, both at network scale."""
    area, form, confidence = _qualities(labels, probability)
    if not area.size:
        return Assessment(0, 0.0, 0.0, 0.0, 0.0)
    misses = np.log(np.sqrt(4 * area / np.pi) / (TARGET * model.diameter_px[0]))
    quality = np.exp(-0.5 * (misses / TOLERANCE) ** 2) * form * confidence
    # The geometric mean by area: specks do not rule it.
    found = np.exp(np.average(np.log(4 * area / np.pi) / 2, weights=area))
    fit = np.average(quality, weights=area)
    mean = quality.sum() / (area.size + FEW)
    return Assessment(int(area.size), float(found), float(area.sum() / labels.size), float(fit), float(mean))


def _attempt(model, pixels, busy, bounds, zoom, threshold, min_area_px, dynamic_px):
    """Predict at one zoom, on a part of the image if it is fine, and judge what is found."""
    window = _window(pixels.shape, busy, zoom)
    part = pixels[window]
    probability = predict_probability(model, zoomed(part, zoom), bounds=bounds)
    found = assess(model, separate(probability, threshold=threshold, min_area_px=min_area_px, dynamic_px=dynamic_px), probability)
    share = part.size / pixels.size
    # A part is chosen for its detail, so it holds more than its share of the particles.
    richer = float(_busy_mean(busy, window, pixels.shape) / busy.mean()) if share < 1 else 1.0
    covered = min(found.covered, found.covered / richer)
    score = covered * found.fit * found.mean_quality
    return Trial(zoom, model.diameter_px[0] / zoom, found.count, found.found_px, covered, found.fit, score, share)


def _qualities(labels, probability):
    """Area (px), form and confidence (both 0 to 1) of each instance.

    Form compares the area with that of the ellipse of equal second moments,
    4 pi sqrt(det C): 1 for discs and ellipses, 0.95 for squares, lower for
    ragged, bent and hollow shapes. Confidence is the mean of 2 p - 1.
    """
    rows, columns = np.nonzero(labels)
    index = labels[rows, columns]

    def mean(values):
        return np.bincount(index, values, count.size) / np.maximum(count, 1)

    count = np.bincount(index)
    y, x = mean(rows), mean(columns)
    dy, dx = rows - y[index], columns - x[index]
    # Plus 1/12, the variance within a pixel.
    yy, xx, xy = mean(dy * dy) + 1 / 12, mean(dx * dx) + 1 / 12, mean(dy * dx)
    ellipse = 4 * np.pi * np.sqrt(np.maximum(yy * xx - xy**2, 1e-12))
    confidence = mean(2.0 * probability[rows, columns] - 1)
    real = count > 0
    form = np.clip((count[real] / ellipse[real] - 0.7) / 0.3, 0, 1)
    return count[real], form, np.clip(confidence[real], 0, 1)


def _busyness(pixels):
    """Clipped gradient magnitude of a thumbnail: where there is something to be seen. The clip keeps letters from ruling it."""
    thumbnail = resize(pixels, tuple(max(1, round(side * min(1.0, 256 / max(pixels.shape)))) for side in pixels.shape))
    slope = ndimage.gaussian_gradient_magnitude(thumbnail, 1.5, mode="nearest")
    return np.minimum(slope, np.percentile(slope, 85)) + 1e-6


def _window(shape, busy, zoom):
    """The busiest rectangle of the image's own proportions that has `TRIAL_PIXELS` at this zoom."""
    part = math.sqrt(TRIAL_PIXELS / (shape[0] * shape[1])) / zoom
    if part >= 1:
        return (slice(0, shape[0]), slice(0, shape[1]))
    size = [max(1, round(side * part)) for side in busy.shape]
    mean = ndimage.uniform_filter(busy, size, mode="constant")
    inside = tuple(slice(s // 2, side - (s - 1) // 2) for s, side in zip(size, busy.shape, strict=True))
    corner = np.unravel_index(np.argmax(mean[inside]), mean[inside].shape)
    window = []
    for start, side, small in zip(corner, shape, busy.shape, strict=True):
        length = max(1, round(side * part))
        first = min(round(start * side / small), side - length)
        window.append(slice(first, first + length))
    return tuple(window)


def _busy_mean(busy, window, shape):
    """Mean busyness within a window given in image px."""
    rows, columns = (
        slice(math.floor(w.start * small / side), max(math.ceil(w.stop * small / side), 1))
        for w, small, side in zip(window, busy.shape, shape, strict=True)
    )
    return busy[rows, columns].mean()
