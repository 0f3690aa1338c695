"""A report of a whole series in one HTML file: data set, training, segmentation, scores.

The file holds its pictures and its style sheet, needs nothing beside itself and
prints well. Everything in it is read from the folders that the verbs write
(`docs/architecture.md`).
"""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import NanosynthError, explained
from ..files import read_json, read_lines, write_text
from ..reporting import human_time
from ..synth.dataset import Dataset
from .images import read_micrograph
from .pictures import PALETTE, bins, colours

PAIRS = 4
EPOCHS = 6
WIDEST = 1000
"""Pictures wider than this (in px) are reduced; the originals lie in the result folders."""

INK, SOFT, ACCENT, SECOND = "#1d2935", "#66727f", "#1f5f8b", "#b5561c"


def write_report(out_html, *, dataset=None, run=None, segmentation=(), evaluation=None, title="Nanosynth report", lead=""):
    """Write the report. Every part is optional; what is not given is left out.

    Parameters
    ----------
    out_html : path-like
        The file to be written.
    dataset : path-like, optional
        Folder of a synthetic data set.
    run : path-like, optional
        Folder of a training run.
    segmentation : sequence of path-like
        Folders that `segment` wrote.
    evaluation : dict, optional
        What `evaluation.evaluate_folders` returns.
    title, lead : str
        Headline, and a paragraph below it.

    Raises
    ------
    NanosynthError
        If a folder is not what it should be.
    """
    data = Dataset.open(dataset) if dataset else None
    training = Training.read(run) if run else None
    results = [result for folder in segmentation for result in read_results(folder)]
    sections = [
        synthetic_section(data) if data else "",
        training_section(training) if training else "",
        validation_section(training) if training and training.pictures else "",
        real_section(results) if results else "",
        size_section(results) if results else "",
        score_section(evaluation) if evaluation else "",
        provenance_section(data, training),
    ]
    page = PAGE.format(
        title=escape(title),
        style=STYLE,
        lead=f'<p class="lead">{escape(lead)}</p>' if lead else "",
        facts=facts(data, training, results, evaluation),
        sections="\n".join(section for section in sections if section),
    )
    write_text(out_html, page)


# What is read


@dataclass
class Training:
    """A run, as the report needs it."""

    info: dict
    history: list
    chosen: int | None
    pictures: dict[str, dict[int, Path]]
    settings: str

    @classmethod
    def read(cls, folder) -> Training:
        folder = Path(folder)
        if not (folder / "run.json").is_file():
            raise NanosynthError(f"{folder}: not a training run (it has no run.json).", "Name the folder that `train --out` wrote.")
        pictures = {}
        for path in sorted((folder / "validation").glob("*_*.png")):
            epoch, _, name = path.stem.partition("_")
            if epoch.isdigit():
                pictures.setdefault(name, {})[int(epoch)] = path
        selected = folder / "selected.json"
        return cls(
            info=read_json(folder / "run.json"),
            history=read_lines(folder / "history.jsonl"),
            chosen=read_json(selected)["epoch"] if selected.is_file() else None,
            pictures=pictures,
            settings=read_text(folder / "settings.toml"),
        )


@dataclass
class Result:
    """The segmentation of one image, as the report needs it."""

    folder: Path
    info: dict
    sizes: np.ndarray = field(repr=False)
    """Square root of each particle's area, in `unit`, without those that the border cuts."""

    @property
    def name(self) -> str:
        return self.info["name"]

    @property
    def nm_per_px(self) -> float | None:
        return self.info["nm_per_px"]

    @property
    def unit(self) -> str:
        return "nm" if self.nm_per_px else "px"

    def file(self, role) -> Path:
        return self.folder / self.info["files"][role]


def read_results(folder) -> list[Result]:
    """The images of a segmentation; those that could not be segmented are left out."""
    folder = Path(folder)
    index = folder / "segmentation.json"
    if not index.is_file():
        raise NanosynthError(f"{folder}: not a segmentation (it has no {index.name}).", "Name the folder that `segment --out` wrote.")
    entries = [entry for entry in read_json(index)["images"] if "error" not in entry]
    return [
        Result(folder, entry, read_sizes(folder / entry["files"]["particles"], "nm" if entry["nm_per_px"] else "px")) for entry in entries
    ]


def read_sizes(path, unit) -> np.ndarray:
    """Square roots of the areas in a particle table, of the particles that lie wholly in the image."""
    with explained(path), open(path, newline="", encoding="utf-8") as file:
        return np.array([float(row[f"sqrt_area_{unit}"]) for row in csv.DictReader(file) if row["on_border"] == "no"])


