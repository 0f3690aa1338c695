"""Size distributions of particles: summary values, histogram and kernel estimate, fits, border correction.

`docs/measures.md` defines the terms, which are those of ISO 9276-1, ISO 9276-2
and ISO 13322-1.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr
from scipy.stats import gaussian_kde

from ..errors import NanosynthError, explained
from ..files import read_json, write_json, write_text
from ..reporting import Reporter
from .images import natural, read_labels
from .particles import read_table
from .pictures import bins, distribution_picture

SIZES = ("diameter", "sqrt_area", "max_feret", "min_feret", "length", "width")
WEIGHTS = ("number", "area")
STATISTICS = ("mean", "sd", "geometric_mean", "gsd", "d10", "d50", "d90", "span")
MODELS = {"normal": 2, "lognormal": 2, "bimodal": 5}
"""Number of parameters of each model; bimodal is a mixture of two log-normal ones."""
FEWEST = {"normal": 10, "lognormal": 10, "bimodal": 25}
"""Particles from which on a model is fitted."""
FEWEST_IMAGES = 5
"""Images from which on a pooled distribution's intervals resample images, as particles of one image are alike."""
LEVEL = 0.95
THINNED = 1000
"""Values to which larger samples are joined for the fit of a mixture."""
SIMULATIONS, SIMULATED = 99, 500
"""Samples drawn from each fitted model for its goodness of fit, and their largest size; of larger
samples the Kolmogorov-Smirnov distance times the square root of the size no longer depends on it."""


@dataclass(frozen=True)
class Sample:
    """The particles of one image.

    Attributes
    ----------
    sizes : numpy.ndarray
        float (n,), above 0, in `unit`.
    areas : numpy.ndarray
        float (n,), projected areas.
    weights : numpy.ndarray
        float (n,); 1, or one over the probability that the border does not cut the particle.
    unit : str
        "nm" or "px".
    cut : int
        Particles left out because the border cuts them.
    remarks : tuple of str
    """

    sizes: np.ndarray
    areas: np.ndarray
    weights: np.ndarray
    unit: str
    cut: int = 0
    remarks: tuple = ()


def sample_of(table: dict, *, size: str = "diameter", unit: str | None = None, frame_px=None) -> Sample:
    """The whole particles of a particle table.

    Parameters
    ----------
    table : dict
        From `particles.measure` or `particles.read_table`.
    size : str
        One of `SIZES`.
    unit : "nm" or "px", optional
        By default nm where the table has it.
    frame_px : pair of int, optional
        Height and width of the image. If given, each particle is weighted by
        Z1 Z2 / ((Z1 - x1) (Z2 - x2)), Z the sides of the image and x those of
        the particle's bounding box (Miles 1974, Lantuejoul 1980; ISO 13322-1):
        large particles are cut by the border, and so left out, more often.
    """
    if size not in SIZES:
        raise NanosynthError(f"size = {size!r} is not one of {', '.join(SIZES)}.", "Choose one of these.")
    areas = np.asarray(table["area_nm2"] if "area_nm2" in table else np.full(len(table["area_px"]), np.nan))
    unit = unit or ("nm" if len(areas) and np.isfinite(areas).all() else "px")
    sizes = np.asarray(table.get(f"{size}_{unit}", np.full(len(areas), np.nan)), dtype=np.float64)
    areas = np.asarray(areas if unit == "nm" else table["area_px"], dtype=np.float64)
    cut = np.asarray(table["on_border"], dtype=bool)
    defined = np.isfinite(sizes)
    remarks = [] if unit == "nm" or not len(areas) else ["sizes are in px: scale not known"]
    if (~defined & ~cut).any():
        remarks.append(f"{np.count_nonzero(~defined & ~cut)} particles without {size} left out: their table says why")
    keep = defined & ~cut
    weights = np.ones(len(sizes))
    if frame_px is not None:
        if "box_width_px" not in table:
            raise NanosynthError(
                "The particle table has no bounding boxes, which the border correction needs.", "Segment the images again."
            )
        height, width = frame_px
        inside = (1 - np.asarray(table["box_width_px"]) / width) * (1 - np.asarray(table["box_height_px"]) / height)
        weights[keep] = 1 / inside[keep]
    return Sample(sizes[keep], areas[keep], weights[keep], unit, int(cut.sum()), tuple(remarks))


