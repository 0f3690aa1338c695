"""A report of a series for a reader and a reviewer: images, particles, sizes, settings, where everything comes from.

What is said is put together here as blocks; `document` makes one HTML file of
them that needs nothing beside itself, `document_pdf` a PDF. Everything is read
from the folders that the verbs write (`docs/architecture.md`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from .. import __version__
from ..errors import NanosynthError, explained
from ..fields import compact, specs
from ..files import read_json, sha256, write_bytes, write_text
from ..reporting import Reporter, human_time
from ..synth.dataset import Dataset
from .distributions import FEWEST_IMAGES, WEIGHTS, Sample, distribution, sample_of
from .document import (
    ACCENT,
    PAGE_PT,
    SECOND,
    SOFT,
    Facts,
    Heading,
    Listing,
    Mark,
    Notices,
    Paragraph,
    Picture,
    Plot,
    Row,
    Table,
    encoded_jpeg,
    encoded_png,
    html,
    plot_style,
)
from .images import read_labels, read_micrograph
from .particles import read_table
from .pictures import SIZE_NAMES, draw_distribution, overlay, roomiest, tinted
from .run import Run
from .segmentation import SegmentationOptions

PAIRS = 3
EPOCHS = 6
WIDE, WIDE_OF_MANY, MANY = 1600, 1000, 30
"""Pictures wider than this (in px) are reduced, more so in a series of many; the originals lie in the result folders."""
LEAST_PT, LARGEST_PT = 3.4, 7.0
"""Numbers on particles, in print. A particle that has no room for the least goes without."""
DIGIT = 0.6
"""Width of a digit by its size."""
SIZE_WORDS = {
    "diameter": "equivalent circular diameter",
    "sqrt_area": "square root of the projected area",
    "max_feret": "maximum Feret diameter",
    "min_feret": "minimum Feret diameter",
    "length": "length along the skeleton",
    "width": "width",
}
assert SIZE_WORDS.keys() == SIZE_NAMES.keys()


def write_report(
    out,
    *,
    segmentation=(),
    dataset=None,
    run=None,
    evaluation=None,
    title="Nanosynth report",
    lead="",
    size: str = "diameter",
    border_correction: bool = False,
    repeats: int = 1000,
    seed: int = 0,
    reporter: Reporter | None = None,
):
    """Write the report. Every part is optional; what is not given is left out.

    Parameters
    ----------
    out : path-like or sequence of path-like
        Files to be written, each ending in .html or .pdf.
    segmentation : sequence of path-like
        Folders that `segment` wrote; together they are the series.
    dataset, run : path-like, optional
        Folder of a synthetic data set, of a training run.
    evaluation : dict, optional
        What `evaluation.evaluate_folders` returns.
    title, lead : str
        Headline, and a paragraph below it.
    size, border_correction, repeats, seed
        Of the size distributions; see `distributions.analyse`.
    reporter : Reporter, optional

    Raises
    ------
    NanosynthError
        If a folder is not what it should be, or a PDF is asked for and its packages are missing.
    """
    outs = [Path(path) for path in ([out] if isinstance(out, (str, Path)) else out)]
    for path in outs:
        if path.suffix.lower() not in (".html", ".htm", ".pdf"):
            raise NanosynthError(f"{path}: a report is an .html or a .pdf file.", "Let the name end in one of these.")
    reporter = reporter or Reporter()
    data = Dataset.open(dataset) if dataset else None
    training = Training.read(run) if run else None
    series = read_series(segmentation)
    reporter.started("report", text=f"Reporting on {len(series.images)} image{'s' * (len(series.images) != 1)}", images=len(series.images))
    sizes = series_sizes(series, size, border_correction, repeats, seed, reporter) if series.images else None
    blocks = [Paragraph(lead, "lead")] * bool(lead)
    blocks += facts(data, training, series, sizes, evaluation)
    remarks = notices(series, data=data, training=training, evaluation=evaluation)
    blocks += [Notices(tuple(remarks))] * bool(remarks)
    if series.images:
        blocks += size_section(series, sizes, size)
        for done, image in enumerate(series.images, 1):
            blocks += image_blocks(image, sizes, size, first=done == 1, widest=WIDE if len(series.images) <= MANY else WIDE_OF_MANY)
            reporter.progress(len(series.images) + done, 2 * len(series.images), image.name)
    blocks += score_section(evaluation) if evaluation else []
    blocks += synthetic_section(data) if data else []
    blocks += training_section(training) if training else []
    blocks += provenance_section(series, data, training)
    for path in outs:
        if path.suffix.lower() == ".pdf":
            from .document_pdf import pdf

            write_bytes(path, pdf(title, blocks))
        else:
            write_text(path, html(title, blocks))
        reporter.artifact(path, "report")
    reporter.done(out=[str(path) for path in outs], text=f"The report is {' and '.join(map(str, outs))}.")


# What is read


@dataclass
class Training:
    """A run, as the report needs it."""

    run: Run
    history: list
    pictures: dict[str, dict[int, Path]]

    @property
    def info(self) -> dict:
        return self.run.info

    @property
    def chosen(self) -> int | None:
        selected = self.run.selected()
        return selected["epoch"] if selected else None

    @classmethod
    def read(cls, folder) -> Training:
        run = Run.open(folder)
        pictures = {}
        for path in sorted((run.path / "validation").glob("*_*.png")):
            epoch, _, name = path.stem.partition("_")
            if epoch.isdigit():
                pictures.setdefault(name, {})[int(epoch)] = path
        return cls(run, run.history(), pictures)


@dataclass
class Found:
    """The particles found in one image."""

    folder: Path
    info: dict
    name: str

    @property
    def nm_per_px(self) -> float | None:
        return self.info["nm_per_px"]

    @property
    def unit(self) -> str:
        return "nm" if self.nm_per_px else "px"

    @cached_property
    def table(self) -> dict:
        return read_table(self.file("particles"))

    @cached_property
    def labels(self) -> np.ndarray:
        return read_labels(self.file("instances"))

    @cached_property
    def lost(self) -> str:
        """Why the micrograph itself cannot be shown; empty where it can."""
        path = Path(self.info["image"])
        if not path.is_file():
            return f"{path} is no longer there"
        if self.info.get("sha256") not in (None, sha256(path)):
            return f"{path} has changed since it was segmented"
        try:
            self.pixels()
        except NanosynthError as error:
            return error.message.rstrip(".")
        return ""

    def pixels(self) -> np.ndarray:
        """The whole micrograph, float32 (H, W) in [0, 1]."""
        return read_micrograph(self.info["image"], crop_bottom=0).pixels

    def file(self, role) -> Path:
        return self.folder / self.info["files"][role]


@dataclass
class Series:
    """The images of one or several folders of results."""

    images: list[Found] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """What is said of each image that could not be segmented."""
    records: dict[Path, dict] = field(default_factory=dict)
    """Of each folder its segmentation.json."""


def read_series(folders) -> Series:
    series = Series()
    for folder in map(Path, [folders] if isinstance(folders, (str, Path)) else folders):
        index = folder / "segmentation.json"
        if not index.is_file():
            raise NanosynthError(f"{folder}: not a segmentation (it has no {index.name}).", "Name the folder that `segment --out` wrote.")
        series.records[folder] = read_json(index)
        for entry in series.records[folder]["images"]:
            if "error" in entry:
                series.failed.append(entry["error"])
            else:
                series.images.append(Found(folder, entry, entry["name"]))
    names = [image.name for image in series.images]
    for image in series.images:
        if names.count(image.name) > 1:
            image.name = f"{image.folder.name}/{image.name}"
    return series


# Notices


def notices(series: Series, *, data=None, training=None, evaluation=None) -> list[str]:
    """What does not fit together, or is not known; each a sentence for the top of the report."""
    said = [f"Not in this report: {text}" for text in series.failed]
    said += _models(series, data, training)
    said += _settings(series)
    unscaled = [image.name for image in series.images if not image.nm_per_px]
    if unscaled and len(unscaled) == len(series.images):
        said.append(
            f"The scale of no image is known ({series.images[0].info['nm_per_px_source']}): all sizes are in pixels, "
            "and pooling supposes one magnification."
        )
    elif unscaled:
        said.append(
            "; ".join(f"{image.name} has no scale ({image.info['nm_per_px_source']})" for image in series.images if not image.nm_per_px)
            + ": sizes there are in pixels and not pooled with the others."
        )
    said += [f"{image.name}: the micrograph cannot be shown, since {image.lost}." for image in series.images if image.lost]
    doubtful = [image.name for image in series.images if image.info["warnings"]]
    if doubtful:
        said.append(f"Doubts noted while segmenting stand beside the images: {listed(doubtful)}.")
    if evaluation and series.images:
        strange = sorted(set(evaluation["images"]) - {image.info["name"] for image in series.images})
        if strange:
            said.append(f"The scores are also of images that are not in this series: {listed(strange)}.")
    return said


def _models(series, data, training):
    records = {folder.name: record for folder, record in series.records.items()}
    kinds = {}
    for name, record in records.items():
        kinds.setdefault(_model_key(record.get("model", {})), []).append(name)
    if len(kinds) > 1:
        groups = "; ".join(f"{', '.join(names)}: {model_words(records[names[0]]['model'])}" for names in kinds.values())
        yield f"The images were segmented by {len(kinds)} different models, so their sizes need not be comparable. {groups}."
    versions = {record["versions"]["nanosynth"] for record in records.values()}
    if len(versions) > 1:
        yield f"The images were segmented by different versions of Nanosynth: {', '.join(sorted(versions))}."
    if training:
        info = training.info
        for name, record in records.items():
            model = record.get("model", {})
            differing = [
                word
                for word, here, there in (
                    ("data set", info["identity"]["data_set"], model.get("data_set")),
                    ("seed", training.run.settings.seed, model.get("seed")),
                    ("commit", info.get("commit"), model.get("commit")),
                    ("command", info.get("command"), model.get("command")),
                )
                if here != there
            ]
            if differing:
                yield (
                    f"{name} was not segmented by the run shown here (their {listed(differing)} differ{'s' * (len(differing) == 1)}): "
                    f"it was {model_words(model)}."
                )
            elif training.history and model.get("epoch") != training.run.serving_epoch():
                yield f"{name} was segmented with epoch {model.get('epoch')} of the run shown here, whose chosen epoch is now {training.run.serving_epoch()}."
    if data:
        recipes = {record.get("model", {}).get("data_set", {}).get("recipe") for record in records.values()}
        if training:
            recipes.add(training.info["identity"]["data_set"]["recipe"])
        if recipes - {data.info["recipe"]}:
            yield "The synthetic data set shown here is of another recipe than the one the network was trained on."


def _model_key(model):
    return repr([model.get(key) for key in ("data_set", "seed", "commit", "command", "epoch")])


def model_words(model: dict) -> str:
    """A model in a few words."""
    content = model.get("data_set", {}).get("content", "")[:8] or "not recorded"
    return (
        f"trained by '{model.get('command') or 'a command not recorded'}', epoch {model.get('epoch', '?')}, "
        f"data set {content}, commit {(model.get('commit') or 'not recorded')[:10]}"
    )


def _settings(series):
    """A sentence for each option of segment that is not the same for all images; the scale is told image by image."""
    options = {image.name: image.info.get("options") for image in series.images}
    lacking = [name for name, known in options.items() if known is None]
    if lacking and len(lacking) < len(options):
        yield f"The settings of {listed(lacking)} were not recorded."
    known = {name: option for name, option in options.items() if option is not None}
    for key in next(iter(known.values()), {}):
        if key in ("nm_per_px", "scale_bar_nm"):
            continue
        values = {}
        for name, option in known.items():
            values.setdefault(repr(option.get(key)), []).append(name)
        if len(values) > 1:
            most = max(values, key=lambda value: len(values[value]))
            rest = "; ".join(f"{value} for {listed(names)}" for value, names in values.items() if value != most)
            yield f"Images were segmented with different settings: {key} = {most} for {len(values[most])} image{'s' * (len(values[most]) != 1)}, {rest}."


def listed(names, most=6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# Sizes


@dataclass
class Sizes:
    """Size distributions by weight ("number", "area"): of each image, in the order of the series, and pooled."""

    samples: list[Sample]
    images: dict[str, dict[str, dict]]
    pooled: dict[str, dict]
    pooled_names: list[str]


def series_sizes(series, size, border_correction, repeats, seed, reporter) -> Sizes:
    samples = []
    for image in series.images:
        height, width = image.labels.shape if border_correction else (0, 0)
        frame = (height - image.info["banner_px"], width) if border_correction else None
        samples.append(sample_of(image.table, size=size, unit=image.unit, frame_px=frame))
    unit = "nm" if any(image.unit == "nm" for image in series.images) else "px"
    pooled = [(image.name, sample) for image, sample in zip(series.images, samples) if sample.unit == unit]
    rng = np.random.default_rng(seed)
    images = {}
    for done, (image, sample) in enumerate(zip(series.images, samples), 1):
        images[image.name] = {weight: distribution([sample], rng, weight=weight, repeats=repeats) for weight in WEIGHTS}
        reporter.progress(done, 2 * len(samples), f"sizes of {image.name}")
    whole = {weight: distribution([sample for _, sample in pooled], rng, weight=weight, repeats=repeats) for weight in WEIGHTS}
    return Sizes(samples, images, whole, [name for name, _ in pooled])


def size_section(series, sizes, size):
    pooled = sizes.pooled["number"]
    unit = pooled["unit"]
    who = f"{len(sizes.pooled_names)} images pooled" if len(sizes.pooled_names) > 1 else sizes.pooled_names[0]
    blocks = [
        Heading("Size distribution"),
        Paragraph(
            f"Size is the {SIZE_WORDS[size]} of a particle's visible area. Particles that the image border cuts have no size of their own and are "
            "left out of sizes, not of counts. By number each particle counts as one, by area as its projected area."
        ),
        Plot(
            distribution_figure(sizes.pooled, size, 2.35, legend=True),
            "Pooled size distribution by number and by area",
            f"{who}: {pooled['particles']} whole particles, {pooled['cut']} cut by the border left out. Histogram, kernel estimate and fitted models; "
            "the full line is the model of the lowest Bayes information criterion (BIC).",
        ),
    ]
    for weight in WEIGHTS:
        rows = [value_row(image.name, image.info["particles"], sizes.images[image.name][weight]) for image in series.images]
        if len(series.images) > 1:
            total = sum(image.info["particles"] for image in series.images if image.name in sizes.pooled_names)
            rows.append(value_row(f"pooled ({len(sizes.pooled_names)})", total, sizes.pooled[weight]))
        head = ("Image", "Found", "Whole", "Unit", "Mean", "SD", "D10", "D50", "D90", "Span", "Best fit")
        blocks += [Heading(f"Summary values by {weight}", 3), Table(head, tuple(rows))]
    resampled = "images" if pooled["resampled"] == "images" else "particles"
    blocks.append(
        Paragraph(
            f"Below each value its 95 % interval, by bootstrap: of an image by resampling its particles, pooled by resampling {resampled}"
            + ("" if resampled == "images" else f" (fewer than {FEWEST_IMAGES} images, so differences between images are not in it)")
            + ". D10, D50, D90: 10, 50 and 90 % lie below. Span: (D90 − D10) / D50. Best fit by BIC; p is the chance of a Kolmogorov-Smirnov "
            "distance as large, if the model were true, from simulated samples: a small p speaks against the model.",
            "small",
        )
    )
    rows = [
        fit_row(weight, name, fit, sizes.pooled[weight]["best"] == name, unit)
        for weight in WEIGHTS
        for name, fit in sizes.pooled[weight]["fits"].items()
    ]
    blocks += [
        Heading("Fits to the pooled sizes", 3),
        Table(("By", "Model", "Parameters", "BIC", "KS distance", "p"), tuple(rows), left=(0, 1, 2)),
    ]
    remarks = {}
    for name, result in [*((n, r["number"]) for n, r in sizes.images.items()), ("pooled", pooled)]:
        for remark in result["remarks"]:
            remarks.setdefault(remark, []).append(name)
    if remarks:
        blocks.append(Paragraph("Remarks. " + " ".join(f"{listed(names)}: {remark}." for remark, names in remarks.items()), "small"))
    if any(len(image.table["area_px"]) for image in series.images):
        blocks += shape_blocks(series)
    return blocks


def value_row(name, found, result):
    def cell(key):
        value = result["statistics"][key]
        if value["value"] is None:
            return "–"
        form = ".3g" if key == "span" else ".4g"
        return f"{value['value']:{form}}", "" if value["low"] is None else f"{value['low']:{form}}–{value['high']:{form}}"

    best = result["best"]
    fit = (best.replace("logn", "log-n"), f"p = {result['fits'][best]['ks_p']:.2f}") if best else "–"
    return (name, f"{found}", f"{result['particles']}", result["unit"], *map(cell, ("mean", "sd", "d10", "d50", "d90", "span")), fit)


def fit_row(weight, name, fit, best, unit):
    model = name.replace("logn", "log-n")
    if "reason" in fit:
        return (weight, model, fit["reason"], "–", "–", "–")
    p = fit["parameters"]
    if name == "normal":
        words = f"mean {p['mean']:.4g} {unit}, SD {p['sd']:.3g} {unit}"
    elif name == "lognormal":
        words = f"median {p['geometric_mean']:.4g} {unit}, geometric SD {p['gsd']:.3f}"
    else:
        words = "; ".join(
            f"{share:.0%} at {middle:.4g} {unit}, geometric SD {gsd:.3f}"
            for share, middle, gsd in zip(p["share"], p["geometric_mean"], p["gsd"])
        )
    return (weight, f"{model} (best)" if best else model, words, f"{fit['bic']:.0f}", f"{fit['ks']:.3f}", f"{fit['ks_p']:.2f}")


SHAPES = {"circularity": "Circularity", "aspect_ratio": "Aspect ratio", "solidity": "Solidity", "convexity": "Convexity"}


def shape_blocks(series):
    """Medians of the shape descriptors of whole particles."""
    rows = []
    for image in series.images:
        table = image.table
        whole = ~table["on_border"]
        cells = []
        for key in SHAPES:
            values = table[key][whole] if key in table else np.zeros(0)
            values = values[np.isfinite(values)]
            if values.size:
                low, middle, high = np.percentile(values, [10, 50, 90])
                cells.append((f"{middle:.3f}", f"{low:.3f}–{high:.3f}"))
            else:
                cells.append("–")
        touching = f"{table['touching'].mean():.0%}" if table["touching"].size else "–"
        rows.append((image.name, f"{np.count_nonzero(whole)}", *cells, touching))
    return [
        Heading("Shapes", 3),
        Table(("Image", "Whole", *SHAPES.values(), "Touching"), tuple(rows)),
        Paragraph(
            "Median of the whole particles, below it from the 10th to the 90th percentile. Touching: share of all particles found that have "
            "another one at most 2 px away. Definitions stand in Nanosynth's docs/measures.md, with the terms of ISO 9276-6.",
            "small",
        ),
    ]


def distribution_figure(results: dict, size: str, height: float, *, legend: bool):
    """Distributions by number and by area side by side, as wide as the page; height in inches."""
    from matplotlib.figure import Figure

    with plot_style():
        figure = Figure(figsize=(PAGE_PT / 72, height), layout="constrained")
        for axes, (weight, result) in zip(figure.subplots(1, 2, sharex=True), results.items()):
            draw_distribution(axes, result, size=size)
            axes.set_title(f"by {weight}", loc="left")
            axes.ticklabel_format(axis="y", scilimits=(-3, 3))
            if legend and axes.get_legend_handles_labels()[0]:
                axes.set_ylim(top=axes.get_ylim()[1] * 1.45)
                axes.legend(loc="upper left", fontsize=5.5, frameon=False, labelspacing=0.25, handlelength=1.6, borderaxespad=0.1)
            if result["histogram"]:
                # From 0, unless the sizes are so alike that they would be a needle.
                filled = np.flatnonzero(result["histogram"]["density"])
                low, high = result["histogram"]["edges"][filled[0]], result["histogram"]["edges"][filled[-1] + 1]
                axes.set_xlim(0 if low < 0.4 * high else low - 0.35 * (high - low), high + 0.2 * (high - low))
    return figure


# Images


def image_blocks(image: Found, sizes: Sizes, size, *, first, widest):
    """A page of the report: the numbered particles, the micrograph, the coloured components, the sizes."""
    labels, info = image.labels, image.info
    height, width = labels.shape
    pixels = None
    if not image.lost:
        pixels = image.pixels()
        if pixels.shape != labels.shape:
            raise NanosynthError(
                f"{info['image']}: {pixels.shape[1]} x {pixels.shape[0]} px, but its labels are {width} x {height} px.",
                "Segment the image again.",
            )
    outlined = overlay(pixels, labels, opacity=0.12) if pixels is not None else read_picture(image.file("overlay"))
    shown = encoded_jpeg(outlined, widest)
    marks, left_out = number_marks(labels, shown[2] / width)
    without = f" {left_out} {'is' if left_out == 1 else 'are'} too small to hold it." if left_out else ""
    words = f"Particles found in {image.name}, outlined, with the numbers they have in its particle table.{without}"
    half = widest // 2
    pair = [
        Picture(
            *encoded_png(tinted(labels, 255), half),
            f"Particles of {image.name} coloured",
            "Components: particles that touch never share a colour.",
        )
    ]
    if pixels is not None:
        grey = np.round(pixels * 255).astype(np.uint8)
        pair.insert(0, Picture(*encoded_jpeg(grey, half), f"Micrograph {image.name}", "The micrograph as it is."))
    blocks = [Heading("Images", page=True)] * first + [
        Heading(image.name, 3, page=not first),
        Paragraph(image_words(image, sizes.samples[list(sizes.images).index(image.name)]), "small"),
    ]
    blocks += [Notices(tuple(sentence(text) for text in info["warnings"]))] * bool(info["warnings"])
    return blocks + [
        Picture(*shown, f"Numbered particles of {image.name}", words, marks),
        Row(tuple(pair), 2),
        Plot(distribution_figure(sizes.images[image.name], size, 1.4, legend=False), f"Size distributions of {image.name}"),
    ]


def image_words(image, sample) -> str:
    info = image.info
    height, width = image.labels.shape
    banner = f", of which the lowest {info['banner_px']} rows are a banner" if info["banner_px"] else ""
    scale = (
        f"{info['nm_per_px']:.4g} nm per pixel ({info['nm_per_px_source']})"
        if info["nm_per_px"]
        else f"Scale not known ({info['nm_per_px_source']})"
    )
    touching = int(np.count_nonzero(image.table["touching"]))
    return (
        f"{width} × {height} px{banner}. {scale}. {info['particles']} particles: {sample.sizes.size} whole, {sample.cut} cut by the border, "
        f"{touching} touching another. {zoom_words(info['scale'])}"
    )


def zoom_words(scale) -> str:
    ways = {"search": "found by a search", "diameter": "from the given particle diameter", "nm per pixel": "from the nm per pixel"}
    return f"Seen by the network at zoom {scale['zoom']:.3g}, {ways.get(scale['source'], scale['source'])}."


def sentence(text) -> str:
    """With a full stop, and a capital unless it begins with a file's name."""
    return (text if "." in text.split(" ")[0] else text[:1].upper() + text[1:]).rstrip(".") + "."