def read_text(path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


# Sections


def facts(data, training, results, evaluation) -> str:
    """The few numbers at the top."""
    cells = []
    if data:
        cells.append((f"{len(data.records)}", "synthetic pairs"))
    if training and training.history:
        cells.append((human_time(sum(line["seconds"] for line in training.history)), f"training, {len(training.history)} epochs"))
    if results:
        cells.append((f"{sum(result.info['particles'] for result in results):,}", f"particles in {len(results)} real images"))
    if evaluation:
        cells.append((f"{evaluation['overall']['instance_f1']:.3f}", "instance F1 against people's annotation"))
    return "".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in cells)


def synthetic_section(data: Dataset) -> str:
    recipe = data.recipe
    indices = sorted(data.records)
    shown = [indices[round(i)] for i in np.linspace(0, len(indices) - 1, min(PAIRS, len(indices)))]
    rows = []
    for index in shown:
        image, label, instances = data.read(index)
        record = data.records[index]
        count = len(record["particles"]["id"])
        side = record["nm_per_pixel"] * len(image)
        caption = f"Scene {index}: {count} particles in a field of {side:.0f} nm, {record['nm_per_pixel']:.3g} nm per pixel."
        rows.append(
            '<div class="row three">'
            + figure(jpeg(image), f"Synthetic micrograph of scene {index}", caption)
            + figure(png(label), f"Training label of scene {index}", "Training label: particles white, opened where they touch.")
            + figure(png(tinted(instances)), f"Instances of scene {index}", "Instances: every visible particle, whole.")
            + "</div>"
        )
    text = (
        f"<p>The network has seen rendered scenes only. The recipe <i>{escape(recipe.name)}</i> (seed {recipe.seed}) describes them; "
        f"{len(indices)} scenes of {recipe.camera.image_px} × {recipe.camera.image_px} pixels were rendered with Blender {escape(str(data.info['blender']))}. "
        "Micrograph and labels come from two renders of the same scene, so the labels need no annotation.</p>"
    )
    return section("Synthetic training data", text + "".join(rows))


def training_section(training: Training) -> str:
    history = training.history
    if not history:
        return section("Training", "<p>No epoch is finished yet.</p>")
    minutes = human_time(sum(line["seconds"] for line in history))
    text = f"<p>{len(history)} epochs in {minutes}; the loss went from {history[0]['loss']:.3f} to {history[-1]['loss']:.3f}."
    if training.chosen is not None:
        text += f" Epoch {training.chosen} was selected."
    return section("Training", text + "</p>" + figure(curve_picture(training), "Loss by epoch", "Training loss by epoch.", "plot"))


def validation_section(training: Training) -> str:
    parts = [
        "<p>Predictions on a real image that the network never trained on, drawn after each epoch. "
        "They are what one selects an epoch by when there is no annotation: the micrograph, the probability, the particles found.</p>"
    ]
    for name, pictures in training.pictures.items():
        shown = spread(sorted(pictures), EPOCHS, training.chosen)
        cells = []
        for epoch in shown:
            mark = " (selected)" if epoch == training.chosen else ""
            cells.append(figure(jpeg(read_picture(pictures[epoch])), f"Prediction on {name} after epoch {epoch}", f"Epoch {epoch}{mark}"))
        parts.append(f'<h3>{escape(name)}</h3>{"".join(cells)}')
    return section("Validation by epoch", "".join(parts))


def spread(epochs, count, chosen) -> list[int]:
    """At most `count` epochs, denser at the start where more changes; the chosen one among them."""
    if len(epochs) <= count:
        return epochs
    places = []
    for place in np.round(np.geomspace(1, len(epochs), count)).astype(int) - 1:
        places.append(max(place, places[-1] + 1) if places else place)
    shown = {epochs[place] for place in places}
    if chosen in epochs and chosen not in shown:
        shown.discard(min(shown - {epochs[0], epochs[-1]}, key=lambda epoch: abs(epoch - chosen)))
        shown.add(chosen)
    return sorted(shown)


def real_section(results) -> str:
    parts = ["<p>Each real micrograph with the particles that were found in it, neighbours in different colours.</p>"]
    for result in results:
        info = result.info
        micrograph = read_micrograph(info["image"], crop_bottom=0)
        pixels = np.round(micrograph.pixels * 255).astype(np.uint8)
        notes = "".join(f" Doubt: {text}." for text in info["warnings"])
        parts.append(
            f'<article><h3>{escape(result.name)}</h3><div class="row two">'
            + figure(jpeg(pixels), f"Micrograph {result.name}", f"{pixels.shape[1]} × {pixels.shape[0]} px. {scale_text(info)}")
            + figure(
                jpeg(read_picture(result.file("overlay"))),
                f"Particles found in {result.name}",
                f"{info['particles']} particles, found in {info['seconds']:.0f} s. {zoom_text(info)}{notes}",
            )
            + "</div></article>"
        )
    return section("Real micrographs", "".join(parts))


