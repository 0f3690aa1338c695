"""Measuring the scale bar that a microscope or a person has drawn into a picture.

The bar's length in pixels is measured; what it stands for is printed beside it
and must be told by a person, because reading small print of any typeface is not
reliable without heavy software, and a wrong scale is worse than none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

SHORTEST_PX, SHORTEST_PLAIN_PX = 13, 18
RULER_TICKS = 11
"""In the row that Hitachi microscopes print; its label is the length from the first to the last."""
LOWER_SHARE = 0.3
"""The part of a picture, from below, in which a bar is looked for."""
THRESHOLDS = (0.9, 0.75, 0.6, 0.45)
"""A bar is brighter than one of these in the picture or in its negative."""
BANNER_THRESHOLDS = (0.3, 0.2)
"""Further ones for the even ground of a banner, on which thin lines are often grey."""


@dataclass(frozen=True)
class Bar:
    """A scale bar in a picture.

    Attributes
    ----------
    left, right : float
        Where it begins and ends, in px from the left edge of the picture.
    top, bottom : int
        Its first row, and the row below its last one.
    kind : str
        'bar' a plain stroke, 'ticks' a stroke with a tick at each end (measured
        from the middle of one to the middle of the other), 'split' a stroke
        interrupted by its label, 'ruler' a row of dots or ticks.
    """

    left: float
    right: float
    top: int
    bottom: int
    kind: str

    @property
    def length_px(self) -> float:
        return self.right - self.left


def find_bar(grey, banner_px: int = 0) -> Bar | None:
    """Find the scale bar in the lower part of a picture.

    A bar is a uniform horizontal stroke of ink, bright or dark, that stands
    alone: abrupt above, below and at both ends, with nothing attached to it but
    a tick at each end. Of several, the one that stands out best and has
    lettering beside it is taken.

    Parameters
    ----------
    grey : numpy.ndarray
        (H, W) in [0, 1], the banner included.
    banner_px : int
        Rows of the banner; a bar in it goes before others.

    Returns
    -------
    Bar or None
    """
    grey = np.asarray(grey, dtype=np.float32)
    height = len(grey)
    first = height - max(int(LOWER_SHARE * height), banner_px)
    found = []
    for start, thresholds in ((first, THRESHOLDS), (height - banner_px, BANNER_THRESHOLDS)):
        for values in (grey[start:], 1 - grey[start:]) if start < height else ():
            for threshold in thresholds:
                for score, bar in _bars(values, threshold):
                    score += 0.5 if bar.top + start >= height - banner_px else 0.0
                    found.append((score, replace(bar, top=bar.top + start, bottom=bar.bottom + start)))
    return max(found, key=lambda candidate: candidate[0])[1] if found else None


def _bars(values, threshold):
    """(score, Bar) of everything in a picture with bright ink that looks like a scale bar."""
    ink = values >= threshold
    labels, number = ndimage.label(ink, structure=np.ones((3, 3), dtype=bool))
    boxes = ndimage.find_objects(labels)
    sizes = [(box[0].stop - box[0].start, box[1].stop - box[1].start) for box in boxes]
    letters = [box for box, (h, w) in zip(boxes, sizes) if 5 <= h <= 60 and 2 <= w <= 60 and max(h, w) < 12 * min(h, w)]
    found, halves = [], []
    width = values.shape[1]
    for label, (box, (h, w)) in enumerate(zip(boxes, sizes), 1):
        if not (SHORTEST_PX <= w <= 0.7 * width and h <= max(w, 8)) or box[1].start == 0 or box[1].stop == width:
            continue
        stroke = _stroke(labels[box] == label)
        if stroke is None:
            continue
        rows, left_tick, right_tick = stroke
        rows = slice(box[0].start + rows.start, box[0].start + rows.stop)
        quality = _stands_out(values, rows, box[1], left_tick, right_tick)
        if quality is None:
            continue
        plain = not (left_tick or right_tick)
        if plain or left_tick != right_tick:
            halves.append((quality, rows, box, left_tick, right_tick))
        if left_tick != right_tick or (plain and w < SHORTEST_PLAIN_PX):
            continue
        left, right = _ends(values, rows, box, plain)
        bar = Bar(left, right, box[0].start, box[0].stop, "bar" if plain else "ticks")
        found.append((quality + 0.3 * (not plain) + (0.5 if _near(box, letters) >= 2 else 0.0) + 0.3 * min(w / 100, 1), bar))
    for one in halves:
        for other in halves:
            whole = _joined(one, other, letters)
            if whole:
                left, right = _ends(values, one[1], whole, not one[3])
                bar = Bar(left, right, whole[0].start, whole[0].stop, "split")
                found.append((min(one[0], other[0]) + 0.9 + 0.3 * min((right - left) / 100, 1), bar))
    return found + _rulers(boxes, sizes, width)


def _joined(one, other, letters):
    """The box of two strokes in a line with their label between them; None if they are not that."""
    (_, rows, box, left, right), (_, other_rows, other_box, other_left, other_right) = one, other
    gap = slice(box[1].stop, other_box[1].start)
    lengths = sorted((box[1].stop - box[1].start, other_box[1].stop - other_box[1].start))
    if right or other_left or left != other_right or abs(rows.start - other_rows.start) > 1 or lengths[0] < 0.7 * lengths[1]:
        return None
    if not 5 <= gap.stop - gap.start <= 4 * lengths[1]:
        return None
    inside = [
        b for b in letters if gap.start <= b[1].start and b[1].stop <= gap.stop and b[0].start <= rows.stop and rows.start <= b[0].stop
    ]
    return (box[0], slice(box[1].start, other_box[1].stop)) if inside else None


def _stroke(shape):
    """The rows of a component that its stroke fills, and whether it has a tick at its left and right end; or None."""
    height, width = shape.shape
    full = shape.mean(axis=1) >= 0.95
    rows = np.flatnonzero(full)
    if not rows.size or rows[-1] - rows[0] + 1 != rows.size or 2 * rows.size > width:
        return None
    stroke = slice(int(rows[0]), int(rows[-1]) + 1)
    rest = shape.copy()
    rest[stroke] = False
    # A row at its upper or lower edge may be half filled where the picture was scaled.
    for edge in (stroke.start - 1, stroke.stop):
        if 0 <= edge < height and rest[edge].mean() > 0.3:
            rest[edge] = False
    end = max(3, int(0.08 * width))
    if rest[:, end : width - end].sum() > 0.02 * width:
        return None
    reach = max(2, rows.size)
    ticks = [int(side.any(axis=1).sum()) >= reach for side in (rest[:, :end], rest[:, -end:])]
    if any(side.sum() > reach and not tick for side, tick in zip((rest[:, :end], rest[:, -end:]), ticks)):
        return None
    return stroke, *ticks


def _stands_out(values, rows, box, left_tick, right_tick):
    """How well a stroke stands out of what surrounds it, 0 to 1; None if it does not."""
    height, width = values.shape
    inside = values[rows, box]
    level, spread = float(np.median(inside)), float(inside.std())
    if rows.stop - rows.start > 2:
        spread = float(inside[1:-1].std())
    if spread > 0.12:
        return None
    contrasts = []
    margin = 3
    inner = slice(box.start + margin, box.stop - margin)
    for row in (rows.start - margin, rows.stop + margin - 1):
        if 0 <= row < height:
            contrasts.append(float(np.quantile(level - values[row, inner], 0.1)))
    for column, tick in ((box.start - margin, left_tick), (box.stop + margin - 1, right_tick)):
        if 0 <= column < width and not tick:
            contrasts.append(float(np.median(level - values[rows, column])))
    contrast = min(contrasts, default=0.0)
    return contrast - spread if contrast > 0.2 else None


def _ends(values, rows, box, plain):
    """Where a bar begins and ends, in px; between pixels where the picture was scaled."""
    if not plain:  # from the middle of a tick to the middle of the other: the stroke's own rows say nothing of where a tick is
        beside = np.r_[values[box[0].start : max(rows.start - 1, 0), box[1]], values[rows.stop + 1 : box[0].stop, box[1]]]
        profile = (beside if len(beside) else values[box]).mean(axis=0)
        end = max(3, int(0.08 * profile.size))
        middles = []
        for part, start in ((profile[:end], 0), (profile[-end:], profile.size - end)):
            weight = np.clip(part - (part.min() + part.max()) / 2, 0, None)
            middles.append(start + 0.5 + float((weight * np.arange(end)).sum() / max(weight.sum(), 1e-9)))
        return box[1].start + middles[0], box[1].start + middles[1]
    profile = values[rows].mean(axis=0)
    level = float(np.median(profile[box[1]]))

    def edge(step, at):
        outside = profile[max(min(at + 3 * step, profile.size - 1), 0)]
        half = (level + outside) / 2
        for position in range(at - 2 * step, at + 3 * step, step):
            if not 0 <= position + step < profile.size:
                break
            near, far = profile[position], profile[position + step]
            if near >= half > far:
                return float(position + 0.5 + step * (near - half) / (near - far))
        return at + 0.5 + 0.5 * step

    return edge(-1, box[1].start), edge(1, box[1].stop - 1)


def _near(box, letters):
    """How many letters lie beside, above or below a bar."""
    rows, columns = box
    near = 0
    for other_rows, other_columns in letters:
        size = other_rows.stop - other_rows.start
        apart_y = max(rows.start - other_rows.stop, other_rows.start - rows.stop)
        apart_x = max(columns.start - other_columns.stop, other_columns.start - columns.stop)
        near += (other_rows, other_columns) != box and apart_y <= 2 * size and apart_x <= 6 * size
    return near


def _rulers(boxes, sizes, width):
    """Rows of evenly spaced small ticks or dots. One of another number is cut or hidden in part, so its length would be wrong."""
    marks = [(box[0].start + h / 2, box[1].start + w / 2, box) for box, (h, w) in zip(boxes, sizes) if w <= 5 and h <= 20]
    marks.sort(key=lambda mark: mark[1])
    found = []
    for row in sorted({round(mark[0]) for mark in marks}):
        line = [mark for mark in marks if abs(mark[0] - row) <= 3]
        x = np.array([mark[1] for mark in line])
        start = 0
        while start + RULER_TICKS <= x.size:
            gap = x[start + 1] - x[start]
            steady = np.abs(np.diff(x[start:]) - gap) <= max(0.75, 0.05 * gap)
            count = 1 + (int(np.argmin(steady)) if not steady.all() else steady.size)
            last = start + count - 1
            if count == RULER_TICKS and gap >= 6 and x[last] - x[start] >= 0.1 * width:
                top = min(mark[2][0].start for mark in line[start : last + 1])
                bottom = max(mark[2][0].stop for mark in line[start : last + 1])
                found.append((1.5, Bar(float(x[start]), float(x[last]), top, bottom, "ruler")))
            start = max(last, start + 1)
    return found
