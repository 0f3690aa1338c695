"""Scores of a segmentation against the truth: by pixel, by instance, and the warping error.

Every score is computed from counts, and the counts are returned with it, so that
scores over several images can be pooled by adding the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

IOUS = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
"""The thresholds over which average precision is averaged: 0.5, 0.55, ..., 0.95."""


def ratio(part: float, whole: float, none: float) -> float:
    """part / whole; `none` where there is nothing to divide by."""
    return part / whole if whole else none


def pixel_scores(truth, predicted, valid=None) -> dict:
    """Compare two masks pixel by pixel.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        (H, W); particle where not 0.
    valid : numpy.ndarray, optional
        (H, W); pixels where it is 0 are left out.

    Returns
    -------
    dict
        tp, fp, fn, tn (int) and the scores of `scores_of_pixels`.
    """
    truth, predicted = np.asarray(truth) != 0, np.asarray(predicted) != 0
    if valid is not None:
        truth, predicted = truth[np.asarray(valid) != 0], predicted[np.asarray(valid) != 0]
    tp, fp, fn = (int(np.count_nonzero(m)) for m in (truth & predicted, predicted & ~truth, truth & ~predicted))
    return scores_of_pixels(tp, fp, fn, truth.size - tp - fp - fn)


def scores_of_pixels(tp: int, fp: int, fn: int, tn: int) -> dict:
    """precision, recall, accuracy, f1 (the Dice coefficient) and iou (Jaccard index) of counted pixels.

    Nothing predicted where nothing is counts as right: every score is 1.
    """
    none = 1.0 if not fp and not fn else 0.0
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "precision": ratio(tp, tp + fp, none),
        "recall": ratio(tp, tp + fn, none),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn, 1.0),
        "f1": ratio(2 * tp, 2 * tp + fp + fn, none),
        "iou": ratio(tp, tp + fp + fn, none),
    }


@dataclass(frozen=True)
class Overlaps:
    """The pairs of instances that overlap, and how many instances there are.

    Attributes
    ----------
    truth, predicted : numpy.ndarray
        int64 (P,), 0-based numbers of the instances of each pair.
    iou : numpy.ndarray
        float64 (P,), intersection over union of each pair.
    n_truth, n_predicted : int
    """

    truth: np.ndarray
    predicted: np.ndarray
    iou: np.ndarray
    n_truth: int
    n_predicted: int


def overlaps(truth, predicted, valid=None) -> Overlaps:
    """Intersection over union of all overlapping pairs, by one sparse contingency table.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        int (H, W), 0 background.
    valid : numpy.ndarray, optional
        (H, W). Pixels where it is 0 are left out of both, and so is every
        instance that has more than half of its pixels there.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if valid is not None:
        valid = np.asarray(valid) != 0
        truth, predicted = _within(truth, valid), _within(predicted, valid)
    truth, n_truth = _compact(truth)
    predicted, n_predicted = _compact(predicted)
    table = coo_array((np.ones(truth.size, dtype=np.int64), (truth, predicted)), shape=(n_truth + 1, n_predicted + 1)).tocsr()
    table.sum_duplicates()
    area_true, area_predicted = np.asarray(table.sum(axis=1)).ravel(), np.asarray(table.sum(axis=0)).ravel()
    table = table.tocoo()
    pair = (table.row > 0) & (table.col > 0)
    rows, columns, shared = table.row[pair], table.col[pair], table.data[pair]
    iou = shared / (area_true[rows] + area_predicted[columns] - shared)
    return Overlaps(rows.astype(np.int64) - 1, columns.astype(np.int64) - 1, iou, n_truth, n_predicted)


def _compact(labels):
    """Flat labels renumbered 1..n without gaps, and n."""
    flat = labels.ravel()
    present = np.bincount(flat) > 0
    present[0] = False
    return (np.cumsum(present) * present).astype(np.int32)[flat], int(present.sum())


def _within(labels, valid):
    whole = np.bincount(labels.ravel())
    inside = np.bincount(labels[valid], minlength=whole.size)
    return np.where(valid & (2 * inside >= whole)[labels], labels, 0)