def number_marks(labels, zoom: float) -> tuple[tuple[Mark, ...], int]:
    """The numbers on a picture of the particles, and how many find no room.

    Each stands in the largest disc in its particle. All are of one size where
    they fit: nine of ten particles set it, within what can be read in print.

    Parameters
    ----------
    labels : numpy.ndarray
        int (H, W).
    zoom : float
        Picture px per px of the labels.
    """
    numbers, x, y, radius = roomiest(labels)
    if not numbers.size:
        return (), 0
    point = labels.shape[1] * zoom / PAGE_PT  # px of the picture to a point on paper
    digits = np.array([len(str(number)) for number in numbers])
    # The number's box lies in the disc, but for its corners.
    fitting = 1.9 * radius * zoom / np.hypot(DIGIT * digits, 0.72)
    usual = np.clip(np.percentile(fitting, 10), LEAST_PT * point, LARGEST_PT * point)
    size = np.minimum(fitting, usual)
    room = size >= LEAST_PT * point
    marks = tuple(
        Mark((a + 0.5) * zoom, (b + 0.5) * zoom, s, str(number)) for number, a, b, s in zip(numbers[room], x[room], y[room], size[room])
    )
    return marks, int(np.count_nonzero(~room))


def read_picture(path) -> np.ndarray:
    with explained(path), Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


