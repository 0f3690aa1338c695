"""What is measured of each particle, and its table on disk.

`docs/measures.md` defines every measure and gives the terms of ISO 9276-6 and
ISO 13322-1.
"""

from __future__ import annotations

import csv
import io

import numpy as np
from scipy import interpolate, ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from skimage.morphology import skeletonize

from ..errors import NanosynthError, explained
from ..files import write_text
from .metrics import same_size
from .pictures import neighbours

LENGTHS = (
    "x",
    "y",
    "sqrt_area",
    "diameter",
    "max_feret",
    "min_feret",
    "box_width",
    "box_height",
    "perimeter",
    "length",
    "width",
)
"""Measures that are lengths: columns `NAME_px` and `NAME_nm`."""

PX = ("area_px", *(f"{name}_px" for name in LENGTHS), "curvature_per_px")
NM = ("area_nm2", *(f"{name}_nm" for name in LENGTHS), "curvature_per_nm")
SHAPE = ("circularity", "aspect_ratio", "solidity", "convexity", "orientation_deg")
COLUMNS = ("label", *PX, *NM, *SHAPE, "mean_intensity", "confidence", "on_border", "touching", "remarks")

TOUCHING_PX = 2
"""Particles are touching if pixels of theirs are at most so far apart: a dam of one pixel does not part them."""
ELONGATED = 3.0
"""Length over width from which on a particle is measured as a rod or wire (fibre in ISO's terms)."""


def measure(labels, intensity=None, *, probability=None, nm_per_px=None) -> dict:
    """Measure every particle of a label image.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.
    intensity : numpy.ndarray, optional
        float (H, W), the micrograph.
    probability : numpy.ndarray, optional
        float (H, W), the network's output.
    nm_per_px : float, optional

    Returns
    -------
    dict of numpy.ndarray
        Equally long columns in the order of `COLUMNS`, a row for each particle,
        by rising label. What is not known or has no meaning is NaN, and
        `remarks` says why.

    Raises
    ------
    NanosynthError
        If the images differ in size, or the scale is not a positive number.
    """
    if nm_per_px is not None and not (np.isfinite(nm_per_px) and nm_per_px > 0):
        raise NanosynthError(f"nm per pixel = {nm_per_px} is not a positive number.", "Give the width of a pixel in nm, or none.")
    same_size(labels=labels, intensity=intensity, probability=probability)
    labels = np.asarray(labels)
    rows, columns = np.nonzero(labels)
    values = labels[rows, columns]
    present = np.bincount(values, minlength=1) > 0
    numbers = np.flatnonzero(present)
    index = (np.cumsum(present) - 1)[values]
    n = numbers.size
    area = np.bincount(index, minlength=n)

    def mean(values):
        return np.bincount(index, values, minlength=n) / area

    def of(image):
        return np.full(n, np.nan) if image is None else mean(np.asarray(image, dtype=np.float64)[rows, columns])

    x, y = mean(columns), mean(rows)
    dx, dy = columns - x[index], rows - y[index]
    # A pixel is a square, whose own second moment is 1/12.
    xx, yy, xy = mean(dx * dx) + 1 / 12, mean(dy * dy) + 1 / 12, mean(dx * dy)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    left, right = _extent(index, columns, n)
    top, bottom = _extent(index, rows, n)
    across, along = (high - low + 1 for low, high in (_extent(index, rows + columns, n), _extent(index, rows - columns, n)))
    height, width = labels.shape
    hulls = _hulls(index, rows, columns, n)
    max_feret, min_feret = _ferets(hulls)
    perimeter = _perimeters(labels, present)
    box_width, box_height = right - left + 1, bottom - top + 1
    # The hull's perimeter by the same four directions, so that a convex particle has convexity 1.
    hull_perimeter = np.pi / 4 * (box_width + box_height + (across + along) / np.sqrt(2))
    touching = np.isin(numbers, neighbours(labels, TOUCHING_PX)) if n > 1 else np.zeros(n, dtype=bool)
    circularity = 4 * np.pi * area / perimeter**2
    length, thickness, curvature, why = _fibres(labels, present, area, circularity)
    table = {
        "label": numbers.astype(np.int64),
        "area_px": area,
        "x_px": x,
        "y_px": y,
        "sqrt_area_px": np.sqrt(area),
        "diameter_px": np.sqrt(4 * area / np.pi),
        "max_feret_px": max_feret,
        "min_feret_px": min_feret,
        "box_width_px": box_width,
        "box_height_px": box_height,
        "perimeter_px": perimeter,
        "length_px": length,
        "width_px": thickness,
        "curvature_per_px": curvature,
        "circularity": circularity,
        "aspect_ratio": np.sqrt((middle + half) / np.maximum(middle - half, 1e-12)),
        "solidity": area / _lattice_points(hulls),
        "convexity": np.minimum(hull_perimeter / perimeter, 1),
        # Rows run downwards, angles counter-clockwise from the x axis.
        "orientation_deg": np.where(half > 1e-6 * middle, np.degrees(0.5 * np.arctan2(-2 * xy, xx - yy)), np.nan),
        "mean_intensity": of(intensity),
        "confidence": of(probability),
        "on_border": (left == 0) | (top == 0) | (right == width - 1) | (bottom == height - 1),
        "touching": touching,
    }
    for px, nm in zip(PX, NM):
        power = 2 if nm.endswith("nm2") else -1 if "_per_" in nm else 1
        table[nm] = np.full(n, np.nan) if nm_per_px is None else table[px] * float(nm_per_px) ** power
    everywhere = [
        text
        for text, lacking in (
            ("no nm: scale not known", nm_per_px),
            ("no mean intensity: no image", intensity),
            ("no confidence: no probability", probability),
        )
        if lacking is None
    ]
    table["remarks"] = np.array(
        [
            "; ".join(everywhere + ["no orientation: no longest direction"] * bool(isnan) + [reason] * bool(reason))
            for isnan, reason in zip(np.isnan(table["orientation_deg"]), why)
        ],
        dtype=object,
    )
    table["orientation_deg"][table["orientation_deg"] <= -90 + 1e-9] += 180
    table["orientation_deg"] += 0.0  # no minus before a zero
    return {name: table[name] for name in COLUMNS}