def matches(pairs: Overlaps, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest one-to-one matching of instances whose overlap is at least `iou`.

    Above 0.5 an instance has at most one such partner, and nothing is to be
    chosen; at 0.5 and below, as many pairs as can be are made.

    Returns
    -------
    truth, predicted : numpy.ndarray
        int, numbers as in `pairs`.
    iou : numpy.ndarray
        float64, of the matched pairs.
    """
    good = np.flatnonzero(pairs.iou >= iou - 1e-12)
    rows, columns = pairs.truth[good], pairs.predicted[good]
    if np.unique(rows).size < rows.size or np.unique(columns).size < columns.size:
        graph = coo_array((np.ones(rows.size), (rows, columns)), shape=(pairs.n_truth, pairs.n_predicted)).tocsr()
        partner = maximum_bipartite_matching(graph, perm_type="column")
        good = good[partner[rows] == columns]
    return pairs.truth[good], pairs.predicted[good], pairs.iou[good]


def match_instances(truth, predicted, valid=None, iou: float = 0.5) -> dict:
    """Compare two label images instance by instance.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        int (H, W), 0 background.
    valid : numpy.ndarray, optional
        As in `overlaps`.
    iou : float
        Two instances match if their intersection over union is at least this.

    Returns
    -------
    dict
        tp, fp, fn (int) and the scores of `scores_of_instances`, and
        `mean_iou`, the mean intersection over union of the matched pairs.
    """
    pairs = overlaps(truth, predicted, valid)
    return _matched(pairs, iou)


def _matched(pairs, iou):
    _, _, good = matches(pairs, iou)
    scores = scores_of_instances(good.size, pairs.n_predicted - good.size, pairs.n_truth - good.size)
    return {**scores, "mean_iou": float(good.mean()) if good.size else 0.0}


def scores_of_instances(tp: int, fp: int, fn: int) -> dict:
    """precision, recall, f1 and ap = tp / (tp + fp + fn) of counted instances.

    This average precision of one threshold is that of the 2018 Data Science
    Bowl (Caicedo et al. 2019). Nothing found where nothing is gives 1.
    """
    none = 1.0 if not fp and not fn else 0.0
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": ratio(tp, tp + fp, none),
        "recall": ratio(tp, tp + fn, none),
        "f1": ratio(2 * tp, 2 * tp + fp + fn, none),
        "ap": ratio(tp, tp + fp + fn, none),
    }


def instance_scores(truth, predicted, valid=None) -> dict:
    """All instance scores of an image.

    Returns
    -------
    dict
        `n_truth`, `n_predicted`; those of `match_instances` at 0.5; `ap50`;
        `ap`, the mean over `IOUS`; `matched`, the matches at each of `IOUS`.
    """
    pairs = overlaps(truth, predicted, valid)
    at = [_matched(pairs, iou) for iou in IOUS]
    return {
        "n_truth": pairs.n_truth,
        "n_predicted": pairs.n_predicted,
        **at[0],
        "ap50": at[0]["ap"],
        "ap": float(np.mean([a["ap"] for a in at])),
        "matched": [a["tp"] for a in at],
    }


_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""The eight neighbours in a circle; those at odd places are the 4-neighbours."""


def _simple_patches() -> np.ndarray:
    """For each of the 256 neighbourhoods (bit k: neighbour k is foreground), may the centre be flipped?

    It may if that changes neither the number of 4-connected foreground parts nor
    of 8-connected background parts (a simple point; Kong and Rosenfeld 1989).
    """
    simple = np.zeros(256, dtype=bool)
    for code in range(256):
        ring = [bool(code >> k & 1) for k in range(8)]
        # 4-connected foreground parts, in the ring, that hold a 4-neighbour; 8-connected background parts.
        patch = np.zeros((3, 3), dtype=bool)
        for (dy, dx), on in zip(_AROUND, ring):
            patch[1 + dy, 1 + dx] = on
        parts = ndimage.label(patch)[0]
        touching = {int(parts[1 + dy, 1 + dx]) for dy, dx in _AROUND[1::2]} - {0}
        hollow = ~patch
        hollow[1, 1] = False
        simple[code] = len(touching) == 1 and ndimage.label(hollow, np.ones((3, 3)))[1] == 1
    return simple


def warping_error(truth, proposal) -> tuple[float, np.ndarray]:
    """The warping error (Jain et al. 2010), as Fiji's Trainable Weka Segmentation counts it.

    The truth is warped towards the proposal by flipping simple points, those of
    the surest proposal first; what cannot be flipped is a topological error.

    Parameters
    ----------
    truth : numpy.ndarray
        (H, W); particle where above 0.
    proposal : numpy.ndarray
        float (H, W) in [0, 1]; particle where above 0.5.

    Returns
    -------
    error : float
        Pixels in which the warped truth differs from the proposal, as a share of all.
    warped : numpy.ndarray
        bool (H, W).
    """
    proposal = np.asarray(proposal, dtype=np.float32)
    height, width = proposal.shape
    wide = width + 2
    sure = np.pad(np.abs(proposal.astype(np.float64) - 0.5).astype(np.float32), 1)
    target = np.pad(proposal > 0.5, 1)
    warped = np.pad(np.asarray(truth) > 0, 1)
    simple = _simple_patches().tolist()
    steps = [dy * wide + dx for dy, dx in _AROUND]
    flat = warped.ravel().tolist()
    left = None
    while True:
        columns, rows = np.nonzero((np.array(flat).reshape(warped.shape) != target).T)
        if columns.size in (0, left):
            break
        left = columns.size
        order = np.argsort(-sure[rows, columns], kind="stable")
        for p in (rows * wide + columns)[order].tolist():
            code = 0
            for k, step in enumerate(steps):
                code |= flat[p + step] << k
            if simple[code]:
                flat[p] = not flat[p]
    return columns.size / (height * width), np.array(flat).reshape(warped.shape)[1:-1, 1:-1]