# The other sections


def facts(data, training, series, sizes, evaluation):
    """The few numbers at the top."""
    cells = []
    if series.images:
        total = sum(image.info["particles"] for image in series.images)
        cells.append((f"{total:,}", f"particles in {len(series.images)} image{'s' * (len(series.images) != 1)}"))
        unit, median = sizes.pooled["number"]["unit"], sizes.pooled["number"]["statistics"]["d50"]
        if median["value"] is not None:
            span = "" if median["low"] is None else f", 95 % interval {median['low']:.4g}–{median['high']:.4g}"
            cells.append((f"{median['value']:.4g} {unit}", f"median size by number (D50){span}"))
    if evaluation:
        cells.append((f"{evaluation['overall']['instance_f1']:.3f}", "instance F1 against people's annotation"))
    if data:
        cells.append((f"{len(data.records)}", "synthetic pairs"))
    if training and training.history:
        cells.append((human_time(sum(line["seconds"] for line in training.history)), f"training, {len(training.history)} epochs"))
    return [Facts(tuple(cells))] * bool(cells)


def score_section(evaluation):
    """The scores of each image, and their means and pooled values with intervals: what the paper's Figure 4a shows, and more."""
    names = {
        "precision": "Precision", "recall": "Recall", "accuracy": "Accuracy", "f1": "F1", "iou": "IoU", "warping_error": "Warping",
        "instance_f1": "Inst. F1", "ap50": "AP50", "ap75": "AP75", "ap": "AP", "pq": "PQ", "n_truth": "Annotated", "n_predicted": "Found",
    }  # fmt: skip
    rows = [(name, *(score_cell(key, scores[key]) for key in names)) for name, scores in evaluation["images"].items()]
    if len(rows) > 1:
        for name, part in (("mean of images", "mean"), ("all pooled", "overall")):
            ends = evaluation["intervals"][part]
            rows.append((name, *(score_cell(key, evaluation[part].get(key), ends.get(key)) for key in names)))
    words = (
        "Compared with an annotation made by people, on valid pixels: precision to warping error (in millionths) by pixel, the others by particle. "
        "A particle counts as found if it overlaps an annotated one with an intersection over union (IoU) of at least 0.5. AP50, AP75: "
        "TP / (TP + FP + FN) at an IoU of 0.5, 0.75; AP: their mean from 0.5 to 0.95; PQ: panoptic quality."
    )
    if evaluation["intervals"]["note"]:
        words += f" No confidence intervals: {evaluation['intervals']['note']}."
    elif len(rows) > 1:
        words += f" Below the mean and the pooled values: their {evaluation['intervals']['level']:.0%} intervals, by bootstrap over images."
    return [Heading("Scores"), Paragraph(words), Table(("Image", *names.values()), tuple(rows))]