def scale_text(info) -> str:
    if not info["nm_per_px"]:
        return "Scale not known."
    return f"{info['nm_per_px']:.4g} nm per pixel ({info['nm_per_px_source']})."


def zoom_text(info) -> str:
    scale = info["scale"]
    how = {"search": "found by a search", "diameter": "from the given particle diameter", "nm per pixel": "from the nm per pixel"}[
        scale["source"]
    ]
    return f"Zoom {scale['zoom']:.3g} {how}: particles of {scale['diameter_px']:.0f} px are brought to the training size."


def size_section(results) -> str:
    text = (
        "<p>Size is the square root of a particle's visible area; particles cut by the image border are left out of sizes, "
        "not of counts. The spread is half the distance of the 16th and 84th percentiles over the median.</p>"
    )
    rows = []
    for result in results:
        sizes = result.sizes
        numbers = ["–"] * 3
        if len(sizes):
            low, median, high = np.percentile(sizes, [16, 50, 84])
            numbers = [
                f"{median:.1f} {result.unit}",
                f"{2 / np.sqrt(np.pi) * median:.1f} {result.unit}",
                f"{(high - low) / 2 / median:.0%}",
            ]
        rows.append([result.name, f"{result.info['particles']}", f"{len(sizes)}", *numbers])
    header = ["Image", "Particles", "of them whole", "Median √area", "as diameter of a disc", "Spread"]
    picture = figure(
        size_picture(results), "Size distributions", "Number of particles by square root of area. The line marks the median.", "plot"
    )
    return section("Size distributions", text + picture + table(header, rows))


def score_section(evaluation) -> str:
    text = (
        "<p>Compared with an annotation made by people, on valid pixels: precision to IoU by pixel, the others by particle. "
        "A particle counts as found if it overlaps an annotated one with an intersection over union (IoU) of at least 0.5.</p>"
    )
    names = {
        "precision": "Precision", "recall": "Recall", "accuracy": "Accuracy", "f1": "F1", "iou": "IoU",
        "instance_f1": "Instance F1", "ap50": "AP50", "n_truth": "Annotated", "n_predicted": "Found",
    }  # fmt: skip
    images = dict(evaluation["images"])
    if len(images) > 1:
        images["all together"] = evaluation["overall"]
    rows = [[name, *(number(scores[key]) for key in names)] for name, scores in images.items()]
    return section("Scores", text + table(["Image", *names.values()], rows))


def number(value) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}"


def provenance_section(data, training) -> str:
    rows, texts = [], []
    if data:
        rows += [["Nanosynth", data.info["nanosynth"]], ["Blender", str(data.info["blender"])], ["Recipe", data.info["recipe"][:16]]]
        texts.append(("Recipe", read_text(data.path / "recipe.toml")))
    if training:
        rows += [[f"Training: {name}", str(version)] for name, version in training.info.get("versions", {}).items()]
        rows += [[f"Training: {name}", str(training.info[name])] for name in ("commit", "command") if training.info.get(name)]
        texts.append(("Training settings", training.settings))
    if not rows:
        return ""
    details = "".join(f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>" for name, text in texts if text)
    return section("Versions and settings", f'<div class="plain">{table(["What", "Which"], rows)}</div>{details}')


# Plots


def curve_picture(training: Training) -> str:
    figure_, axes = plot(7.2, 2.6)
    epochs = [line["epoch"] for line in training.history]
    axes.plot(epochs, [line["loss"] for line in training.history], color=ACCENT, lw=1.4)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss", color=ACCENT)
    scored = [(line["epoch"], line["f1"]) for line in training.history if line.get("f1") is not None]
    if scored:
        right = axes.twinx()
        right.plot(*zip(*scored, strict=True), color=SECOND, lw=1.2)
        right.set_ylabel("validation F1", color=SECOND)
        right.set_ylim(top=1)
        right.spines["top"].set_visible(False)
    if training.chosen is not None:
        axes.axvline(training.chosen, color=SOFT, lw=1, ls=":")
        axes.annotate(
            f"epoch {training.chosen}", (training.chosen, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=SOFT
        )
    return svg(figure_)


def size_picture(results) -> str:
    from matplotlib.figure import Figure

    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    with style():
        figure_ = Figure(figsize=(2.9 * columns, 1.9 * rows), layout="constrained")
        for place, result in enumerate(results, 1):
            axes = figure_.add_subplot(rows, columns, place)
            sizes = result.sizes
            if len(sizes):
                axes.hist(sizes, bins=bins(sizes), color=ACCENT, alpha=0.75, edgecolor="white", lw=0.4)
                axes.axvline(np.median(sizes), color=SECOND, lw=1.2)
            if not len(sizes) or sizes.min() < 0.4 * sizes.max():
                axes.set_xlim(left=0)
            axes.set_title(result.name, loc="left", color=INK)
            axes.set_xlabel(f"√area ({result.unit})")
            axes.yaxis.get_major_locator().set_params(integer=True)
        return svg(figure_)


def plot(width, height):
    from matplotlib.figure import Figure

    with style():
        figure_ = Figure(figsize=(width, height), layout="constrained")
        return figure_, figure_.add_subplot()


def style():
    from matplotlib import rc_context

    return rc_context({
        "font.size": 8, "axes.edgecolor": SOFT, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "axes.linewidth": 0.6,
        "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
        "svg.hashsalt": "nanosynth",
    })  # fmt: skip


def svg(figure_) -> str:
    buffer = io.BytesIO()
    with style():
        figure_.savefig(buffer, format="svg", metadata={"Date": None})
    return inline("svg+xml", buffer.getvalue())


# Pictures


def read_picture(path) -> np.ndarray:
    with explained(path), Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def tinted(labels) -> np.ndarray:
    """Each particle in a colour that no neighbour has, on black; uint8 (H, W, 3)."""
    palette = np.uint8(PALETTE[colours(labels)])
    palette[0] = 0
    return palette[labels]


def inline(kind, data) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def encoded(pixels, resample, kind, **options) -> str:
    picture = Image.fromarray(pixels)
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), resample)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return inline(kind, buffer.getvalue())


