"""The pictures of a cross-validation: Figure 4 of Mill et al. 2021, a) the scores, b) examples."""

from __future__ import annotations

import numpy as np

from ..files import written_whole
from .evaluation import PAPER_HEADS
from .images import read_labels
from .pictures import overlay, stretched
from .realpairs import read_annotated
from .scale import resize

COLOURS = ("#1f5f8b", "#b5561c")
SHARES = ("precision", "recall", "accuracy", "f1", "ap")
"""Scores from 0 to 1, which share an axis."""
EXAMPLES = 3
PANEL_PX = 700


def draw_comparison(path, result: dict, cells, names):
    """The table, and below it every image's score as a dot beside the mean and its interval.

    Parameters
    ----------
    path : path-like
        PNG, SVG or PDF.
    result : dict
        From `crossvalidation.compare`.
    cells : list of list of (str, str)
        From `crossvalidation.cells`.
    names : list of str
        Of the rows.
    """
    figure = _figure(8.6, 5.0)
    above, below = figure.subfigures(2, 1, height_ratios=(0.36 + 0.12 * len(cells), 1.4))
    # Not a subplot: the layout would make room within it for texts that have their places.
    _table(above.add_axes((0.005, 0, 0.99, 1)), cells, names)
    left, middle, right = below.subplots(1, 3, width_ratios=(5, 1.3, 1.6))
    methods = list(result["methods"].items())
    for axes, keys in ((left, SHARES), (middle, ("warping_error",)), (right, ("n_predicted",))):
        for place, key in enumerate(keys):
            for i, (_, scores) in enumerate(methods):
                at = place + (i - (len(methods) - 1) / 2) * 0.36
                values = [row[key] * (1e6 if key == "warping_error" else 1) for row in scores["images"].values() if row[key] is not None]
                if not values:
                    continue
                spread = np.linspace(-0.09, 0.09, len(values)) if len(values) > 1 else [0]
                axes.plot(at + np.array(spread), values, ".", color=COLOURS[i], alpha=0.4, markersize=4, markeredgewidth=0)
                axes.plot([at - 0.14, at + 0.14], [np.mean(values)] * 2, color=COLOURS[i], lw=2)
                ends = scores["intervals"]["mean"].get(key)
                if ends:
                    factor = 1e6 if key == "warping_error" else 1
                    axes.plot([at, at], [end * factor for end in ends], color=COLOURS[i], lw=1)
        axes.set_xticks(range(len(keys)), [_pretty(PAPER_HEADS[key]) for key in keys])
        axes.set_xlim(-0.6, len(keys) - 0.4)
        axes.tick_params(labelsize=7.5)
        axes.grid(axis="y", color="#e3e3e3", lw=0.7)
        axes.set_axisbelow(True)
    left.set_ylim(top=1.01)
    manual = np.mean([row["n_truth"] for row in methods[0][1]["images"].values()])
    right.axhline(manual, color="#444444", lw=1, ls=":")
    for axes in (middle, right):
        axes.set_ylim(bottom=0)
    right.annotate("manual", (1, manual), xycoords=("axes fraction", "data"), fontsize=6.5, ha="right", va="bottom", color="#444444")
    for i, (name, _) in enumerate(methods):
        left.plot([], [], color=COLOURS[i], lw=2, label=_pretty(name))
    left.legend(loc="best", framealpha=0.8, edgecolor="none", fontsize=7.5)
    _save(figure, path)


def _table(axes, cells, names):
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    columns = np.linspace(0.24, 0.99, len(PAPER_HEADS))
    step = 1 / (len(cells) + 1)
    for x, head in zip(columns, PAPER_HEADS.values()):
        axes.text(x, 1 - 0.5 * step, _pretty(head), ha="right", va="center", color="#66727f", fontsize=7.5)
    axes.axhline(1 - 0.95 * step, color="#bbbbbb", lw=0.8)
    for place, (name, row) in enumerate(zip(names, cells), 1):
        y = 1 - (place + 0.38) * step
        axes.text(
            0,
            y,
            _pretty(name),
            ha="left",
            va="center",
            fontsize=8.5,
            color=COLOURS[place - 1] if place <= len(COLOURS) else "black",
            weight="bold",
        )
        for x, (value, ends) in zip(columns, row):
            axes.text(x, y, value, ha="right", va="center", fontsize=8.5)
            axes.text(x, y - 0.36 * step, ends, ha="right", va="center", fontsize=5.2, color="#66727f")


def draw_examples(path, items, folders: dict, result: dict):
    """Micrograph, annotation and what each network found, of a few images from the best to the worst by the first network's F1."""
    scores = next(iter(result["methods"].values()))["images"]
    ranked = sorted(items, key=lambda item: -scores[item.name]["f1"])
    chosen = [ranked[i] for i in np.unique(np.linspace(0, len(ranked) - 1, min(EXAMPLES, len(ranked))).round().astype(int))]
    columns = 2 + len(folders)
    figure = _figure(2.15 * columns, 1.75 * len(chosen) + 0.2)
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for place, (line, item) in enumerate(zip(grid, chosen)):
        pixels, truth, _, _ = read_annotated(item)
        height, width = truth.shape
        shrink = min(1.0, PANEL_PX / max(height, width))
        small = (round(height * shrink), round(width * shrink))
        near = np.ix_(*(((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(small, truth.shape)))
        grey = stretched(resize(pixels, small))
        panels = [("micrograph", np.repeat(np.uint8(grey * 255)[..., None], 3, -1)), ("annotation", overlay(grey, truth[near]))]
        for name, folder in folders.items():
            found = next((folder / "instances").glob(f"{_quoted(item.name)}.*"))
            panels.append((_pretty(name), overlay(grey, read_labels(found)[:height][near])))
        for axes, (name, picture) in zip(line, panels):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_title("" if place else name, fontsize=8)
        line[0].set_ylabel(item.name, fontsize=6.5)
    _save(figure, path)


def _quoted(name):
    from glob import escape

    return escape(name)


def _pretty(name):
    """Names with subscripts as the paper sets them."""
    head, _, tail = name.partition("_")
    if head == "U-Net":
        return rf"U-Net$_{{\mathrm{{{tail}}}}}$"
    return {"Warping/1e-6": "Warping / $10^{-6}$", "synth - real": "difference"}.get(name, name)


def _figure(width, height):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path):
    with written_whole(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None} if str(path).lower().endswith(".png") else None)