def score_cell(key, value, ends=None):
    """A score as a cell of a table, with the ends of its interval below."""

    def form(value):
        return f"{value * 1e6:.0f}" if key == "warping_error" else number(value)

    return "–" if value is None else (form(value), f"{form(ends[0])}–{form(ends[1])}") if ends else form(value)


def number(value) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}"


def synthetic_section(data: Dataset):
    recipe = data.recipe
    indices = sorted(data.records)
    blocks = [
        Heading("Synthetic training data"),
        Paragraph(
            f"The network has seen rendered scenes only. The recipe {recipe.name} (seed {recipe.seed}) describes them; {len(indices)} scenes of "
            f"{recipe.camera.image_px} × {recipe.camera.image_px} pixels were rendered with Blender {data.info['blender']}. Micrograph and labels "
            "come from two renders of the same scene, so the labels need no annotation."
        ),
    ]
    for place in np.linspace(0, len(indices) - 1, min(PAIRS, len(indices))):
        index = indices[round(place)]
        image, label, instances = data.read(index)
        record = data.records[index]
        side = record["nm_per_pixel"] * len(image)
        words = f"Scene {index}: {len(record['particles']['id'])} particles in a field of {side:.0f} nm, {record['nm_per_pixel']:.3g} nm per pixel."
        blocks.append(
            Row(
                (
                    Picture(*encoded_jpeg(image, 700), f"Synthetic micrograph of scene {index}", words),
                    Picture(
                        *encoded_png(label, 700),
                        f"Training label of scene {index}",
                        "Training label: particles white, opened where they touch.",
                    ),
                    Picture(
                        *encoded_png(tinted(instances, 255), 700),
                        f"Instances of scene {index}",
                        "Instances: every visible particle, whole.",
                    ),
                ),
                3,
            )
        )
    return blocks


