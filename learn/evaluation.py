"""Label images against true ones, matched by name: scores per image and overall."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wasserstein_distance

from ..errors import NanosynthError, explained
from ..files import write_json, write_text
from . import images, metrics
from .metadata import ScaleFile, given_scale

PIXEL = ("precision", "recall", "accuracy", "f1", "iou")
INSTANCE = ("instance_precision", "instance_recall", "instance_f1", "ap50", "ap75", "ap")
COCO = ("coco_ap", "coco_ap50", "coco_ap75")
SIZE = ("size_distance_nm", "size_distance_px")
SHOWN = (*PIXEL, *INSTANCE, *COCO, "warping_error", "pq", "sq", "rq", "aji", "boundary_f1", *SIZE)
"""The scores of an image, in the order of the table; `f1` is by pixel, `instance_f1` at IoU 0.5. None where one is not defined."""
COUNTS = ("n_truth", "n_predicted", "matched", "tp", "fp", "fn", "tn")
SUMS = (
    *COUNTS,
    "segments",
    "segments_iou",
    "aji_intersection",
    "aji_union",
    "edge_predicted",
    "edge_predicted_right",
    "edge_truth",
    "edge_truth_found",
    "warping_px",
    "valid_px",
)
"""What is added over images; the pooled scores follow from the sums."""
LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """One image's scores, and what pooling needs beside them.

    Attributes
    ----------
    scores : dict
        Those of `SHOWN` and `SUMS`, `mean_iou` and `notes`.
    matched_at : list of int
        Matches at each of `metrics.IOUS`.
    detections : metrics.Detections or None
    sizes : pair of ndarray
        Equivalent circular diameters in px of the whole particles, true and found.
    nm_per_px : float or None
    """

    scores: dict
    matched_at: list
    detections: metrics.Detections | None
    sizes: tuple
    nm_per_px: float | None


def evaluate_folders(
    truth_dir, predicted_dir, valid=None, exclude=(), *, probability=None, nm_per_px=None, repeats: int = 1000, seed: int = 0
) -> dict:
    """Score every label image of a folder that has a true one of the same name.

    Parameters
    ----------
    truth_dir, predicted_dir : path-like
        Folders of label images (names are compared without their suffix), or
        one file each. If `predicted_dir` has a folder `instances`, as the
        results of `segment` have, that is taken.
    valid : path-like, optional
        Folder of masks (or one mask); pixels that are 0 are left out. An image
        that has none is scored whole.
    exclude : sequence of str
        Names without suffix that are left out, such as a validation image.
    probability : path-like, optional
        Folder of probability images of the same names (or one). Gives COCO's
        average precision its confidences, and the warping error its proposal,
        which is the mask of the label image otherwise.
    nm_per_px : float or metadata.ScaleFile, optional
        For the distance of the size distributions. Otherwise what the label
        images' files say.
    repeats, seed : int
        Of the bootstrap over images; 0 repeats give no intervals.

    Returns
    -------
    dict
        `images`, by name the scores of `SHOWN`, the counts of `SUMS`,
        `mean_iou` of the matched pairs and `notes` on scores that are None;
        `mean`, the scores' means over the images that have them; `overall`, the
        scores from the counts of all images pooled, and these counts;
        `intervals`, with the ends of the confidence intervals of `mean` and
        `overall`; `excluded`.

    Raises
    ------
    NanosynthError
        If a prediction is missing, two images differ in size, or a name to be
        excluded does not occur.
    """
    truths = files_by_name(truth_dir)
    predicted_dir = Path(predicted_dir)
    if (predicted_dir / "instances").is_dir():
        predicted_dir = predicted_dir / "instances"
    predictions = files_by_name(predicted_dir)
    masks = {} if valid is None else files_by_name(valid)
    certain = {} if probability is None else files_by_name(probability)
    # Single files are compared with each other whatever they are called.
    for others, place in ((predictions, predicted_dir), (masks, valid), (certain, probability)):
        if Path(truth_dir).is_file() and others and Path(place).is_file():
            others[Path(truth_dir).stem] = next(iter(others.values()))
    unknown = sorted(set(exclude) - set(truths))
    if unknown:
        raise NanosynthError(f"{truth_dir}: no image is called {', '.join(unknown)}.", "Exclude by the file's name without its suffix.")
    names = [name for name in truths if name not in set(exclude)]
    for what, found, place in (("prediction", predictions, predicted_dir), ("probability", certain, probability)):
        missing = [name for name in names if name not in found]
        if missing and place is not None:
            raise NanosynthError(f"{place}: no {what} for {', '.join(missing)}.", "Segment these images too, or exclude them by name.")
    if not names:
        raise NanosynthError(f"{truth_dir}: every image is excluded.", "Exclude fewer.")
    if isinstance(nm_per_px, ScaleFile):
        nm_per_px.refuse_strangers(truths[name] for name in names)
    scored = {name: _score(truths[name], predictions[name], masks.get(name), certain.get(name), nm_per_px) for name in names}
    return {
        "images": {name: image.scores for name, image in scored.items()},
        "mean": _mean(list(scored.values())),
        "overall": _pooled(list(scored.values())),
        "intervals": _intervals(list(scored.values()), repeats, seed),
        "excluded": sorted(exclude),
    }


def compare(truth, predicted, valid=None, *, probability=None, nm_per_px=None) -> Compared:
    """Score one image given as arrays.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        int (H, W), 0 background.
    valid : numpy.ndarray, optional
        (H, W); pixels where it is 0 are left out.
    probability : numpy.ndarray, optional
        float (H, W) in [0, 1].
    nm_per_px : float, optional
    """
    metrics.same_size(truth=truth, predicted=predicted, valid=valid, probability=probability)
    within = np.ones(np.shape(truth), dtype=bool) if valid is None else np.asarray(valid) != 0
    pixels = metrics.pixel_scores(truth, predicted, valid)
    instances = metrics.instance_scores(truth, predicted, valid)
    proposal = metrics.separated_mask(predicted) if probability is None else np.asarray(probability)
    wrong = round(metrics.warping_error(metrics.separated_mask(truth) & within, proposal * within) * within.size)
    detections = None if probability is None else metrics.coco_detections(truth, predicted, probability, valid)
    sizes = _diameters(truth, within), _diameters(predicted, within)
    known = {
        **{key: pixels[key] for key in PIXEL},
        **{f"instance_{key}": instances[key] for key in ("precision", "recall", "f1")},
        **{key: instances[key] for key in ("ap50", "ap75", "ap", "pq", "sq", "rq", "aji")},
        **metrics.boundary_scores(truth, predicted, valid),
        "warping_error": wrong / max(int(within.sum()), 1),
        **_coco([detections]),
        **_size_distances([(sizes, nm_per_px)]),
        "mean_iou": instances["mean_iou"],
        "matched": instances["tp"],
        **{key: instances[key] for key in ("n_truth", "n_predicted", "segments", "segments_iou", "aji_intersection", "aji_union")},
        **{key: pixels[key] for key in ("tp", "fp", "fn", "tn")},
        "warping_px": wrong,
        "valid_px": int(within.sum()),
    }
    notes = []
    if known["coco_ap"] is None:
        notes.append("no COCO AP: " + ("no probability was given" if probability is None else "the annotation has no particle"))
    if known["size_distance_px"] is None:
        notes.append("no size distance: no whole particle in the " + ("annotation" if not sizes[0].size else "prediction"))
    elif known["size_distance_nm"] is None:
        notes.append("no size distance in nm: scale not known")
    ordered = {key: known[key] for key in (*SHOWN, "mean_iou", *SUMS)} | {"notes": notes}
    return Compared(ordered, instances["matched"], detections, sizes, nm_per_px)


def _diameters(labels, within):
    """Equivalent circular diameters, px, of the particles that neither the border nor an invalid pixel cuts."""
    labels = np.asarray(labels)
    area = np.bincount(labels.ravel(), minlength=1)
    area[0] = 0
    for cut in (labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[~within]):
        area[cut] = 0
    return np.sqrt(4 / np.pi * area[area > 0])


def _coco(detections):
    """COCO's scores, None unless every image has detections and one of them a true particle."""
    found = None if any(image is None for image in detections) else metrics.coco_average_precision(detections)
    return found or dict.fromkeys(COCO)


