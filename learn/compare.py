"""Real and synthetic micrographs side by side: curves, the similarity map, and two numbers.

What is measured and why so is in `docs/compare.md`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import __version__
from ..errors import NanosynthError
from ..fields import flag, number, text, to_dict
from ..files import read_json, read_lines, write_json, write_text
from ..reporting import Clock, Reporter
from . import curves
from .comparepictures import curves_picture, map_html, map_picture
from .features import NAMES, Features, load_features
from .images import list_images, read_mask, read_micrograph
from .metadata import given_scale
from .similarity import Sample, accuracy_floor, cut, distance_floor, kernel_distance, thinned, tsne, two_sample_accuracy

FEW_IMAGES = 6
"""With fewer of a kind its images are no sample of it."""
FEWEST_PATCHES = 10
SCALES_APART = 1.5
"""Ratio of nm per pixel above which images of two kinds plainly differ in scale."""


@dataclass
class CompareOptions:
    """How images are compared. Defaults are the paper's where it states them."""

    features: str = text("auto", "network whose features are used; auto is VGG16 where its weights are at hand", choices=("auto", *NAMES))
    patch_px: int = number(144, "side of the patches", unit="px", low=32, high=1024)
    patches_per_image: int = number(24, "most patches taken from an image", low=1, high=10000)
    patches: int = number(1000, "most patches of each kind in map and numbers; all kinds get equally many", low=FEWEST_PATCHES, high=100000)
    images: int = number(60, "most images of each kind; of more, some are drawn", low=2, high=100000)
    same_scale: str = text(
        "none",
        "how images are brought to one scale, by reducing the finer: nm by their nm per pixel, diameter by the typical particle diameters",
        choices=("none", "nm", "diameter"),
    )
    real_diameter_px: float = number(
        0.0, "typical particle diameter in the real images, for same_scale = diameter", unit="px", low=0.0, high=10000.0
    )
    synthetic_diameter_px: float = number(
        0.0, "the same in the synthetic images; 0 takes the median of the data set's manifest", unit="px", low=0.0, high=10000.0
    )
    synthetic_zoom: float = number(1.0, "factor by which the synthetic images are reduced, for same_scale = none", low=0.02, high=1.0)
    map: bool = flag(True, "draw the similarity map")
    perplexity: float = number(50.0, "t-SNE's perplexity", low=2.0, high=1000.0)
    learning_rate: float = number(10.0, "t-SNE's learning rate", low=0.01, high=10000.0)
    iterations: int = number(5000, "most iterations of t-SNE", low=250, high=1000000)
    folds: int = number(5, "parts of the cross-validation, by image", low=2, high=100)
    seed: int = number(0, "seed of every choice", low=0, high=2**31 - 1)

    def check(self):
        if self.same_scale == "diameter" and not self.real_diameter_px:
            yield (
                "real_diameter_px",
                "is needed for same_scale = diameter.",
                "Give the typical particle diameter in the real images, in px.",
            )
        if self.same_scale != "none" and self.synthetic_zoom != 1:
            yield "synthetic_zoom", f"is given, but same_scale = {self.same_scale} sets the scale.", "Drop one of the two."


@dataclass(frozen=True)
class Source:
    """Images of one kind.

    Attributes
    ----------
    kind : "real", "synthetic" or "baseline"
    paths : list of pathlib.Path
    nm_per_px : dict
        By path, what a data set's manifest says, or the user; what else an image's own file says counts.
    diameter_px : float or None
        Median equivalent circular diameter of a data set's particles in pixels of its images.
    made : dict or None
        By what a data set was made: the version, Blender's, and the hash of its recipe.
    """

    kind: str
    paths: list[Path]
    nm_per_px: dict
    diameter_px: float | None = None
    made: dict | None = None


@dataclass(frozen=True)
class Kind:
    """What was taken from the images of one kind.

    Attributes
    ----------
    sample : Sample
    zoom : tuple of float
        Factor of each image.
    nm_per_px : float or None
        Median over the images that state it, as they were compared.
    curves : dict
        `histogram`, `edge_profile`, `spectrum` (float (images, …)) and `noise` (float (images,)).
    """

    name: str
    sample: Sample
    zoom: tuple[float, ...]
    nm_per_px: float | None
    curves: dict