def statistics(sizes, weights) -> np.ndarray:
    """The values of `STATISTICS` of weighted sizes; NaN where not defined.

    Parameters
    ----------
    sizes : numpy.ndarray
        float (n,), rising.
    weights : numpy.ndarray
        float (n,), at least 0.
    """
    total = weights.sum()
    if not sizes.size or total <= 0:
        return np.full(len(STATISTICS), np.nan)
    share, logs = weights / total, np.log(sizes)
    effective = 1 / (share**2).sum()
    mean, log_mean = share @ sizes, share @ logs
    # Of one particle, or of one drawn over and over, there is no spread.
    unbias = effective / (effective - 1) if effective > 1 + 1e-9 else np.nan
    sd, log_sd = (np.sqrt(share @ (values - middle) ** 2 * unbias) for values, middle in ((sizes, mean), (logs, log_mean)))
    d10, d50, d90 = np.interp([0.1, 0.5, 0.9], np.cumsum(share) - share / 2, sizes)
    return np.array([mean, sd, np.exp(log_mean), np.exp(log_sd), d10, d50, d90, (d90 - d10) / d50])


def distribution(samples, rng: np.random.Generator, *, weight: str = "number", repeats: int = 1000) -> dict:
    """The size distribution of one image or of several pooled.

    Parameters
    ----------
    samples : sequence of Sample
        All of one unit.
    rng : numpy.random.Generator
        For the confidence intervals and the goodness of fit.
    weight : "number" or "area"
        Each particle counts as one, or by its projected area.
    repeats : int
        Resamplings for the confidence intervals.

    Returns
    -------
    dict
        `unit`, `weight`, `particles`, `cut`, `statistics` (name -> value, low,
        high: ends of the 95 % intervals), `resampled` ("images" or
        "particles"), `histogram` (edges, density), `grid`, `kde`, `fits`,
        `best` and `remarks`. None where something is not defined; `remarks` says why.
    """
    if weight not in WEIGHTS:
        raise NanosynthError(f"weight = {weight!r} is neither number nor area.", "Choose one of these.")
    if len({sample.unit for sample in samples}) > 1:
        raise NanosynthError(
            "Some images have a scale and some have none; their sizes cannot be pooled.", "State the scale of all of them."
        )
    sizes, areas, weights = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("sizes", "areas", "weights"))
    image = np.repeat(np.arange(len(samples)), [sample.sizes.size for sample in samples])
    order = np.argsort(sizes, kind="stable")
    sizes, image = sizes[order], image[order]
    weights = (weights * (areas if weight == "area" else 1))[order]
    remarks = list(dict.fromkeys(remark for sample in samples for remark in sample.remarks))
    if not sizes.size:
        remarks.append("no whole particle: nothing to state")
    elif sizes.size == 1:
        remarks.append("one particle: no spread, no intervals, no fits")
    elif repeats < 1:
        remarks.append("no intervals: no resampling was asked for")
    by_image = len(samples) >= FEWEST_IMAGES
    values = statistics(sizes, weights)
    ends = _intervals(sizes, weights, image, len(samples), by_image, rng, repeats)
    density, edges, grid, kernel = None, None, None, None
    if sizes.size:
        density, edges = np.histogram(sizes, bins(sizes), weights=weights, density=True)
        grid = np.linspace(0, 1.25 * sizes[-1], 257)[1:]
        kernel = _kernel(sizes, weights, grid)
        if kernel is None and sizes.size > 1:
            remarks.append("all particles of one size: no kernel estimate, no fits")
    fits = _fits(sizes, weights, grid, rng)
    fitted = {name: fit["bic"] for name, fit in fits.items() if "bic" in fit}
    return {
        "unit": samples[0].unit,
        "weight": weight,
        "images": len(samples),
        "particles": int(sizes.size),
        "cut": sum(sample.cut for sample in samples),
        "resampled": "images" if by_image else "particles",
        "level": LEVEL,
        "statistics": {
            name: {"value": _plain(value), "low": _plain(low), "high": _plain(high)}
            for name, value, low, high in zip(STATISTICS, values, *ends)
        },
        "histogram": None if edges is None else {"edges": edges.tolist(), "density": density.tolist()},
        "grid": None if grid is None else grid.tolist(),
        "kde": None if kernel is None else kernel.tolist(),
        "fits": fits,
        "best": min(fitted, key=fitted.get) if fitted else None,
        "remarks": remarks,
    }


def _plain(value):
    return float(value) if np.isfinite(value) else None