def _size_distances(images):
    """Wasserstein distances of [((true, found), nm_per_px)], their diameters pooled; None where not defined."""
    result = dict.fromkeys(SIZE)
    scales = [nm for _, nm in images]
    for key, factors in (("size_distance_px", [1.0] * len(images)), ("size_distance_nm", scales)):
        if None not in factors:
            pooled = [np.concatenate([sizes[i] * f for (sizes, _), f in zip(images, factors)]) for i in (0, 1)]
            if pooled[0].size and pooled[1].size:
                result[key] = float(wasserstein_distance(*pooled))
    return result


def files_by_name(place) -> dict:
    """Name without suffix -> path, in natural order."""
    with explained(place):
        Path(place).stat()
    found = {}
    for path in images.list_images(place):
        if path.stem in found:
            raise NanosynthError(f"{place}: {found[path.stem].name} and {path.name} have the same name.", "Keep one of them.")
        found[path.stem] = path
    return found


def _score(truth_path, predicted_path, valid_path, probability_path, nm_per_px):
    truth, predicted = images.read_labels(truth_path), images.read_labels(predicted_path)
    valid = None if valid_path is None else images.read_mask(valid_path)
    probability = None if probability_path is None else images.read_probability(probability_path)
    for path, other in ((predicted_path, predicted), (valid_path, valid), (probability_path, probability)):
        if other is not None and other.shape != truth.shape:
            raise NanosynthError(
                f"{truth_path} is {_size(truth)}, but {path} is {_size(other)}.",
                "Compare images of the same size; a banner cut off one must be cut off the other too.",
            )
    stated, _ = given_scale(nm_per_px, truth_path)
    nm_per_px = stated or images.read_scale(predicted_path)[0] or images.read_scale(truth_path)[0]
    return compare(truth, predicted, valid, probability=probability, nm_per_px=nm_per_px)