def _extent(index, values, n):
    """Smallest and largest value of each particle."""
    low, high = np.full(n, np.iinfo(np.int64).max), np.full(n, np.iinfo(np.int64).min)
    np.minimum.at(low, index, values)
    np.maximum.at(high, index, values)
    return low, high


def _perimeters(labels, present):
    """Perimeter of each particle by Crofton's formula in four directions, as `skimage.measure.perimeter_crofton`."""
    half, diagonal = np.pi / 4, np.pi / (4 * np.sqrt(2))
    # By which of the four pixels of a window are the particle's: 1 lower right, 2 upper right, 4 lower left, 8 upper left.
    weight = np.zeros(16)
    weight[[1, 5]] = half + diagonal
    weight[[2, 7, 10, 11]] = diagonal
    weight[3] = 2 * diagonal
    weight[[8, 12]] = half
    weight[[9, 13]] = 2 * half
    padded = np.pad(labels, 1)
    corners = [padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1], padded[:-1, :-1]]
    mixed = np.zeros(corners[0].shape, dtype=bool)
    for corner in corners[1:]:
        mixed |= corner != corners[0]
    corners = [corner[mixed] for corner in corners]
    total = np.zeros(present.size)
    for i, own in enumerate(corners):
        code = sum((other == own).astype(np.int64) << j for j, other in enumerate(corners))
        first = (own > 0) & (code & ((1 << i) - 1) == 0)  # each particle of a window once
        total += np.bincount(own[first], weight[code[first]], minlength=present.size)
    return total[present]


def _hulls(index, rows, columns, n):
    """The convex hull of each particle's pixel centres: a list of float (k, 2) of x, y, by the monotone chain (Andrew 1979)."""
    # Only the first and last pixel of each row of a particle can lie on its hull.
    order = np.lexsort((columns, rows, index))
    index, rows, columns = index[order], rows[order], columns[order]
    new = np.ones(index.size + 1, dtype=bool)
    new[1:-1] = (index[1:] != index[:-1]) | (rows[1:] != rows[:-1])
    index, rows, left, right = index[new[:-1]], rows[new[:-1]].tolist(), columns[new[:-1]].tolist(), columns[new[1:]].tolist()
    bounds = np.searchsorted(index, np.arange(n + 1)).tolist()
    hulls = []
    for start, end in zip(bounds[:-1], bounds[1:]):
        y = rows[start:end]
        first, second = _chain(left[start:end], y, 1), _chain(right[start:end], y, -1)[::-1]
        hulls.append(np.array(first + second[second[0] == first[-1] : len(second) - (second[-1] == first[0])], dtype=np.float64))
    return hulls