def _intervals(sizes, weights, image, images, by_image, rng, repeats):
    """Percentile bootstrap of `statistics`; (2, statistics)."""
    if sizes.size < 2 or repeats < 1:
        return np.full((2, len(STATISTICS)), np.nan)
    drawn = []
    for _ in range(repeats):
        if by_image:
            times = np.bincount(rng.integers(0, images, images), minlength=images)[image]
        else:
            times = np.bincount(rng.integers(0, sizes.size, sizes.size), minlength=sizes.size)
        drawn.append(statistics(sizes, weights * times))
    return np.nanpercentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)


def _kernel(sizes, weights, grid):
    """Gaussian kernel estimate on logarithmic sizes, so that nothing leaks below 0; bandwidth by Silverman's rule."""
    if sizes.size < 2 or sizes[0] == sizes[-1]:
        return None
    return gaussian_kde(np.log(sizes), "silverman", weights)(np.log(grid)) / grid


# Fits


def _fits(sizes, weights, grid, rng):
    effective = weights.sum() ** 2 / (weights**2).sum() if sizes.size else 0.0
    fits = {}
    for name, parameters in MODELS.items():
        if sizes.size < FEWEST[name] or effective < FEWEST[name]:
            few = f"fewer than {FEWEST[name]} particles" + (" of equal weight" if sizes.size >= FEWEST[name] else "")
            fits[name] = {"reason": few}
            continue
        if sizes[0] == sizes[-1]:
            fits[name] = {"reason": "all particles of one size"}
            continue
        scaled = weights * effective / weights.sum()
        mixture = _fit(name, sizes, scaled)
        log_likelihood = float(scaled @ np.log(np.maximum(_density(name, mixture, sizes), 1e-300)))
        distance = _ks(name, mixture, sizes, scaled)
        count = min(round(effective), SIMULATED)
        simulated = []
        for _ in range(SIMULATIONS):
            drawn = np.sort(_draw(name, mixture, count, rng))
            again = _fit(name, drawn, np.ones(count), start=mixture)
            simulated.append(_ks(name, again, drawn, np.ones(count)))
        fits[name] = {
            "parameters": _parameters(name, mixture),
            "log_likelihood": log_likelihood,
            "bic": float(parameters * np.log(effective) - 2 * log_likelihood),
            "ks": distance,
            "ks_p": (1 + int(np.count_nonzero(np.array(simulated) * np.sqrt(count) >= distance * np.sqrt(effective)))) / (1 + SIMULATIONS),
            "density": _density(name, mixture, grid).tolist(),
        }
    return fits


def _fit(name, sizes, weights, start=None):
    """Weighted maximum likelihood: (share, middle, spread), float (components,) each, on logarithms but for the normal."""
    values = sizes if name == "normal" else np.log(sizes)
    share = weights / weights.sum()
    middle = share @ values
    spread = max(np.sqrt(share @ (values - middle) ** 2), 1e-9)
    if name != "bimodal":
        return np.array([1.0]), np.array([middle]), np.array([spread])
    if start is not None:
        return _expectation_maximisation(values, weights, start, spread, 25)[1]
    if values.size > THINNED:  # neighbours joined: the mixture's parameters do not notice
        starts = np.linspace(0, values.size, THINNED, endpoint=False).astype(int)
        joined = np.add.reduceat(weights, starts)
        values, weights = np.add.reduceat(weights * values, starts) / joined, joined
        share = weights / weights.sum()
    tries = []
    cumulated = np.cumsum(share)
    for quantile in (0.2, 0.5, 0.8):  # several starts: the likelihood has several peaks
        low = cumulated <= quantile
        if low.any() and not low.all():
            middles = np.array([np.average(values[part], weights=weights[part]) for part in (low, ~low)])
            begin = np.array([quantile, 1 - quantile]), middles, np.full(2, spread / 2)
            tries.append(_expectation_maximisation(values, weights, begin, spread, 200))
    return max(tries, key=lambda found: found[0])[1]