def training_section(training: Training):
    history = training.history
    if not history:
        return [Heading("Training"), Paragraph("No epoch is finished yet.")]
    minutes = human_time(sum(line["seconds"] for line in history))
    text = f"{len(history)} epochs in {minutes}; the loss went from {history[0]['loss']:.3f} to {history[-1]['loss']:.3f}."
    if training.chosen is not None:
        text += f" Epoch {training.chosen} was selected."
    blocks = [Heading("Training"), Paragraph(text), Plot(curve_figure(training), "Loss by epoch", "Training loss by epoch.")]
    if training.pictures:
        blocks += [
            Heading("Validation by epoch"),
            Paragraph(
                "Predictions on real images that the network never trained on, drawn after each epoch: the micrograph, the probability, the "
                "particles found. They are what one selects an epoch by when there is no annotation."
            ),
        ]
    for name, pictures in training.pictures.items():
        blocks.append(Heading(name, 3))
        for epoch in spread(sorted(pictures), EPOCHS, training.chosen):
            mark = " (selected)" if epoch == training.chosen else ""
            pixels = encoded_jpeg(read_picture(pictures[epoch]), 1400)
            blocks.append(Picture(*pixels, f"Prediction on {name} after epoch {epoch}", f"Epoch {epoch}{mark}"))
    return blocks


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