def _chain(xs, ys, side):
    """One side of a hull from top to bottom, as (x, y); `side` 1 for the left one."""
    chain = []
    for x, y in zip(xs, ys):
        while len(chain) > 1:
            (x1, y1), (x2, y2) = chain[-2:]
            if side * ((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)) < 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _batches(hulls, most=4_000_000):
    """Hulls of like size as one array: yields (their numbers, float (b, k, 2)), short ones filled up with their first point."""
    sizes = np.array([len(hull) for hull in hulls], dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < order.size:
        end = start + 1
        while end < order.size and (end - start) * sizes[order[end]] ** 2 < most and sizes[order[end]] <= 2 * sizes[order[start]] + 4:
            end += 1
        chosen = order[start:end]
        points = np.stack([np.concatenate([hulls[i], np.repeat(hulls[i][:1], sizes[chosen[-1]] - sizes[i], axis=0)]) for i in chosen])
        yield chosen, points
        start = end


def _ferets(hulls):
    """Largest and smallest caliper diameter of the pixels' squares.

    The hull of the squares is that of the centres widened by a unit square. So
    its width in a direction is that of the centres plus |cos| + |sin|; its
    smallest one is perpendicular to an edge, of the centres' hull or of the square.
    """
    largest, smallest = np.zeros(len(hulls)), np.zeros(len(hulls))
    for chosen, points in _batches(hulls):
        gaps = np.abs(points[:, :, None] - points[:, None]) + 1  # the farthest corners
        largest[chosen] = np.sqrt((gaps**2).sum(axis=3).max(axis=(1, 2)))
        edges = np.roll(points, -1, axis=1) - points
        normals = np.stack([-edges[..., 1], edges[..., 0]], axis=2)
        norm = np.hypot(*edges.transpose(2, 0, 1))
        normals = np.where(norm[..., None] > 0, normals / np.maximum(norm, 1e-12)[..., None], [1.0, 0.0])
        normals = np.concatenate([normals, np.broadcast_to(np.eye(2), (len(chosen), 2, 2))], axis=1)
        across = normals @ points.transpose(0, 2, 1)
        widths = across.max(axis=2) - across.min(axis=2) + np.abs(normals).sum(axis=2)
        smallest[chosen] = widths.min(axis=1)
    return largest, smallest


def _lattice_points(hulls):
    """Pixel centres within each hull, its boundary included, by Pick's theorem."""
    count = np.zeros(len(hulls))
    for chosen, points in _batches(hulls):
        after = np.roll(points, -1, axis=1)
        area = np.abs((points[..., 0] * after[..., 1] - after[..., 0] * points[..., 1]).sum(axis=1)) / 2
        on_edges = np.gcd(*np.abs(after - points).astype(np.int64).transpose(2, 0, 1)).sum(axis=1)
        # A hull without area is walked there and back; a single pixel has no edge.
        count[chosen] = area + on_edges / 2 + 1
    return count


def _fibres(labels, present, area, circularity):
    """Length, width, mean curvature (float, px) along the skeleton of elongated particles, and the reason where there is none."""
    results, why = np.full((3, area.size), np.nan), ["no length, width, curvature: not elongated"] * area.size
    # A rectangle of 3 to 1 has a circularity of 0.59, one of 2 to 1 of 0.7.
    chosen = np.flatnonzero((circularity < 0.7) & (area >= 12))
    if not chosen.size:
        return *results, why
    place = np.full(present.size, -1)
    place[np.flatnonzero(present)[chosen]] = np.arange(chosen.size)
    # Background between touching particles, so that their skeletons are apart.
    alone = (place[labels] >= 0) & (ndimage.maximum_filter(labels, 3) == labels)
    rows, columns = np.nonzero(skeletonize(alone))
    owner = place[labels[rows, columns]]
    size = np.bincount(owner, minlength=chosen.size)
    for own, path in _longest_paths(rows, columns, owner, labels.shape):
        i = chosen[own]
        results[:, i], why[i] = _along(rows[path], columns[path], alone, area[i], size[own])
    return *results, why


def _longest_paths(rows, columns, owner, shape):
    """Yields, for each particle, its number and the pixels of the longest of the shortest paths along its skeleton.

    Two sweeps: the farthest pixel from any one is an end, the farthest from that is the other.
    """
    number = np.full((shape[0] + 2, shape[1] + 2), -1)
    number[rows + 1, columns + 1] = np.arange(rows.size)
    starts, ends, weights = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = number[rows + 1 + down, columns + 1 + right]
        linked = (other >= 0) & (owner[other] == owner)
        starts.append(np.flatnonzero(linked))
        ends.append(other[linked])
        weights.append(np.full(ends[-1].size, np.hypot(down, right)))
    graph = coo_array((np.concatenate(weights), (np.concatenate(starts), np.concatenate(ends))), shape=(rows.size,) * 2).tocsr()
    first = np.unique(owner, return_index=True)[1]

    def farthest(distance):
        distance = np.where(np.isfinite(distance), distance, -1)
        order = np.lexsort((distance, owner))
        return order[np.r_[np.flatnonzero(np.diff(owner[order])), owner.size - 1]]

    tips = farthest(dijkstra(graph, directed=False, indices=first, min_only=True))
    distance, before, _ = dijkstra(graph, directed=False, indices=tips, min_only=True, return_predecessors=True)
    before = before.tolist()
    for tip in farthest(distance).tolist():
        path = [tip]
        while before[path[-1]] >= 0:
            path.append(before[path[-1]])
        yield int(owner[tip]), np.array(path)


def _along(rows, columns, inside, area, skeleton):
    """Length, width and mean curvature of one particle from the longest path of its skeleton, or NaN and why."""
    none = (np.nan,) * 3
    if rows.size < 5:
        return none, "no length, width, curvature: not elongated"
    knots, _ = interpolate.splprep(np.array([columns, rows], dtype=np.float64), s=0.3 * rows.size)
    at = np.linspace(0, 1, 4 * rows.size)
    (x, y), (x1, y1), (x2, y2) = (interpolate.splev(at, knots, der=order) for order in range(3))
    speed = np.hypot(x1, y1)
    arc = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(at))])
    thickness = area / arc[-1]
    length = arc[-1]
    for end, start in ((0, np.searchsorted(arc, thickness)), (-1, np.searchsorted(arc, arc[-1] - thickness))):
        start = min(max(start, 1), at.size - 2)
        length += _way_out(inside, x[end], y[end], x[end] - x[start], y[end] - y[start], 2 * thickness)
    width = area / length
    if length < ELONGATED * width:
        return none, "no length, width, curvature: not elongated"
    if skeleton - rows.size > max(1.5 * width, 0.25 * rows.size):
        return none, "no length, width, curvature: branched or closed"
    # Where an end is cut straight the skeleton bends to one of its corners.
    inner = (arc >= min(1.5 * width, 0.3 * arc[-1])) & (arc <= arc[-1] - min(1.5 * width, 0.3 * arc[-1]))
    bend = np.abs(x1 * y2 - y1 * x2) / np.maximum(speed, 1e-9) ** 3
    return (length, width, float((bend * speed)[inner].sum() / speed[inner].sum())), ""