def find_source(kind: str, named) -> Source:
    """The images of a data set, or of files and folders."""
    named = [Path(p) for p in ([named] if isinstance(named, (str, Path)) else named)]
    if len(named) == 1 and (named[0] / "dataset.json").is_file():
        # Not by way of Dataset: a baseline may be of an earlier version, whose recipes this one does not read.
        records = sorted(read_lines(named[0] / "manifest.jsonl"), key=lambda record: record["index"])
        if not records:
            raise NanosynthError(f"{named[0]}: the data set has no finished pairs.", "Run 'generate' first.")
        areas = np.concatenate([np.asarray(record["particles"]["full_area_px"], float) for record in records])
        diameter = float(np.median(np.sqrt(4 * areas[areas > 0] / np.pi))) if (areas > 0).any() else None
        nm_per_px = {named[0] / "images" / f"{record['index']:06d}.png": record["nm_per_pixel"] for record in records}
        made = read_json(named[0] / "dataset.json")
        return Source(kind, list(nm_per_px), nm_per_px, diameter, {key: made[key] for key in ("nanosynth", "blender", "recipe") if key in made})
    return Source(kind, list_images(named), {})


def chosen(source: Source, count: int, rng: np.random.Generator) -> Source:
    """At most `count` of the images, drawn."""
    if len(source.paths) <= count:
        return source
    keep = np.sort(rng.permutation(len(source.paths))[:count])
    return dataclasses.replace(source, paths=[source.paths[i] for i in keep])


def zooms(sources: list[Source], options: CompareOptions) -> list:
    """For each source a function from nm per pixel to the factor of an image, at most 1."""
    if options.same_scale == "diameter":
        diameters = []
        for source in sources:
            given = (
                options.real_diameter_px if source.kind == "real" else options.synthetic_diameter_px if source.kind == "synthetic" else 0
            )
            diameter = given or source.diameter_px
            if not diameter:
                raise NanosynthError(
                    f"The particle diameter of the {source.kind} images is not known.", "Name a data set, or give --synthetic-diameter-px."
                )
            diameters.append(diameter)
        smallest = min(diameters)
        return [lambda nm, factor=smallest / d: factor for d in diameters]
    if options.same_scale == "nm":
        coarsest = 0.0
        for source in sources:
            for path in source.paths:
                nm = source.nm_per_px.get(path) or read_micrograph(path).nm_per_px
                if not nm:
                    raise NanosynthError(
                        f"{path}: its nm per pixel are not known.", "Use --same-scale diameter, or state the real images' with --nm-per-px."
                    )
                coarsest = max(coarsest, nm)
        return [lambda nm: nm / coarsest for _ in sources]
    return [lambda nm, factor=1.0 if s.kind == "real" else options.synthetic_zoom: factor for s in sources]


def reduced(pixels, factor: float) -> np.ndarray:
    """An image made smaller by averaging areas, as larger pixels would have taken it."""
    if factor >= 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def read_kind(source: Source, zoom, options: CompareOptions, rng, *, valid=None, step=lambda: None) -> Kind:
    """Read the images of a source, cut their patches, take their curves.

    Parameters
    ----------
    zoom : callable
        From `zooms`.
    valid : path-like, optional
        Folder of masks named as the images; patches that touch a zero are left out.
    step : callable
        Called after each image.
    """
    factors, edges, scales = [], [], []

    def scaled():
        for path in source.paths:
            micrograph = read_micrograph(path)
            nm_per_px = source.nm_per_px.get(path) or micrograph.nm_per_px
            factor = zoom(nm_per_px)
            if nm_per_px:
                scales.append(nm_per_px / factor)
            pixels = reduced(micrograph.pixels, factor)
            mask = Path(valid) / f"{path.stem}.png" if valid is not None else None
            if mask is not None:
                mask = reduced(read_mask(mask)[: len(micrograph.pixels)].astype(np.float32), factor) > 0.999 if mask.is_file() else None
            factors.append(factor)
            edges.append(curves.edge_profile(pixels))
            yield pixels, mask
            step()

    names = [path.name for path in source.paths]
    sample = cut(scaled(), options.patch_px, options.patches_per_image, rng, names=names)
    of_image = [sample.patches[sample.image == i] for i in np.unique(sample.image)]
    return Kind(
        source.kind,
        sample,
        tuple(factors),
        float(np.median(scales)) if scales else None,
        {
            "histogram": np.array([curves.histogram(p) for p in of_image]),
            "edge_profile": np.array(edges),
            "spectrum": np.array([curves.spectrum(p) for p in of_image]),
            "noise": np.array([curves.noise(p) for p in of_image]),
        },
    )