def curve_figure(training: Training):
    from matplotlib.figure import Figure

    with plot_style():
        figure = Figure(figsize=(PAGE_PT / 72, 2.1), layout="constrained")
        axes = figure.add_subplot()
        history = training.history
        axes.plot([line["epoch"] for line in history], [line["loss"] for line in history], color=ACCENT, lw=1.4)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss", color=ACCENT)
        scored = [(line["epoch"], line["f1"]) for line in history if line.get("f1") is not None]
        if scored:
            right = axes.twinx()
            right.plot(*zip(*scored, strict=True), color=SECOND, lw=1.2)
            right.set_ylabel("validation F1", color=SECOND)
            right.set_ylim(top=1)
            right.spines["top"].set_visible(False)
        if training.chosen is not None:
            axes.axvline(training.chosen, color=SOFT, lw=1, ls=":")
            place = (training.chosen, 1)
            axes.annotate(f"epoch {training.chosen}", place, xycoords=("data", "axes fraction"), ha="center", va="bottom", color=SOFT)
    return figure


def provenance_section(series: Series, data, training):
    """Scale, settings, model, versions: what makes the numbers repeatable."""
    blocks = [Heading("How the numbers were made")]
    if series.images:
        blocks += scale_blocks(series)
        blocks += option_blocks(series)
        for folder, record in _distinct_models(series):
            blocks += model_blocks(folder, record, several=len({_model_key(r.get("model", {})) for r in series.records.values()}) > 1)
    rows, listings = [("This report", f"Nanosynth {__version__}")], []
    if data:
        rows += [
            (
                "Synthetic data set",
                f"Nanosynth {data.info['nanosynth']}, Blender {data.info['blender']}, recipe {data.info['recipe'][:16]}, {len(data.records)} pairs",
            ),
        ]
        listings.append(Listing("Recipe of the data set shown", read_text(data.path / "recipe.toml")))
    if training:
        info = training.info
        rows.append(("Training run shown", ", ".join(f"{name} {version}" for name, version in info.get("versions", {}).items())))
        rows += [(f"Training run, {name}", str(info[name])) for name in ("commit", "command") if info.get(name)]
        listings.append(Listing("Training settings of the run shown", read_text(training.run.path / "settings.toml")))
    if not series.images and not data and not training:
        return []
    # The long listings come last, after all tables.
    listings = [block for block in blocks if isinstance(block, Listing)] + listings
    blocks = [block for block in blocks if not isinstance(block, Listing)]
    return blocks + [Heading("Versions", 3), Table(("What", "Which"), tuple(rows), plain=True), *listings]