def _expectation_maximisation(values, weights, begin, spread, rounds):
    """A mixture of two normal distributions (Dempster, Laird, Rubin 1977): its log-likelihood and parameters.

    A component is kept from shrinking to a point by a least spread, a tenth of that of all.
    """
    share, middle, width = begin
    last = -np.inf
    for _ in range(rounds):
        parts = share * np.exp(-0.5 * ((values[:, None] - middle) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        whole = np.maximum(parts.sum(axis=1), 1e-300)
        likelihood = weights @ np.log(whole)
        if likelihood - last < 1e-7 * abs(likelihood):
            break
        last = likelihood
        belongs = weights[:, None] * parts / whole[:, None]
        count = np.maximum(belongs.sum(axis=0), 1e-9)
        share, middle = count / count.sum(), values @ belongs / count
        width = np.maximum(np.sqrt((belongs * (values[:, None] - middle) ** 2).sum(axis=0) / count), 0.1 * spread)
    order = np.argsort(middle)
    return likelihood, (share[order], middle[order], width[order])


def _density(name, mixture, sizes):
    share, middle, width = mixture
    values = (sizes if name == "normal" else np.log(sizes))[:, None]
    density = (share / (width * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((values - middle) / width) ** 2)).sum(axis=1)
    return density if name == "normal" else density / sizes


def _ks(name, mixture, sizes, weights):
    """The Kolmogorov-Smirnov distance of rising weighted sizes from a model."""
    share, middle, width = mixture
    model = ndtr(((sizes if name == "normal" else np.log(sizes))[:, None] - middle) / width) @ share
    above = np.cumsum(weights) / weights.sum()
    return float(max((above - model).max(), (model - above + weights / weights.sum()).max()))


def _draw(name, mixture, count, rng):
    share, middle, width = mixture
    which = np.searchsorted(np.cumsum(share)[:-1], rng.random(count))
    values = rng.normal(middle[which], width[which])
    return values if name == "normal" else np.exp(values)


def _parameters(name, mixture):
    share, middle, width = (values.tolist() for values in mixture)
    if name == "normal":
        return {"mean": middle[0], "sd": width[0]}
    middle, width = np.exp(middle).tolist(), np.exp(width).tolist()
    if name == "lognormal":
        return {"geometric_mean": middle[0], "gsd": width[0]}
    return {"share": share, "geometric_mean": middle, "gsd": width}


# A result folder


def analyse(
    result,
    out,
    *,
    weight: str = "number",
    size: str = "diameter",
    border_correction: bool = False,
    repeats: int = 1000,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict:
    """Write the size distributions of a segmented series, image by image and pooled.

    `out` receives distributions.json, distributions.csv, pooled.png and
    pictures/NAME.png.

    Parameters
    ----------
    result : path-like
        Folder that `segment` wrote, or a folder of particle tables.
    out : path-like
    weight, size, repeats
        As in `distribution` and `sample_of`.
    border_correction : bool
        Weight particles as `sample_of` does with a frame.
    seed : int
    reporter : Reporter, optional

    Returns
    -------
    dict
        What distributions.json holds.

    Raises
    ------
    NanosynthError
        If there are no particle tables, or the size of an image is not known for the border correction.
    """
    reporter, out = reporter or Reporter(), Path(out)
    rng = np.random.default_rng(seed)
    places = _tables(Path(result))
    samples = {}
    reporter.started("analyse", text=f"Analysing {len(places)} image{'s' * (len(places) != 1)}", images=len(places))
    for name, (table, frame) in places.items():
        samples[name] = sample_of(read_table(table), size=size, frame_px=frame(name) if border_correction else None)
    unit = "nm" if any(sample.unit == "nm" for sample in samples.values()) else "px"
    pooled = {name: sample for name, sample in samples.items() if sample.unit == unit}
    others = [name for name, sample in samples.items() if name not in pooled and sample.sizes.size + sample.cut]
    if others:
        reporter.warning(f"{', '.join(others)}: scale not known; not pooled with the others.", "Segment again with --nm-per-px.")
    if not any(sample.sizes.size + sample.cut for sample in samples.values()):
        reporter.warning("No image has any particle: there is nothing to analyse.")
    elif unit == "px":
        reporter.warning("Scale not known: sizes are in px, and pooling supposes one magnification.", "Segment with --nm-per-px.")
    record = {
        "size": size,
        "weight": weight,
        "border_correction": border_correction,
        "repeats": repeats,
        "seed": seed,
        "not_pooled": others,
        "images": {},
    }
    for done, (name, sample) in enumerate(samples.items(), 1):
        record["images"][name] = distribution([sample], rng, weight=weight, repeats=repeats)
        picture = out / "pictures" / f"{name}.png"
        distribution_picture(picture, record["images"][name], size=size, title=name)
        reporter.artifact(picture, "distribution")
        reporter.progress(done, len(samples) + 1, name)
    record["pooled"] = distribution(list(pooled.values()), rng, weight=weight, repeats=repeats)
    if others:
        record["pooled"]["remarks"].append(f"not pooled, scale not known: {', '.join(others)}")
    distribution_picture(out / "pooled.png", record["pooled"], size=size, title=f"{len(pooled)} image{'s' * (len(pooled) != 1)} pooled")
    write_json(out / "distributions.json", record)
    write_text(out / "distributions.csv", table_text(record))
    for path, role in (("pooled.png", "distribution"), ("distributions.json", "distributions"), ("distributions.csv", "distributions")):
        reporter.artifact(out / path, role)
    reporter.progress(1, 1, "pooled")
    reporter.done(out=str(out), images=len(samples), particles=record["pooled"]["particles"])
    return record


def _tables(folder):
    """Name -> (particle table, function that gives the frame (height, width) in px)."""
    with explained(folder):
        folder.stat()
    index = folder / "segmentation.json"
    entries = {e["name"]: e for e in read_json(index)["images"] if "error" not in e} if index.is_file() else {}

    def frame(name):
        entry = entries.get(name)
        if entry is None:
            raise NanosynthError(
                f"{folder}: the image size of {name} is not known.", "Name a folder that 'segment' wrote, or leave --border-correction out."
            )
        height, width = read_labels(folder / entry["files"]["instances"]).shape
        return height - entry["banner_px"], width

    if entries:
        found = {name: folder / entry["files"]["particles"] for name, entry in entries.items()}
    else:
        inside = folder / "particles" if (folder / "particles").is_dir() else folder
        found = {path.stem: path for path in sorted(inside.glob("*.csv"), key=natural)}
    if not found:
        raise NanosynthError(f"{folder}: no particle tables.", "Name the folder that 'segment --out' wrote.")
    return {name: (path, frame) for name, path in found.items()}


def rows(record: dict):
    """Yields (name, distribution) of each image and of the pooled ones."""
    yield from record["images"].items()
    yield "pooled", record["pooled"]


def table_text(record: dict) -> str:
    """What `analyse` returns as CSV: a row for each image and one for all pooled. What is empty has its reason in `remarks`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    ends = ("value", "low", "high")
    names = [name if end == "value" else f"{name}_{end}" for name in STATISTICS for end in ends]
    models = [f"{model}_{value}" for model in MODELS for value in ("bic", "ks", "ks_p")]
    writer.writerow(["image", "size", "unit", "weight", "particles", "cut", *names, "best", *models, "remarks"])
    for name, result in rows(record):
        values = [result["statistics"][statistic][end] for statistic in STATISTICS for end in ends]
        fits = [result["fits"][model].get(value) for model in MODELS for value in ("bic", "ks", "ks_p")]
        reasons = [f"no {model} fit: {fit['reason']}" for model, fit in result["fits"].items() if "reason" in fit]
        numbers = ["" if value is None else f"{value:.6g}" for value in values]
        writer.writerow(
            [name, record["size"], result["unit"], result["weight"], result["particles"], result["cut"], *numbers, result["best"] or ""]
            + ["" if value is None else f"{value:.6g}" for value in fits]
            + ["; ".join(result["remarks"] + reasons)]
        )
    return stream.getvalue()


def report(record: dict) -> str:
    """What `analyse` returns as a table for people."""
    heads = ("image", "particles", "mean", "SD", "D10", "D50", "D90", "95% of D50", "best fit", "KS p")
    cells = [heads]
    for name, result in rows(record):
        values = {key: value["value"] for key, value in result["statistics"].items()}
        numbers = ["-" if values[key] is None else f"{values[key]:.4g}" for key in ("mean", "sd", "d10", "d50", "d90")]
        median = result["statistics"]["d50"]
        interval = "-" if median["low"] is None else f"{median['low']:.4g}..{median['high']:.4g}"
        best = result["best"]
        cells.append(
            (name, str(result["particles"]), *numbers, interval, best or "-", f"{result['fits'][best]['ks_p']:.2f}" if best else "-")
        )
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = ["  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths))) for row in cells]
    rule = "-" * max(map(len, lines))
    lines = [lines[0], rule, *lines[1:-1], rule, lines[-1], ""]
    counted = "projected area" if record["weight"] == "area" else "number"
    lines.append(f"Size: {record['size']} in {record['pooled']['unit']} (pooled), weighted by {counted}.")
    reasons = {}
    for name, result in rows(record):
        for remark in result["remarks"]:
            reasons.setdefault(remark, []).append(name)
    lines += [f"{', '.join(names)}: {remark}." for remark, names in reasons.items()]
    return "\n".join(lines)
