"""What is measured of each particle, and its table on disk."""

from __future__ import annotations

import csv
import io

import numpy as np
from scipy.spatial import ConvexHull

from ..files import write_text

PX = ("area_px", "sqrt_area_px", "diameter_px", "max_feret_px", "min_feret_px")
NM = ("area_nm2", "sqrt_area_nm", "diameter_nm", "max_feret_nm", "min_feret_nm")
COLUMNS = ("label", "x_px", "y_px", *PX, "aspect_ratio", "on_border", "mean_intensity", *NM)


def measure(labels, intensity=None, *, nm_per_px=None) -> dict:
    """Measure every particle of a label image.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.
    intensity : numpy.ndarray, optional
        float (H, W), the micrograph.
    nm_per_px : float, optional

    Returns
    -------
    dict of numpy.ndarray
        Equally long columns in the order of `COLUMNS`, a row for each particle,
        by rising label. `x_px`, `y_px`: centroid, pixel centres at whole
        numbers, from the upper left. `diameter`: of the circle of equal area.
        `max_feret`, `min_feret`: largest and smallest caliper of the outline
        along the pixels' corners. `aspect_ratio`: major by minor axis of the
        ellipse of equal second moments. `on_border`: the image border cuts the
        particle, so its sizes are too small. Columns in nm, and
        `mean_intensity`, are NaN where scale or micrograph are not given.
    """
    labels = np.asarray(labels)
    rows, columns = np.nonzero(labels)
    numbers, index = np.unique(labels[rows, columns], return_inverse=True)
    index = index.ravel()
    n = numbers.size
    area = np.bincount(index, minlength=n)

    def mean(values):
        return np.bincount(index, values, minlength=n) / area

    x, y = mean(columns), mean(rows)
    dx, dy = columns - x[index], rows - y[index]
    # A pixel is a square, whose own second moment is 1/12.
    xx, yy, xy = mean(dx * dx) + 1 / 12, mean(dy * dy) + 1 / 12, mean(dx * dy)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    border = np.zeros(n, dtype=bool)
    height, width = labels.shape
    border[index[(rows == 0) | (rows == height - 1) | (columns == 0) | (columns == width - 1)]] = True
    largest, smallest = _ferets(index, rows, columns, n)
    table = {
        "label": numbers.astype(np.int64),
        "x_px": x,
        "y_px": y,
        "area_px": area,
        "sqrt_area_px": np.sqrt(area),
        "diameter_px": np.sqrt(4 * area / np.pi),
        "max_feret_px": largest,
        "min_feret_px": smallest,
        "aspect_ratio": np.sqrt((middle + half) / np.maximum(middle - half, 1e-12)),
        "on_border": border,
        "mean_intensity": np.full(n, np.nan) if intensity is None else mean(np.asarray(intensity, dtype=np.float64)[rows, columns]),
    }
    for px, nm in zip(PX, NM):
        power = 2 if nm.endswith("nm2") else 1
        table[nm] = np.full(n, np.nan) if nm_per_px is None else table[px] * float(nm_per_px) ** power
    return table


def _ferets(index, rows, columns, n):
    """Largest and smallest caliper diameter of each particle, from the convex hull of its pixels' corners."""
    largest, smallest = np.zeros(n), np.zeros(n)
    if not n:
        return largest, smallest
    # Only the first and last pixel of each row of a particle can lie on its hull.
    order = np.lexsort((columns, rows, index))
    index, rows, columns = index[order], rows[order], columns[order]
    new = np.r_[True, (index[1:] != index[:-1]) | (rows[1:] != rows[:-1])]
    left, right = columns[new], columns[np.r_[new[1:], True]] + 1
    index, top = index[new], rows[new]
    bounds = np.searchsorted(index, np.arange(n + 1))
    for i in range(n):
        part = slice(bounds[i], bounds[i + 1])
        x = np.concatenate([left[part], left[part], right[part], right[part]])
        y = np.concatenate([top[part], top[part] + 1, top[part], top[part] + 1])
        points = np.stack([x, y], axis=1).astype(np.float64)
        hull = points[ConvexHull(points).vertices]
        gaps = hull[:, None] - hull[None]
        largest[i] = np.sqrt((gaps**2).sum(axis=2).max())
        edges = np.roll(hull, -1, axis=0) - hull
        normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.hypot(*edges.T)[:, None]
        across = normals @ hull.T
        smallest[i] = (across.max(axis=1) - across.min(axis=1)).min()
    return largest, smallest


def table_text(table: dict, *, nm_per_px=None, scale_source: str = "") -> str:
    """The particle table as CSV text.

    Parameters
    ----------
    table : dict
        From `measure`.
    nm_per_px : float, optional
    scale_source : str
        Where the scale comes from, or why there is none. Both are written on
        every row; what is unknown is left empty.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, "nm_per_px", "scale_source"])
    tail = ["" if nm_per_px is None else _text(nm_per_px), scale_source]
    columns = [np.asarray(table[name]).tolist() for name in COLUMNS]
    for row in zip(*columns):
        writer.writerow([_text(value) for value in row] + tail)
    return stream.getvalue()


def _text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return "" if value != value else f"{value:.6g}"


def write_table(path, table: dict, *, nm_per_px=None, scale_source: str = ""):
    """Write `table_text` to a file, whole or not at all."""
    write_text(path, table_text(table, nm_per_px=nm_per_px, scale_source=scale_source))