def scale_blocks(series):
    rows = []
    for image in series.images:
        info = image.info
        rows.append(
            (
                image.name,
                f"{info['nm_per_px']:.5g}" if info["nm_per_px"] else "–",
                info["nm_per_px_source"],
                f"{info['scale']['zoom']:.3g}",
                f"{info['seconds']:.1f} s",
                info.get("sha256", "not recorded")[:12],
            )
        )
    return [
        Heading("Scale and origin of each image", 3),
        Table(("Image", "nm per px", "Source of the scale", "Zoom", "Time", "SHA-256"), tuple(rows), left=(0, 2)),
    ]


def option_blocks(series):
    options = [image.info["options"] for image in series.images if image.info.get("options")]
    if not options:
        return [
            Heading("Settings of the segmentation", 3),
            Paragraph("They were not recorded: the images were segmented by an older version."),
        ]
    meanings = {name: spec for name, _, spec in specs(SegmentationOptions)}
    rows = []
    for key in options[0]:
        values = list(dict.fromkeys(_value(option.get(key)) for option in options))
        spec = meanings.get(key)
        unit = f" {spec.unit}" if spec and spec.unit and values != ["0"] else ""
        rows.append((key, ", ".join(values[:8]) + (" …" if len(values) > 8 else "") + unit, spec.doc if spec else ""))
    return [Heading("Settings of the segmentation", 3), Table(("Option", "Value", "Meaning"), tuple(rows), plain=True)]


