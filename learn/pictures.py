"""Pictures for people: particles coloured on the micrograph, and the size histogram."""

from __future__ import annotations

import heapq

import numpy as np
from scipy import ndimage

from ..files import written_whole

_BASE = np.array(
    [
        (255, 92, 66),
        (64, 180, 255),
        (255, 208, 40),
        (70, 210, 110),
        (200, 110, 255),
        (255, 150, 30),
        (40, 224, 216),
        (255, 105, 185),
        (176, 228, 50),
        (118, 132, 255),
    ],
    dtype=np.float32,
)
PALETTE = np.concatenate([_BASE, 0.62 * _BASE, 0.5 * _BASE + 127.5]).astype(np.float32)
"""Colours of particles, RGB 0 to 255, light enough for dark micrographs. The darker and paler ones from
`PLENTY` on are for particles of a few pixels, which may have more than `PLENTY` neighbours."""
PLENTY = len(_BASE)
PARTS = 10
"""Into so many rows and columns an image is divided to give particles their colours."""
EDGE_PX = 5
"""What Blender leaves free at each side of a picture that it fits into an image editor."""


BAR_COLOUR, MEDIAN_COLOUR = "#3b7dd8", "#c2334d"


def neighbours(labels, reach: int = 2) -> np.ndarray:
    """The pairs of labels that have pixels within `reach` px of each other (in rows, columns and diagonals).

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.

    Returns
    -------
    numpy.ndarray
        int (P, 2), the smaller label first, each pair once.
    """
    labels = np.asarray(labels)
    height, width = labels.shape
    found = []
    for down in range(reach + 1):
        for right in range(-reach if down else 1, reach + 1):
            if down >= height or abs(right) >= width:
                continue
            a = labels[: height - down, max(-right, 0) : width - max(right, 0)]
            b = labels[down:, max(right, 0) : width + min(right, 0)]
            meet = (a != b) & (a > 0) & (b > 0)
            found.append(np.sort(np.stack([a[meet], b[meet]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), dtype=labels.dtype)


def colours(labels) -> np.ndarray:
    """A colour number for each label, so that particles that touch never share one.

    Greedy colouring, smallest degree last (Matula and Beck 1983), which needs at
    most six colours where the neighbourhoods can be drawn in the plane. Of the
    first `PLENTY` colours that are free, one that no particle nearby has is taken
    if there is any, and of these the one next after that of the particle's place
    in the image: so a particle keeps its colour where others come and go, or the
    same is found in an image of another size.

    Returns
    -------
    numpy.ndarray
        int (highest label + 1,), the place in `PALETTE`.
    """
    labels = np.asarray(labels)
    count = int(labels.max(initial=0)) + 1
    touching, near = [set() for _ in range(count)], [set() for _ in range(count)]
    step = max(1, min(labels.shape) // 200)
    for around, pairs in ((touching, neighbours(labels)), (near, neighbours(labels[::step, ::step], 3))):
        for a, b in pairs.tolist():
            around[a].add(b)
            around[b].add(a)
    preferred, colour = _colours_of_places(labels), [-1] * count
    for i in reversed(_smallest_degree_first(touching)):
        taken = {colour[other] for other in touching[i]}
        close = {colour[other] for other in near[i]}
        colour[i] = min(range(len(PALETTE)), key=lambda c: (c in taken, c >= PLENTY, c in close, (c - preferred[i]) % PLENTY))
    return np.array(colour)


def _colours_of_places(labels) -> list[int]:
    """For each label from 0 on the colour, below `PLENTY`, of the part of the image that the middle of its bounding box is in."""
    boxes = [box or (slice(0, 0), slice(0, 0)) for box in [None, *ndimage.find_objects(labels)]]
    places = ([(at.start + at.stop) * PARTS // (2 * side) for at, side in zip(box, labels.shape)] for box in boxes)
    return [(7 * row + 3 * column) % PLENTY for row, column in places]


def _smallest_degree_first(around):
    """The order in which nodes go when that with the fewest neighbours left always goes next."""
    degree = [len(others) for others in around]
    queue = [(d, i) for i, d in enumerate(degree)]
    heapq.heapify(queue)
    order, gone = [], [False] * len(around)
    while queue:
        d, i = heapq.heappop(queue)
        if gone[i] or d != degree[i]:
            continue
        gone[i] = True
        order.append(i)
        for other in around[i]:
            if not gone[other]:
                degree[other] -= 1
                heapq.heappush(queue, (degree[other], other))
    return order


def stretched(pixels) -> np.ndarray:
    """The micrograph between its 0.5th and 99.5th percentile; float32 (H, W) in [0, 1]."""
    low, high = np.percentile(pixels, [0.5, 99.5])
    return np.clip((np.asarray(pixels, dtype=np.float32) - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def overlay(pixels, labels, *, opacity: float = 0.35) -> np.ndarray:
    """The micrograph with its particles tinted and outlined.

    Parameters
    ----------
    pixels : numpy.ndarray
        float (H, W), the micrograph.
    labels : numpy.ndarray
        int (H, W), 0 background.
    opacity : float
        Of the tint; the outline is opaque.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3).
    """
    labels = np.asarray(labels)
    grey = stretched(pixels)[..., None] * np.float32(255)
    tint = PALETTE[colours(labels)][labels]
    thickness = max(1, round(min(labels.shape) / 700))
    inner = ndimage.minimum_filter(labels, 2 * thickness + 1, mode="nearest")
    outer = ndimage.maximum_filter(labels, 2 * thickness + 1, mode="nearest")
    outline = (labels > 0) & ((inner != labels) | (outer != labels))
    # Of a colour the darker parts are kept dark, so that the micrograph's relief shows through the tint.
    weight = np.where(outline, 1.0, np.where(labels > 0, opacity, 0.0)).astype(np.float32)[..., None]
    relief = np.where(outline[..., None], 1.0, 0.35 + 0.65 * grey / 255)
    return np.round(grey * (1 - weight) + tint * relief * weight).clip(0, 255).astype(np.uint8)


def tinted(labels, ground: int = 0) -> np.ndarray:
    """Each particle in a colour that no neighbour has, on a ground of one grey; uint8 (H, W, 3)."""
    palette = np.uint8(PALETTE[colours(labels)])
    palette[0] = ground
    return palette[labels]


def roomiest(labels):
    """Where a number fits best in each particle: the middle of the largest disc in it.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W), 0 background.

    Returns
    -------
    numbers : numpy.ndarray
        int (N,), rising.
    x, y, radius : numpy.ndarray
        float (N,), px.
    """
    labels = np.asarray(labels)
    numbers = np.flatnonzero(np.bincount(labels.ravel(), minlength=1))
    numbers = numbers[numbers > 0]
    if not numbers.size:
        return numbers, *np.zeros((3, 0))
    padded = np.pad(labels, 1)
    inner = (ndimage.minimum_filter(padded, 3) == padded) & (ndimage.maximum_filter(padded, 3) == padded)
    depth = ndimage.distance_transform_edt(inner)[1:-1, 1:-1]
    places = np.array(ndimage.maximum_position(depth + 1e-9, labels, numbers))
    return numbers, places[:, 1].astype(float), places[:, 0].astype(float), depth[tuple(places.T)] + 0.5


def size_histogram(path, table, *, title: str = ""):
    """Draw the distribution of the square root of the particle areas, as Figure 5 of Mill et al. 2021.

    In nm where the table has them, else in px. Particles that the image border
    cuts have no true size and are left out, unless there are no others; the
    picture says how many.

    Parameters
    ----------
    path : path-like
        PNG (or SVG, PDF) to be written.
    table : dict
        From `particles.measure`.
    title : str
        Such as the micrograph's name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    unit = "nm" if len(table["sqrt_area_nm"]) and np.isfinite(table["sqrt_area_nm"]).all() else "px"
    sizes, cut = np.asarray(table[f"sqrt_area_{unit}"]), np.asarray(table["on_border"], dtype=bool)
    if cut.all():
        cut = np.zeros_like(cut)
    sizes = sizes[~cut]
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lines = [(f"$N_p$ = {sizes.size}", 12, "black")]
    if sizes.size:
        axes.hist(sizes, bins=bins(sizes), color=BAR_COLOUR, edgecolor="white", linewidth=0.6, zorder=2)
        axes.axvline(np.median(sizes), color=MEDIAN_COLOUR, linewidth=1.4, zorder=3)
        lines.append((f"median {np.median(sizes):.4g} {unit}", 10, MEDIAN_COLOUR))
    if cut.any():
        lines.append((f"{np.count_nonzero(cut)} cut by the border left out", 8, "#555555"))
    axes.set_xlim(left=0)
    # The words stand in the half that has fewer bars.
    left = bool(sizes.size) and np.median(sizes) > axes.get_xlim()[1] / 2
    for i, (line, size, colour) in enumerate(lines):
        axes.text(
            0.03 if left else 0.985,
            0.97 - 0.08 * i,
            line,
            fontsize=size,
            color=colour,
            transform=axes.transAxes,
            ha="left" if left else "right",
            va="top",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
            zorder=4,
        )
    axes.set_xlabel(rf"$\sqrt{{\mathrm{{particle\ area}}}}$ / {unit}")
    axes.set_ylabel("number of particles")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontsize=10, color="#555555", parse_math=False)
    with written_whole(path) as temporary:
        # Without the library's version in the file, the same sizes give the same bytes.
        figure.savefig(temporary, metadata={"Software": None} if str(path).lower().endswith(".png") else None)


SIZE_NAMES = {
    "diameter": "equivalent circular diameter",
    "sqrt_area": r"$\sqrt{\mathrm{particle\ area}}$",
    "max_feret": "maximum Feret diameter",
    "min_feret": "minimum Feret diameter",
    "length": "length along the skeleton",
    "width": "width",
}
MODEL_COLOURS = {"normal": "#8a6fd1", "lognormal": "#c2334d", "bimodal": "#1f8f6b"}


def draw_distribution(axes, result: dict, *, size: str = "diameter"):
    """Draw a size distribution: histogram, kernel estimate and fits, the best by BIC as a full line.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    result : dict
        From `distributions.distribution`.
    size : str
        Which size it is of; key of `SIZE_NAMES`.
    """
    unit = result["unit"]
    if result["histogram"]:
        edges, density = (np.array(result["histogram"][key]) for key in ("edges", "density"))
        axes.stairs(density, edges, fill=True, color=BAR_COLOUR, alpha=0.45, label="histogram", zorder=2)
    if result["kde"]:
        axes.plot(result["grid"], result["kde"], color="#333333", linewidth=1.0, label="kernel estimate", zorder=3)
    for name, fit in result["fits"].items():
        if "density" in fit:
            best = name == result["best"]
            label = f"{name.replace('logn', 'log-n')}, KS p = {fit['ks_p']:.2f}" + (" (best by BIC)" if best else "")
            style = {"linewidth": 1.8} if best else {"linewidth": 0.9, "linestyle": (0, (4, 2))}
            axes.plot(result["grid"], fit["density"], color=MODEL_COLOURS[name], label=label, zorder=5 if best else 4, **style)
    if not result["histogram"]:
        axes.text(0.5, 0.5, "no whole particle", transform=axes.transAxes, ha="center", va="center", color="#888888")
    axes.set_xlabel(f"{SIZE_NAMES[size]} / {unit}")
    axes.set_ylabel(f"{result['weight']} density / {unit}$^{{-1}}$")
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def distribution_picture(path, result: dict, *, size: str = "diameter", title: str = ""):
    """Write `draw_distribution` with the summary values beside it.

    Parameters
    ----------
    path : path-like
        PNG (or SVG, PDF) to be written.
    result : dict
        From `distributions.distribution`.
    size : str
        Which size it is of; key of `SIZE_NAMES`.
    title : str
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_distribution(axes, result, size=size)
    unit = result["unit"]
    lines = [f"$N_p$ = {result['particles']}"]
    lines += [f"{result['cut']} cut by the border left out"] if result["cut"] else []
    for name, shown in (("d10", "$D_{10}$"), ("d50", "$D_{50}$"), ("d90", "$D_{90}$"), ("mean", "mean"), ("sd", "SD")):
        value = result["statistics"][name]
        if value["value"] is not None:
            span = "" if value["low"] is None else f"  [{value['low']:.3g}, {value['high']:.3g}]"
            lines.append(f"{shown} = {value['value']:.4g} {unit}{span}")
    axes.text(
        0.985,
        0.97,
        "\n".join(lines),
        fontsize=8,
        transform=axes.transAxes,
        ha="right",
        va="top",
        linespacing=1.4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
        zorder=6,
    )
    if axes.get_legend_handles_labels()[0]:
        axes.set_ylim(top=axes.get_ylim()[1] * 1.35)
        axes.legend(loc="upper left", fontsize=7, frameon=False)
    axes.set_xlim(left=0)
    if title:
        axes.set_title(title, loc="left", fontsize=10, color="#555555", parse_math=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None} if str(path).lower().endswith(".png") else None)


def bins(sizes) -> np.ndarray:
    """Edges of 12 to 60 equal bins from 0, their width by the rule of Freedman and Diaconis (1981)."""
    top = float(np.max(sizes)) * 1.0001
    low, high = np.percentile(sizes, [25, 75])
    width = 2 * (high - low) / np.cbrt(len(sizes)) or top / 20
    return np.linspace(0, top, int(np.clip(np.ceil(top / width), 12, 60)) + 1)