def jpeg(pixels) -> str:
    return encoded(pixels, Image.Resampling.LANCZOS, "jpeg", quality=85)


def png(pixels) -> str:
    """For flat colours, which JPEG would fray."""
    return encoded(pixels, Image.Resampling.NEAREST, "png", optimize=True)


# HTML


def section(title, body) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def figure(source, alternative, caption, kind="picture") -> str:
    return f'<figure class="{kind}"><img src="{source}" alt="{escape(alternative)}"><figcaption>{escape(caption)}</figcaption></figure>'


def table(header, rows) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


STYLE = """
:root { color-scheme: light; --ink: #1d2935; --soft: #66727f; --line: #dde3e8; --accent: #1f5f8b; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; counter-reset: section; }
header p.mark { margin: 0; color: var(--accent); font-size: .8rem; letter-spacing: .14em; text-transform: uppercase; }
h1 { margin: .2rem 0 .8rem; font-size: 2.1rem; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; }
h2 { margin: 0 0 .6rem; padding-top: 1.1rem; border-top: 1px solid var(--line); font-size: 1.3rem; font-weight: 600; }
h2::before { counter-increment: section; content: counter(section) "  "; white-space: pre; color: var(--accent); font-weight: 400; }
h3 { margin: 1.2rem 0 .4rem; font-size: 1rem; font-weight: 600; }
p { max-width: 46rem; margin: 0 0 1rem; }
.lead { font-size: 1.1rem; color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: .8rem 3rem; margin: 1.6rem 0 2.6rem; }
.facts b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
.facts span { color: var(--soft); font-size: .85rem; }
section { margin-bottom: 2.6rem; }
.row { display: grid; gap: .9rem; margin-bottom: .9rem; }
.two { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.three { grid-template-columns: repeat(3, minmax(0, 1fr)); }
figure { margin: 0; }
.plot { max-width: 58rem; margin-bottom: 1rem; overflow-x: auto; }
.plot img { min-width: 36rem; }
img { display: block; width: 100%; height: auto; }
figcaption { margin-top: .3rem; color: var(--soft); font-size: .82rem; line-height: 1.4; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1.4rem .3rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .plain th, .plain td { text-align: left; }
.plain td:last-child { white-space: normal; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; }
details { margin-top: .8rem; }
summary { cursor: pointer; color: var(--accent); }
pre { overflow-x: auto; padding: .8rem 1rem; background: #f5f7f9; font-size: .78rem; line-height: 1.45; }
@media (max-width: 40rem) {
  main { padding: 1.4rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .two { grid-template-columns: minmax(0, 1fr); }
  .three { gap: .4rem; }
  .three figcaption { font-size: .7rem; }
  .facts { gap: .8rem 1.6rem; }
}
@media print {
  @page { margin: 16mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .row, figure, tr, article { break-inside: avoid; }
  h2, h3, section > p { break-after: avoid; }
  .scroll, .plot { overflow: visible; }
  .plot img { min-width: 0; }
  table { font-size: 8.5pt; }
  th, td { padding-right: 1rem; }
  details:not([open]) { display: none; }
}
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<p class="mark">Nanosynth</p>
<h1>{title}</h1>
{lead}
<div class="facts">{facts}</div>
</header>
{sections}
</main>
</body>
</html>
"""