def _value(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"


def _distinct_models(series):
    seen = set()
    for folder, record in series.records.items():
        key = _model_key(record.get("model", {}))
        if key not in seen:
            seen.add(key)
            yield folder, record


def model_blocks(folder, record, *, several):
    model, trained = record.get("model", {}), record.get("training")
    of = f" of {folder.name}" if several else ""
    data_set = model.get("data_set", {})
    rows = [
        (
            "Trained on",
            f"{data_set.get('pairs', '?')} rendered pairs, recipe {data_set.get('recipe', '?')[:16]}, files {data_set.get('content', '?')[:16]}",
        ),
        ("Epoch", f"{model.get('epoch', '?')}, chosen by {model.get('chosen_by', '?')}"),
        ("Seed", str(model.get("seed", "?"))),
        ("Command", model.get("command") or "not recorded"),
        ("Commit", model.get("commit") or "not recorded"),
        ("Training software", ", ".join(f"{name} {version}" for name, version in model.get("versions", {}).items()) or "not recorded"),
        ("Segmented with", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    ]
    if trained:
        median, spread_ = trained["diameter_px"]
        nm = f", {trained['nm_per_px']:.3g} nm per pixel" if trained["nm_per_px"] else ""
        rows.insert(1, ("Threshold", f"{trained['settings']['threshold']:g}, where the settings do not say another"))
        rows.insert(
            1, ("Particles it knows", f"median diameter {median:.3g} px as the network sees them{nm}; log-standard deviation {spread_:.2g}")
        )
    blocks = [Heading(f"Model{of}", 3), Table(("What", "Which"), tuple(rows), plain=True)]
    if trained:
        import tomli_w

        blocks.append(Listing(f"Training settings of the model{of}", compact(tomli_w.dumps(trained["settings"]))))
    if model.get("recipe"):
        blocks.append(Listing(f"Recipe the model{of} was trained on", compact(model["recipe"])))
    return blocks


def read_text(path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