def refuse_few(kind: Kind, options: CompareOptions):
    images, patches = np.unique(kind.sample.image).size, len(kind.sample)
    side = options.patch_px
    if images < 2:
        raise NanosynthError(
            f"The {kind.name} images give patches of {side} x {side} px from {images} image{'' if images == 1 else 's'} only; at least two are needed, since patches are split by image.",
            "Name more images, or choose a smaller --patch-px.",
        )
    if patches < FEWEST_PATCHES:
        raise NanosynthError(
            f"The {kind.name} images give only {patches} patches of {side} x {side} px; at least {FEWEST_PATCHES} are needed.",
            "Name more or larger images, or choose a smaller --patch-px.",
        )


def middle(of_images: dict) -> dict:
    """The median over images of each curve."""
    return {name: curves.percentile(values, 50) for name, values in of_images.items()}


def compare(
    real,
    synthetic,
    out,
    options: CompareOptions | None = None,
    *,
    baseline=None,
    valid=None,
    nm_per_px=None,
    vgg16_weights=None,
    download_vgg16=False,
    reporter=None,
) -> dict:
    """Compare images and write curves, map and numbers into a folder.

    Parameters
    ----------
    real : path-like or sequence
        Images, or folders of them.
    synthetic, baseline : path-like or sequence
        A data set, images, or folders of them; the baseline is optional.
    out : path-like
        Gets `compare.json`, `curves.png`, `curves.csv`, `patches.csv`, `similarity.png`, `similarity.html`.
    options : CompareOptions
    valid : path-like, optional
        Folder of masks of the real images, 0 where lettering or bars are burnt in.
    nm_per_px : float or ScaleFile, optional
        Scale of the real images; by default what their files say.
    vgg16_weights, download_vgg16
        See `features.load_features`.
    reporter : Reporter

    Returns
    -------
    dict
        The content of `compare.json`.

    Raises
    ------
    NanosynthError
        If there are too few images or patches, or an image or the network's weights cannot be had.
    """
    options, reporter, out = options or CompareOptions(), reporter or Reporter(), Path(out)
    streams = dict(zip(("choice", "patches", "thin", "accuracy", "distance"), np.random.default_rng(options.seed).spawn(5)))
    named = {"real": real, "synthetic": synthetic} | ({"baseline": baseline} if baseline else {})
    # Each kind has streams of its own, so that a baseline changes nothing about the others.
    draws = {job: dict(zip(("real", "synthetic", "baseline"), stream.spawn(3))) for job, stream in streams.items()}
    sources = [chosen(find_source(kind, paths), options.images, draws["choice"][kind]) for kind, paths in named.items()]
    sources[0].nm_per_px.update({path: given_scale(nm_per_px, path)[0] for path in sources[0].paths if nm_per_px is not None})
    features = load_features(options.features, weights=vgg16_weights, download=download_vgg16)
    reporter.started("compare", text=f"Features: {features.description}.")
    total = sum(len(s.paths) for s in sources)
    clock, done = Clock(total), 0

    def step():
        nonlocal done
        done += 1
        reporter.progress(done, total, f"image {done} of {total}", clock.seconds_left(done))

    kinds = {}
    for source, zoom in zip(sources, zooms(sources, options)):
        kind = read_kind(source, zoom, options, draws["patches"][source.kind], valid=valid if source.kind == "real" else None, step=step)
        refuse_few(kind, options)
        kinds[source.kind] = kind
        idle = sorted(set(range(len(source.paths))) - set(kind.sample.image.tolist()))
        if idle:
            reporter.warning(
                f"{len(idle)} {source.kind} image{'s give' if len(idle) > 1 else ' gives'} no patch of {options.patch_px} px ({source.paths[idle[0]].name} …)."
            )
    scale = kinds["real"].nm_per_px
    for kind in kinds.values():
        if options.same_scale == "none" and scale and kind.nm_per_px and not 1 / SCALES_APART < kind.nm_per_px / scale < SCALES_APART:
            reporter.warning(
                f"A pixel of the {kind.name} images is {kind.nm_per_px:.3g} nm wide, of the real ones {scale:.3g} nm, and nothing is rescaled: "
                "unless their particles are equally large in px, as after matching, the size alone tells them apart.",
                "Use --same-scale nm or diameter.",
            )
    count = min(options.patches, *(len(kind.sample) for kind in kinds.values()))
    samples = {
        name: with_features(thinned(kind.sample, count, draws["thin"][name]), features, name, reporter) for name, kind in kinds.items()
    }
    made = {source.kind: source.made for source in sources}
    few = [f"{len(np.unique(sample.image))} {name}" for name, sample in samples.items() if len(np.unique(sample.image)) < FEW_IMAGES]
    if few:
        reporter.warning(
            f"The numbers rest on {' and '.join(few)} images: the intervals do not tell how other images would do.",
            f"Name {FEW_IMAGES} or more of each kind.",
        )
    others = [name for name in kinds if name != "real"]
    folds = options.folds
    record = {
        "format": 1,
        "nanosynth": __version__,
        "features": {"name": features.name, "description": features.description, "weights_sha256": features.weights_sha256},
        "options": to_dict(options),
        "patches": count,
        "kinds": {name: {"made": made.get(name), **describe(kind, samples[name])} for name, kind in kinds.items()},
        "accuracy_floor": accuracy_floor(samples["real"], draws["accuracy"]["real"], folds=folds),
        "distance_floor": distance_floor(samples["real"], draws["distance"]["real"]),
        "scores": {
            name: {
                "accuracy": two_sample_accuracy(samples["real"], samples[name], draws["accuracy"][name], folds=folds),
                "distance": kernel_distance(samples["real"], samples[name], draws["distance"][name]),
                "curves": curves.differences(middle(kinds["real"].curves), middle(kinds[name].curves)),
            }
            for name in others
        },
    }
    if record["accuracy_floor"] is None:
        reporter.warning("With fewer than four real images there is no real-against-real floor.")
    write_text(out / "curves.csv", curves_table(kinds, options.patch_px))
    curves_picture(out / "curves.png", kinds, {name: middle(kind.curves) for name, kind in kinds.items()}, record)
    reporter.artifact(out / "curves.png", "curves")
    record["map"] = None
    if options.map:
        record["map"] = draw_map(out, samples, features, options, record, reporter)
    write_json(out / "compare.json", record)
    reporter.artifact(out / "compare.json", "numbers")
    reporter.done(**{key: record[key] for key in ("scores", "accuracy_floor", "distance_floor")}, out=str(out))
    return record


