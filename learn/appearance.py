"""What a micrograph looks like, in plain statistics: a rough segmentation, sizes, grey levels, edges, texture.

Everything is taken at the image's own pixels, in regions that lengths in particle
radii or in pixels define, so that a real and a synthetic image of particles of about
the same size in pixels compare. No annotation and no network is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_li, threshold_otsu
from skimage.measure import regionprops

from .postprocess import separate

RADII = np.array([-2.0, -1.4, -1.0, -0.7, -0.45, -0.25, -0.1, 0.0, 0.08, 0.16, 0.26, 0.38, 0.55, 0.75, 1.05])
"""Bounds of the edge profile's bins: distance from the outline in median radii, below 0 outside the particles."""
PIXELS = np.arange(-4, 5)
"""Bounds of the bins of the fine edge profile, in px."""
SCALES = (0.0, 0.7, 1.4, 2.8, 5.6, 11.2)
"""Standard deviations in px between which texture is measured: each band is the difference of two blurs."""
LEAST_AREA_PX = 40
SMALLEST_SHARE = 0.2
"""Parts of the mask below this share of the median diameter are no particles."""
LEAST_SOLIDITY = 0.92
"""Area over that of the convex hull: above it a part of the mask is taken for one whole particle."""
LETTER_SHARE = 0.14
"""Burnt-in signs are at most so high, as a share of the image's smaller side."""


@dataclass(frozen=True)
class Outline:
    """The particles of an image, and what statistics are taken where.

    Attributes
    ----------
    labels : numpy.ndarray
        int32 (H, W), 0 for the substrate.
    valid : numpy.ndarray
        bool (H, W), false where something is burnt in.
    radius_px : float
        Median radius of the circles of equal area.
    """

    labels: np.ndarray
    valid: np.ndarray
    radius_px: float

    @classmethod
    def of(cls, labels, valid=None, radius_px=None) -> Outline:
        labels = np.asarray(labels, np.int32)
        diameters = whole_diameters(labels)
        radius = radius_px or (float(np.median(diameters)) / 2 if diameters.size else 1.0)
        return cls(labels, np.ones(labels.shape, bool) if valid is None else valid, radius)

    def __post_init__(self):
        mask = self.labels > 0
        outside = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, 1e6)
        # Inside, the borders between touching particles count as outlines too.
        down, right = self.labels[1:] != self.labels[:-1], self.labels[:, 1:] != self.labels[:, :-1]
        border = np.zeros(mask.shape, bool)
        border[1:] |= down
        border[:-1] |= down
        border[:, 1:] |= right
        border[:, :-1] |= right
        inside = ndimage.distance_transform_edt(~(border & mask)) + 0.5 if (border & mask).any() else np.full(mask.shape, 1e6)
        signed = np.where(mask, inside, 0.5 - outside)
        ring = np.digitize(signed / self.radius_px, RADII) - 1
        fine = np.digitize(signed, PIXELS) - 1
        ring[(ring < 0) | (ring >= len(RADII) - 1) | ~self.valid] = -1
        fine[(fine < 0) | (fine >= len(PIXELS) - 1) | ~self.valid] = -1
        numbers = np.arange(1, self.labels.max(initial=0) + 1)
        with np.errstate(invalid="ignore"):  # a number without a pixel has no middle, and is nobody's
            middles = ndimage.center_of_mass(mask, self.labels, numbers)
        middles = np.array([(0.0, 0.0), *middles]).reshape(-1, 2)
        rows, columns = np.nonzero(mask & self.valid)
        owner = self.labels[rows, columns]
        object.__setattr__(self, "signed", signed)
        object.__setattr__(self, "ring", ring)
        object.__setattr__(self, "fine", fine)
        object.__setattr__(self, "inner", (rows, columns))
        object.__setattr__(self, "owner", owner)
        place = (np.stack([columns, -rows], 1) - middles[owner][:, ::-1] * [1, -1]) / self.radius_px
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "core", np.nonzero((signed > 0.45 * self.radius_px) & self.valid))
        object.__setattr__(self, "bare", np.nonzero((signed < -min(0.5 * self.radius_px, 12.0)) & self.valid))
        bands = []
        for wide in SCALES[1:]:
            margin = min(2 * wide, 0.5 * self.radius_px) + 1
            calm = ndimage.binary_erosion(self.valid, iterations=1 + int(2 * wide)) if not self.valid.all() else self.valid
            bands.append((np.nonzero((signed < -2 * wide - 1) & calm), np.nonzero((signed > margin) & calm)))
        object.__setattr__(self, "bands", bands)


def whole_diameters(labels) -> np.ndarray:
    """Diameters in px of the circles whose areas are those of the particles that do not touch the image's border.

    If five or more are about convex, only those count: the others are heaps that could not be parted, or hidden by neighbours.
    """
    cut = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])).tolist())
    whole = [r for r in regionprops(labels) if r.label not in cut]
    convex = [r for r in whole if r.solidity > LEAST_SOLIDITY]
    return np.sqrt(4 / np.pi * np.array([r.area for r in (convex if len(convex) >= 5 else whole)], float))


