"""Label images against true ones, matched by name: scores per image and overall."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from ..errors import NanosynthError, explained
from ..files import write_json, write_text
from . import images, metrics

SHOWN = ("precision", "recall", "accuracy", "f1", "iou", "instance_precision", "instance_recall", "instance_f1", "ap50", "ap")
"""The scores of an image, in the order of the table; `f1` is by pixel, `instance_f1` at IoU 0.5."""
COUNTS = ("n_truth", "n_predicted", "matched", "tp", "fp", "fn", "tn")


def evaluate_folders(truth_dir, predicted_dir, valid=None, exclude=()) -> dict:
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

    Returns
    -------
    dict
        `images`, by name the scores of `SHOWN`, the counts of `COUNTS` and
        `mean_iou` of the matched pairs; `mean`, the scores' means over the
        images; `overall`, the scores from the counts of all images pooled, and
        these counts; `excluded`.

    Raises
    ------
    NanosynthError
        If a prediction is missing, two images differ in size, or a name to be
        excluded does not occur.
    """
    truths = _by_name(truth_dir)
    predicted_dir = Path(predicted_dir)
    if (predicted_dir / "instances").is_dir():
        predicted_dir = predicted_dir / "instances"
    predictions = _by_name(predicted_dir)
    masks = {} if valid is None else _by_name(valid)
    # Single files are compared with each other whatever they are called.
    for others, place in ((predictions, predicted_dir), (masks, valid)):
        if Path(truth_dir).is_file() and others and Path(place).is_file():
            others[Path(truth_dir).stem] = next(iter(others.values()))
    unknown = sorted(set(exclude) - set(truths))
    if unknown:
        raise NanosynthError(f"{truth_dir}: no image is called {', '.join(unknown)}.", "Exclude by the file's name without its suffix.")
    names = [name for name in truths if name not in set(exclude)]
    missing = [name for name in names if name not in predictions]
    if missing:
        raise NanosynthError(
            f"{predicted_dir}: no prediction for {', '.join(missing)}.", "Segment these images too, or exclude them by name."
        )
    if not names:
        raise NanosynthError(f"{truth_dir}: every image is excluded.", "Exclude fewer.")
    scored = {name: _score(truths[name], predictions[name], masks.get(name)) for name in names}
    return {
        "images": {name: {key: value for key, value in row.items() if key != "matched_at"} for name, row in scored.items()},
        "mean": {key: float(np.mean([row[key] for row in scored.values()])) for key in SHOWN},
        "overall": _pooled(list(scored.values())),
        "excluded": sorted(exclude),
    }


def compare(truth, predicted, valid=None) -> dict:
    """The scores of `SHOWN` and the counts of `COUNTS` of one image given as arrays.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        int (H, W), 0 background.
    valid : numpy.ndarray, optional
        (H, W); pixels where it is 0 are left out.
    """
    pixels = metrics.pixel_scores(truth, predicted, valid)
    instances = metrics.instance_scores(truth, predicted, valid)
    return {
        **{key: pixels[key] for key in SHOWN[:5]},
        **{f"instance_{key}": instances[key] for key in ("precision", "recall", "f1")},
        "ap50": instances["ap50"],
        "ap": instances["ap"],
        "mean_iou": instances["mean_iou"],
        "n_truth": instances["n_truth"],
        "n_predicted": instances["n_predicted"],
        "matched": instances["tp"],
        **{key: pixels[key] for key in ("tp", "fp", "fn", "tn")},
        "matched_at": instances["matched"],
    }


def _by_name(place) -> dict:
    """Name without suffix -> path, in natural order."""
    with explained(place):
        Path(place).stat()
    found = {}
    for path in images.list_images(place):
        if path.stem in found:
            raise NanosynthError(f"{place}: {found[path.stem].name} and {path.name} have the same name.", "Keep one of them.")
        found[path.stem] = path
    return found


def _score(truth_path, predicted_path, valid_path):
    truth, predicted = images.read_labels(truth_path), images.read_labels(predicted_path)
    valid = None if valid_path is None else images.read_mask(valid_path)
    for path, other in ((predicted_path, predicted), (valid_path, valid)):
        if other is not None and other.shape != truth.shape:
            raise NanosynthError(
                f"{truth_path} is {_size(truth)}, but {path} is {_size(other)}.",
                "Compare images of the same size; a banner cut off one must be cut off the other too.",
            )
    return compare(truth, predicted, valid)


def _size(values):
    return f"{values.shape[1]} x {values.shape[0]} px"


def _pooled(scored):
    total = {key: sum(row[key] for row in scored) for key in COUNTS}
    pixels = metrics.scores_of_pixels(*(total[key] for key in ("tp", "fp", "fn", "tn")))
    matched = np.sum([row["matched_at"] for row in scored], axis=0).tolist()
    at = [metrics.scores_of_instances(tp, total["n_predicted"] - tp, total["n_truth"] - tp) for tp in matched]
    return {
        **{key: pixels[key] for key in SHOWN[:5]},
        **{f"instance_{key}": at[0][key] for key in ("precision", "recall", "f1")},
        "ap50": at[0]["ap"],
        "ap": float(np.mean([a["ap"] for a in at])),
        **total,
    }


def _rows(scores):
    return [*scores["images"].items(), ("mean of images", scores["mean"]), ("all pooled", scores["overall"])]


def report(scores: dict) -> str:
    """The result of `evaluate_folders` as a table for people."""
    heads = ("image", "prec", "recall", "accur", "F1", "IoU", "i-prec", "i-rec", "i-F1", "AP50", "AP", "true", "found")
    rows = [heads]
    for name, row in _rows(scores):
        rows.append((name, *(f"{row[key]:.3f}" for key in SHOWN), *(str(row.get(key, "")) for key in ("n_truth", "n_predicted"))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = ["  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths))).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    lines = [
        lines[0],
        rule,
        *lines[1:-2],
        rule,
        *lines[-2:],
        "",
        "prec to IoU: by pixel; i-: by instance at IoU 0.5; AP50 and AP (mean over IoU 0.5 to 0.95): TP / (TP + FP + FN).",
    ]
    if scores["excluded"]:
        lines.append(f"Left out: {', '.join(scores['excluded'])}.")
    return "\n".join(lines)


def table_text(scores: dict) -> str:
    """The result of `evaluate_folders` as CSV: a row for each image, then their mean and all pooled."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", *SHOWN, *COUNTS])
    for name, row in _rows(scores):
        writer.writerow([name, *(f"{row[key]:.6f}" for key in SHOWN), *(row.get(key, "") for key in COUNTS)])
    return stream.getvalue()


def write_scores(path, scores: dict):
    """Write the result of `evaluate_folders`: as JSON, CSV or, with any other suffix, the table for people."""
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        write_json(path, scores)
    else:
        write_text(path, table_text(scores) if suffix == ".csv" else report(scores) + "\n")