def _size(values):
    return f"{values.shape[1]} x {values.shape[0]} px"


def _mean(compared):
    """Means over the images that have a score; None where none has."""
    columns = {key: [image.scores[key] for image in compared if image.scores[key] is not None] for key in SHOWN}
    return {key: float(np.mean(values)) if values else None for key, values in columns.items()}


def _pooled(compared):
    total = {key: sum(image.scores[key] for image in compared) for key in SUMS}
    matched = np.sum([image.matched_at for image in compared], axis=0).tolist()
    at = [metrics.scores_of_instances(tp, total["n_predicted"] - tp, total["n_truth"] - tp) for tp in matched]
    known = {
        **metrics.scores_of_pixels(*(total[key] for key in ("tp", "fp", "fn", "tn"))),
        **{f"instance_{key}": at[0][key] for key in ("precision", "recall", "f1")},
        "ap50": at[0]["ap"],
        "ap75": at[metrics.IOUS.index(0.75)]["ap"],
        "ap": float(np.mean([a["ap"] for a in at])),
        **_coco([image.detections for image in compared]),
        "warping_error": total["warping_px"] / max(total["valid_px"], 1),
        **metrics.scores_of_segments(total["segments"], total["segments_iou"], total["n_truth"], total["n_predicted"]),
        "aji": metrics.ratio(total["aji_intersection"], total["aji_union"], 1.0),
        **metrics.scores_of_edges(*(total[key] for key in SUMS if key.startswith("edge_"))),
        **_size_distances([(image.sizes, image.nm_per_px) for image in compared]),
    }
    return {key: known[key] for key in SHOWN} | total


def _intervals(compared, repeats, seed):
    """Bootstrap intervals over images of the means and the pooled scores; `note` says why there are none."""
    result = {"level": LEVEL, "repeats": repeats, "seed": seed, "mean": dict.fromkeys(SHOWN), "overall": dict.fromkeys(SHOWN)}
    if len(compared) < 2 or repeats < 1:
        return result | {"note": "an interval over images needs at least two" if len(compared) < 2 else "no repeats were asked for"}

    def scores(some):
        return [np.nan if part[key] is None else part[key] for part in (_mean(some), _pooled(some)) for key in SHOWN]

    ends = metrics.bootstrap(compared, scores, np.random.default_rng(seed), repeats=repeats, level=LEVEL).T.tolist()
    for part, rows in (("mean", ends[: len(SHOWN)]), ("overall", ends[len(SHOWN) :])):
        result[part] = {key: None if np.isnan(row).any() else row for key, row in zip(SHOWN, rows)}
    return result | {"note": ""}


def _rows(scores):
    return [*scores["images"].items(), ("mean of images", scores["mean"]), ("all pooled", scores["overall"])]