def with_features(sample: Sample, features: Features, name: str, reporter) -> Sample:
    clock = Clock(len(sample))
    vectors = features.of(
        sample.patches,
        lambda n: reporter.progress(n, len(sample), f"{name}: features of patch {n} of {len(sample)}", clock.seconds_left(n)),
    )
    return dataclasses.replace(sample, vectors=vectors)


def draw_map(out, samples, features, options, record, reporter):
    """Compute and write the similarity map; what `compare.json` says of it, or None with too few patches."""
    total = sum(map(len, samples.values()))
    if total < 3 * options.perplexity:
        reporter.warning(
            f"{total} patches are too few for a map of perplexity {options.perplexity:g}.", "Name more images, or lower --perplexity."
        )
        return None
    reporter.progress(0, 1, f"t-SNE of {total} patches")
    vectors = np.concatenate([s.vectors for s in samples.values()])
    places, components = tsne(
        vectors, options.seed, perplexity=options.perplexity, learning_rate=options.learning_rate, iterations=options.iterations
    )
    reporter.progress(1, 1, f"t-SNE of {total} patches")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["kind", "image", "row_px", "column_px", "x", "y"])
    place = iter(places)
    for name, sample in samples.items():
        for image, corner in zip(sample.image, sample.corner):
            writer.writerow([name, sample.names[image], *corner, *(f"{v:.5g}" for v in next(place))])
    write_text(out / "patches.csv", table.getvalue())
    map_picture(out / "similarity.png", samples, places, components, record)
    map_html(out / "similarity.html", samples, places, components, record)
    reporter.artifact(out / "similarity.png", "similarity map")
    reporter.artifact(out / "similarity.html", "similarity map with thumbnails")
    return {
        "components": components,
        "variance": 0.9,
        "perplexity": options.perplexity,
        "learning_rate": options.learning_rate,
        "iterations": options.iterations,
        "init": "random",
    }