def burnt_in(pixels) -> np.ndarray:
    """Where letters, numbers and bars seem to be burnt in: bool (H, W).

    Signs are small parts of pure black or white that lie in a row near the image's border.
    """
    height, width = pixels.shape
    side = min(height, width)
    found = np.zeros(pixels.shape, bool)
    for extreme in (pixels >= 0.985, pixels <= 0.015):
        if extreme.mean() > 0.2:
            continue
        parts, _ = ndimage.label(extreme, np.ones((3, 3)))
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            tall, wide = (s.stop - s.start for s in box)
            own = parts[box] == number
            flat = np.ptp(pixels[box][own]) < 0.02
            near = min(box[0].start, box[1].start, height - box[0].stop, width - box[1].stop) < LETTER_SHARE * side
            if own.sum() < 12 or not near or not flat or tall > LETTER_SHARE * side or wide > 0.4 * width:
                continue
            # A sign's edges are sharp: around it the grey level has changed by much.
            around = ndimage.binary_dilation(np.pad(own, 3), iterations=3) & ~ndimage.binary_dilation(np.pad(own, 3), iterations=2)
            rows, columns = np.nonzero(around)
            rows = np.clip(rows + box[0].start - 3, 0, height - 1)
            columns = np.clip(columns + box[1].start - 3, 0, width - 1)
            if np.abs(np.median(pixels[rows, columns]) - pixels[box][own].mean()) > 0.35:
                found[box] |= own
    found |= _lettering(pixels, side)
    return ndimage.binary_dilation(found, iterations=max(3, side // 64))


def _lettering(pixels, side):
    """Lines of grey or blurred letters: four or more small parts that stand out alike, side by side near the upper or lower border."""
    height = pixels.shape[0]
    beyond = pixels - ndimage.uniform_filter(pixels, max(15, side // 16))
    found = np.zeros(pixels.shape, bool)
    for apart in (beyond > 0.25, beyond < -0.25):
        parts, _ = ndimage.label(apart, np.ones((3, 3)))
        boxes = [box for box in ndimage.find_objects(parts) if _letter(box, side, height)]
        for box in boxes:
            tall = box[0].stop - box[0].start
            row = [
                other
                for other in boxes
                if abs(other[0].stop - box[0].stop) <= 0.3 * tall + 1 and abs(other[0].stop - other[0].start - tall) <= 0.5 * tall
            ]
            if len(row) >= 4:
                found[box] = True
    return found


def _letter(box, side, height):
    tall, wide = (s.stop - s.start for s in box)
    near = min(box[0].start, height - box[0].stop) < LETTER_SHARE * side
    return near and 4 <= tall <= 0.06 * side and wide <= 2.5 * tall


def rough_outline(pixels) -> Outline:
    """Segment a micrograph roughly: bright particles on a darker substrate, touching ones parted at their necks."""
    valid = ~burnt_in(pixels)
    filled = np.where(valid, pixels, np.median(pixels[valid]))
    smooth = ndimage.gaussian_filter(filled, 1.0)
    # Between the two: Otsu's loses dim particles, Li's takes in a textured substrate.
    level = (threshold_li(smooth[valid]) + threshold_otsu(smooth[valid])) / 2
    mask = _filled(smooth > level, smooth, level) & valid
    labels = separate(mask.astype(np.float32), threshold=0.5, min_area_px=LEAST_AREA_PX, dynamic_px=0.8, dynamic_share=0.1)
    for _ in range(2):  # what is far smaller than the median of what carries the area is dirt
        areas = np.bincount(labels.ravel()).astype(float)
        areas[0] = 0
        order = np.argsort(areas)
        share = np.cumsum(areas[order])
        typical = areas[order[np.searchsorted(share, share[-1] / 2)]] if share[-1] else 0.0
        small = areas < SMALLEST_SHARE**2 * typical
        labels = np.where(small[labels], 0, labels)
    return Outline.of(_renumbered(labels), valid)


def _filled(mask, smooth, level):
    """A mask without the holes that are the dim middles of particles; gaps between touching particles stay."""
    whole = ndimage.binary_fill_holes(mask)
    holes, count = ndimage.label(whole & ~mask)
    if not count:
        return mask
    numbers = np.arange(1, count + 1)
    around, _ = ndimage.label(whole)
    ring = np.bincount(around[mask], minlength=around.max() + 1)[ndimage.maximum(around, holes, numbers).astype(int)]
    bare = np.median(smooth[~whole]) if not whole.all() else 0.0
    bright = ndimage.mean(smooth, holes, numbers) > (bare + level) / 2
    keep = np.concatenate([[False], bright | (ndimage.sum_labels(mask | whole, holes, numbers) > 0.5 * ring)])
    return mask | keep[holes]


def _renumbered(labels):
    """The labels numbered without gaps."""
    numbers, inverse = np.unique(labels, return_inverse=True)
    start = 0 if numbers[0] == 0 else 1
    return (inverse + start).reshape(labels.shape).astype(np.int32)


def layout(outline: Outline) -> dict:
    """How the particles lie: what a recipe's sizes and arrangement are estimated from.

    Returns
    -------
    dict
        `diameter_px` (median), `spread` (geometric standard deviation), `coverage`,
        `clustering` (share of the particles that touch one already there: 1 - clusters / particles),
        `cluster` (largest number of particles in a cluster), `count`.
    """
    labels = outline.labels
    diameters = whole_diameters(labels)
    if not diameters.size:
        diameters = np.sqrt(4 * np.bincount(labels.ravel())[1:] / np.pi)
    logs = np.log(diameters)
    clusters, clusters_count = ndimage.label(ndimage.binary_dilation(labels > 0), np.ones((3, 3)))
    count = int(labels.max())
    first = np.zeros(count + 1, int)
    first[labels.ravel()] = clusters.ravel()
    largest = np.bincount(first[1:]).max(initial=1)
    # A quarter of the width between quantiles, so that a few wrong particles do not count.
    spread = (np.percentile(logs, 84) - np.percentile(logs, 16)) / 2 if diameters.size > 3 else 0.1
    return {
        "diameter_px": float(np.exp(np.median(logs))),
        "spread": float(np.exp(spread)),
        "coverage": float((labels > 0).sum() / outline.valid.sum()),
        "clustering": float(1 - clusters_count / max(count, 1)),
        "cluster": int(largest),
        "count": count,
    }


def appearance(pixels, outline: Outline) -> tuple[np.ndarray, list[str]]:
    """The statistics by which looks are compared, each divided by the difference that just matters.

    Parameters
    ----------
    pixels : numpy.ndarray
        float (H, W) in [0, 1].
    outline : Outline

    Returns
    -------
    values : numpy.ndarray
        float (n,); NaN where the image has no pixels of that kind.
    names : list of str
        What each is, and how much it weighs: `profile`, `fine`, `substrate`, `core`,
        `noise`, `texture`, `variation`, `light`.
    """
    pixels = np.asarray(pixels, np.float32)
    parts = []

    def add(name, values, just_matters):
        parts.append((name, np.atleast_1d(np.asarray(values, float)) / just_matters))

    add("profile", _means(pixels, outline.ring, len(RADII) - 1), 0.02)
    add("fine", _means(pixels, outline.fine, len(PIXELS) - 1), 0.04)
    blurred = [pixels if s == 0 else ndimage.gaussian_filter(pixels, s, mode="nearest") for s in SCALES]
    for name, region in (("substrate", outline.bare), ("core", outline.core)):
        values = blurred[2][region]
        add(name, np.percentile(values, [5, 25, 50, 75, 95]) if values.size > 50 else [np.nan] * 5, 0.025)
    for k, (bare, core) in enumerate(outline.bands):
        band = blurred[k] - blurred[k + 1]
        for name, region in (("substrate texture", bare), ("particle texture", core)):
            values = band[region]
            few = values.size < 100
            # By the median: borders between particles that were not parted are no texture.
            typical = 1.4826 * np.median(np.abs(values)) + 1e-3 if not few else np.nan
            add(name, np.log(typical), 0.12)
            if k in (1, 2, 3) and region is bare:  # their tails tell sparse ridges from even texture
                add(f"{name} peaks", np.nan if few else np.log((np.percentile(np.abs(values), 99) + 1e-3) / typical), 0.15)
        if k == 0:
            add("noise grain", [np.nan, np.nan] if bare[0].size < 100 else _neighbours(band, bare), 0.1)
    middle = blurred[1][outline.inner]
    count = int(outline.labels.max())
    if count:
        number = np.bincount(outline.owner, minlength=count + 1)
        means = np.bincount(outline.owner, middle, minlength=count + 1)[number > 20] / number[number > 20]
        add("variation", np.std(means) if means.size > 3 else np.nan, 0.015)
        near = (np.abs(outline.place) < 0.8).all(1)
        own = middle[near] - (np.bincount(outline.owner, middle, minlength=count + 1) / np.maximum(number, 1))[outline.owner[near]]
        add("light", np.linalg.lstsq(outline.place[near], own, rcond=None)[0] if near.sum() > 50 else [np.nan, np.nan], 0.02)
    else:
        add("variation", np.nan, 1.0)
        add("light", [np.nan, np.nan], 1.0)
    return np.concatenate([v for _, v in parts]), [n for n, v in parts for _ in v]


def _means(pixels, place, count):
    inside = place >= 0
    number = np.bincount(place[inside], minlength=count)
    total = np.bincount(place[inside], pixels[inside], minlength=count)
    return np.where(number > 20, total / np.maximum(number, 1), np.nan)


def _neighbours(band, region):
    """Correlation of the finest band with its right and its lower neighbour."""
    rows, columns = region
    keep = (rows < band.shape[0] - 1) & (columns < band.shape[1] - 1)
    rows, columns = rows[keep], columns[keep]
    own = band[rows, columns]
    power = (own**2).mean() + 1e-9
    return [(own * band[rows, columns + 1]).mean() / power, (own * band[rows + 1, columns]).mean() / power]