PAPER_HEADS = {
    "precision": "Precision",
    "recall": "Recall",
    "accuracy": "Accuracy",
    "f1": "F1",
    "ap": "AP",
    "warping_error": "Warping/1e-6",
    "n_predicted": "N found",
    "n_truth": "N manual",
}
INSTANCE_HEADS = {
    "instance_precision": "i-prec",
    "instance_recall": "i-rec",
    "instance_f1": "i-F1",
    "ap50": "AP50",
    "ap75": "AP75",
    "coco_ap": "COCO-AP",
    "iou": "IoU",
}
OTHER_HEADS = {
    "pq": "PQ",
    "sq": "SQ",
    "rq": "RQ",
    "aji": "AJI",
    "boundary_f1": "b-F1",
    "size_distance_nm": "W/nm",
    "size_distance_px": "W/px",
}


def report(scores: dict) -> str:
    """The result of `evaluate_folders` as tables for people, the first as Figure 4a of Mill et al. 2021."""
    count = len(scores["images"])
    means = {key: sum(row[key] for row in scores["images"].values()) / count for key in ("n_truth", "n_predicted")}
    rows = _rows(scores)
    rows[-2] = ("mean of images", scores["mean"] | means)
    ends = {key: pair for key, pair in scores["intervals"]["mean"].items() if pair}
    interval = [(f"  {LEVEL:.0%} {end}", {key: pair[i] for key, pair in ends.items()}) for i, end in enumerate(("from", "to"))]
    lines = []
    for heads in (PAPER_HEADS, INSTANCE_HEADS, OTHER_HEADS):
        lines += _table(heads, rows[:-1] + interval * bool(ends) + rows[-1:], count) + [""]
    lines += [
        "Precision to F1, IoU: by pixel; i-: by instance at IoU 0.5; AP (mean over IoU 0.5 to 0.95), AP50, AP75: TP / (TP + FP + FN);",
        "COCO-AP: area under the precision-recall curve; PQ = SQ x RQ: panoptic quality; AJI: aggregated Jaccard index;",
        f"b-F1: boundaries within {metrics.BOUNDARY_TOLERANCE_PX:g} px; W: Wasserstein distance of the diameters. docs/measures.md defines them.",
    ]
    if scores["intervals"]["note"]:
        lines.append(f"No confidence intervals: {scores['intervals']['note']}.")
    notes = {}
    for name, row in scores["images"].items():
        for note in row["notes"]:
            notes.setdefault(note, []).append(name)
    lines += [
        f"{note[0].upper()}{note[1:]} ({'all images' if len(names) == count else ', '.join(names)})." for note, names in notes.items()
    ]
    if scores["excluded"]:
        lines.append(f"Left out: {', '.join(scores['excluded'])}.")
    return "\n".join(lines)


def _table(heads, rows, count):
    cells = [("image", *heads.values())] + [(name, *(_cell(key, row.get(key)) for key in heads)) for name, row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads) + 1)]
    lines = [
        "  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths))).rstrip() for row in cells
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1 : count + 1], rule, *lines[count + 1 :]]


def _cell(key, value):
    if value is None:
        return "-"
    if key == "warping_error":
        return f"{value * 1e6:.0f}"
    if key in SIZE:
        return f"{value:.2f}"
    return str(value) if isinstance(value, int) else f"{value:.2f}" if key.startswith("n_") else f"{value:.3f}"


def table_text(scores: dict) -> str:
    """The result of `evaluate_folders` as CSV: a row for each image, their mean, all pooled, and the ends of the intervals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", *SHOWN, *COUNTS, "notes"])
    rows = [(name, row, "; ".join(row["notes"])) for name, row in scores["images"].items()]
    lacking = "; ".join(dict.fromkeys(note for _, _, notes in rows for note in notes.split("; ") if note))
    rows += [("mean of images", scores["mean"], lacking), ("all pooled", scores["overall"], lacking)]
    for part, name in (("mean", "mean of images"), ("overall", "all pooled")):
        for i, end in enumerate(("lower", "upper")):
            ends = {key: None if pair is None else pair[i] for key, pair in scores["intervals"][part].items()}
            rows.append((f"{name}, {end} end of {LEVEL:.0%}", ends, scores["intervals"]["note"] or lacking))
    for name, row, notes in rows:
        shown = ["" if row[key] is None else f"{row[key]:.6f}" for key in SHOWN]
        writer.writerow([name, *shown, *(row.get(key, "") for key in COUNTS), notes])
    return stream.getvalue()


def write_scores(path, scores: dict):
    """Write the result of `evaluate_folders`: as JSON, CSV or, with any other suffix, the table for people."""
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        write_json(path, scores)
    else:
        write_text(path, table_text(scores) if suffix == ".csv" else report(scores) + "\n")