def describe(kind: Kind, sample: Sample) -> dict:
    """What `compare.json` says of a kind: images, patches, zoom, and its curves."""
    zoom = np.asarray(kind.zoom)
    values = {
        name: [None if not np.isfinite(v) else float(f"{v:.6g}") for v in np.atleast_1d(curve)]
        for name, curve in middle(kind.curves).items()
    }
    values["noise"] = values["noise"][0]
    return {
        "images": int(np.unique(sample.image).size),
        "patches_cut": len(kind.sample),
        "zoom": {"lowest": float(zoom.min()), "highest": float(zoom.max())},
        "nm_per_px": kind.nm_per_px,
        "curves": values,
    }


def curves_table(kinds: dict, patch_px: int) -> str:
    """The curves as CSV: kind, curve, abscissa, and over images the median and the quartiles."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["kind", "curve", "at", "median", "lower_quartile", "upper_quartile"])
    places = {
        "histogram": (np.arange(curves.BINS) + 0.5) / curves.BINS,
        "edge_profile": np.arange(-curves.EDGE_PX, curves.EDGE_PX) + 0.5,
        "spectrum": np.arange(1, patch_px // 2 + 1) / patch_px,
        "noise": [0.0],
    }
    for name, kind in kinds.items():
        for curve, at in places.items():
            values = kind.curves[curve].reshape(len(kind.curves[curve]), -1)
            for position, column in zip(at, values.T):
                column = column[np.isfinite(column)]
                if column.size:
                    writer.writerow([name, curve, f"{position:.6g}", *(f"{v:.6g}" for v in np.percentile(column, [50, 25, 75]))])
    return table.getvalue()


def report(record: dict) -> str:
    """The numbers as a table for people."""
    others = list(record["scores"])

    def cell(value):
        if value is None:
            return "-"
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"

    rows = [["", "real halves", *others]]
    rows.append(["two-sample accuracy", cell(record["accuracy_floor"]), *(cell(record["scores"][o]["accuracy"]) for o in others)])
    rows.append(["kernel distance", cell(record["distance_floor"]), *(cell(record["scores"][o]["distance"]) for o in others)])
    names = {"histogram": "grey levels", "edge_profile": "edge profile", "spectrum": "spectrum, dB", "noise": "log noise ratio"}
    for curve, label in names.items():
        values = [record["scores"][o]["curves"][curve] for o in others]
        rows.append([label, "", *("-" if v is None else f"{v:.3f}" for v in values)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip() for row in rows]
    images = ", ".join(f"{k['images']} {name}" for name, k in record["kinds"].items())
    return "\n".join([*lines, f"{record['patches']} patches of each kind from {images} images; {record['features']['description']}."])