def _way_out(inside, x, y, dx, dy, most):
    """How far it is from a point in a direction to the edge of the particle, px."""
    steps = np.arange(0.125, most, 0.25) / max(np.hypot(dx, dy), 1e-9)
    rows, columns = np.round(y + steps * dy).astype(int), np.round(x + steps * dx).astype(int)
    held = (rows >= 0) & (columns >= 0) & (rows < inside.shape[0]) & (columns < inside.shape[1])
    held[held] = inside[rows[held], columns[held]]
    return 0.25 * (held.size if held.all() else int(np.argmin(held)))


def table_text(table: dict, *, nm_per_px=None, scale_source: str = "") -> str:
    """The particle table as CSV text.

    Parameters
    ----------
    table : dict
        From `measure`.
    nm_per_px : float, optional
    scale_source : str
        Where the scale comes from, or why there is none. Both are written on
        every row; what is unknown is left empty, and `remarks` says why.
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
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return "" if value != value else f"{value:.6g}"


def write_table(path, table: dict, *, nm_per_px=None, scale_source: str = ""):
    """Write `table_text` to a file, whole or not at all."""
    write_text(path, table_text(table, nm_per_px=nm_per_px, scale_source=scale_source))


def read_table(path) -> dict:
    """Read a particle table that `write_table` wrote; what is empty becomes NaN.

    Returns
    -------
    dict
        The columns of `measure` as far as the file has them, and `nm_per_px`
        (float or None) and `scale_source`.
    """
    with explained(path), open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
    names = reader.fieldnames or []
    if not {"area_px", "on_border"} <= set(names):
        raise NanosynthError(f"{path}: not a particle table (it has no column area_px or on_border).", "Name a table that 'segment' wrote.")
    table = {}
    try:
        for name in names:
            cells = [line[name] for line in lines]
            if name in ("on_border", "touching"):
                table[name] = np.array([cell == "yes" for cell in cells], dtype=bool)
            elif name not in ("remarks", "scale_source"):
                table[name] = np.array([float(cell) if cell else np.nan for cell in cells])
    except (TypeError, ValueError) as error:
        raise NanosynthError(f"{path}: column {name} holds something that is not a number ({error}).", "Write the table again.") from error
    scale = table.pop("nm_per_px", np.zeros(0))
    table["nm_per_px"] = float(scale[0]) if scale.size and np.isfinite(scale[0]) else None
    table["scale_source"] = lines[0].get("scale_source", "") if lines else ""
    return table
