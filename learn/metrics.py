"""Scores of a segmentation against the truth: by pixel, by instance, by boundary, and the warping error.

Every score is computed from counts, and the counts are returned with it, so that
scores over several images can be pooled by adding the counts. `docs/measures.md`
defines each score and says where it comes from.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ..errors import NanosynthError

IOUS = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())
"""The thresholds over which average precision is averaged: 0.5, 0.55, ..., 0.95."""


def ratio(part: float, whole: float, none: float) -> float:
    """part / whole; `none` where there is nothing to divide by."""
    return part / whole if whole else none


def same_size(**arrays):
    """Raise a `NanosynthError` that names the sizes unless all arrays (or None) have one; keys are their names."""
    sizes = {name: np.shape(values) for name, values in arrays.items() if values is not None}
    if len(set(sizes.values())) > 1 or any(len(size) != 2 for size in sizes.values()):
        shown = ", ".join(f"{name} {' x '.join(map(str, size[::-1]))}" for name, size in sizes.items())
        raise NanosynthError(f"The images differ in size or are not grey (px): {shown}.", "Compare grey images of the same size.")


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
    same_size(truth=truth, predicted=predicted, valid=valid)
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
    """The pairs of instances that overlap, and the instances there are.

    Attributes
    ----------
    truth, predicted : numpy.ndarray
        int64 (P,), 0-based numbers of the instances of each pair.
    shared : numpy.ndarray
        int64 (P,), px that both of a pair have.
    truth_area, predicted_area : numpy.ndarray
        int64 (instances,), px.
    predicted_labels : numpy.ndarray
        int64 (instances,), the values in the label image.
    """

    truth: np.ndarray
    predicted: np.ndarray
    shared: np.ndarray
    truth_area: np.ndarray
    predicted_area: np.ndarray
    predicted_labels: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """float64 (P,), intersection over union of each pair."""
        return self.shared / self.union

    @property
    def union(self) -> np.ndarray:
        return self.truth_area[self.truth] + self.predicted_area[self.predicted] - self.shared

    @property
    def n_truth(self) -> int:
        return self.truth_area.size

    @property
    def n_predicted(self) -> int:
        return self.predicted_area.size


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
    same_size(truth=truth, predicted=predicted, valid=valid)
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if valid is not None:
        valid = np.asarray(valid) != 0
        truth, predicted = _within(truth, valid), _within(predicted, valid)
    truth, true_labels = _compact(truth)
    predicted, predicted_labels = _compact(predicted)
    shape = (true_labels.size + 1, predicted_labels.size + 1)
    table = coo_array((np.ones(truth.size, dtype=np.int64), (truth, predicted)), shape=shape).tocsr()
    table.sum_duplicates()
    truth_area, predicted_area = np.asarray(table.sum(axis=1)).ravel()[1:], np.asarray(table.sum(axis=0)).ravel()[1:]
    table = table.tocoo()
    pair = (table.row > 0) & (table.col > 0)
    rows, columns = table.row[pair].astype(np.int64) - 1, table.col[pair].astype(np.int64) - 1
    return Overlaps(rows, columns, table.data[pair], truth_area, predicted_area, predicted_labels)


def _compact(labels):
    """Flat labels renumbered 1..n without gaps, and the n labels there were."""
    flat = labels.ravel()
    present = np.bincount(flat, minlength=1) > 0
    present[0] = False
    return (np.cumsum(present) * present).astype(np.int32)[flat], np.flatnonzero(present)


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
    overlap = pairs.iou
    good = np.flatnonzero(overlap >= iou - 1e-12)
    rows, columns = pairs.truth[good], pairs.predicted[good]
    if np.unique(rows).size < rows.size or np.unique(columns).size < columns.size:
        graph = coo_array((np.ones(rows.size), (rows, columns)), shape=(pairs.n_truth, pairs.n_predicted)).tocsr()
        partner = maximum_bipartite_matching(graph, perm_type="column")
        good = good[partner[rows] == columns]
    return pairs.truth[good], pairs.predicted[good], overlap[good]


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
        `n_truth`, `n_predicted`; those of `match_instances` at 0.5; `ap50`,
        `ap75`; `ap`, the mean over `IOUS`; `matched`, the matches at each of
        `IOUS`; those of `panoptic` and `aggregated_jaccard`.
    """
    pairs = overlaps(truth, predicted, valid)
    at = [_matched(pairs, iou) for iou in IOUS]
    return {
        "n_truth": pairs.n_truth,
        "n_predicted": pairs.n_predicted,
        **at[0],
        "ap50": at[0]["ap"],
        "ap75": at[IOUS.index(0.75)]["ap"],
        "ap": float(np.mean([a["ap"] for a in at])),
        "matched": [a["tp"] for a in at],
        **panoptic(pairs),
        **aggregated_jaccard(pairs),
    }


def panoptic(pairs: Overlaps) -> dict:
    """Panoptic quality (Kirillov et al. 2019) of one class, its two factors and their counts.

    Returns
    -------
    dict
        `pq` = `sq` x `rq`; `sq`, the mean IoU of the pairs above 0.5 (0 without
        any); `rq`, their F1; `segments`, their number; `segments_iou`, the sum.
    """
    iou = pairs.iou[pairs.iou > 0.5]
    return scores_of_segments(iou.size, float(iou.sum()), pairs.n_truth, pairs.n_predicted)


def scores_of_segments(segments: int, segments_iou: float, n_truth: int, n_predicted: int) -> dict:
    """`panoptic` from counts, which may be those of several images; nothing where nothing is gives 1."""
    none = 1.0 if not n_truth + n_predicted else 0.0
    sq, rq = ratio(segments_iou, segments, none), ratio(2 * segments, n_truth + n_predicted, none)
    return {"pq": sq * rq, "sq": sq, "rq": rq, "segments": segments, "segments_iou": segments_iou}


def aggregated_jaccard(pairs: Overlaps) -> dict:
    """Aggregated Jaccard index (Kumar et al. 2017) and its counts.

    Each true instance is taken with the prediction of the largest IoU;
    predictions that none took are added to the union.

    Returns
    -------
    dict
        `aji`, `aji_intersection`, `aji_union` (px); 1 where nothing is.
    """
    order = np.lexsort((-pairs.iou, pairs.truth))
    best = order[np.unique(pairs.truth[order], return_index=True)[1]]
    alone = np.ones(pairs.n_truth, dtype=bool)
    unused = np.ones(pairs.n_predicted, dtype=bool)
    alone[pairs.truth[best]], unused[pairs.predicted[best]] = False, False
    intersection = int(pairs.shared[best].sum())
    union = int(pairs.union[best].sum() + pairs.truth_area[alone].sum() + pairs.predicted_area[unused].sum())
    return {"aji": ratio(intersection, union, 1.0), "aji_intersection": intersection, "aji_union": union}


def mean_in_particles(labels, values) -> np.ndarray:
    """Mean of an image in each particle: float64 (highest label + 1,), NaN for numbers that do not occur.

    Of the network's output it is the particle's confidence.
    """
    labels = np.ravel(labels)
    area = np.bincount(labels, minlength=1)
    total = np.bincount(labels, np.asarray(values, dtype=np.float64).ravel(), minlength=1)
    return np.divide(total, area, out=np.full(area.size, np.nan), where=area > 0)


@dataclass(frozen=True)
class Detections:
    """What COCO's average precision needs of an image.

    Attributes
    ----------
    confidence : numpy.ndarray
        float64 (D,), of each predicted instance.
    matched : numpy.ndarray
        bool (len(IOUS), D), whether it has a true partner.
    n_truth : int
    """

    confidence: np.ndarray
    matched: np.ndarray
    n_truth: int


def coco_detections(truth, predicted, probability, valid=None) -> Detections:
    """Match instances as COCO does: the most confident first, each to the free true instance of the largest IoU.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        int (H, W), 0 background.
    probability : numpy.ndarray
        float (H, W); its mean in a predicted instance is the confidence.
    valid : numpy.ndarray, optional
        As in `overlaps`.
    """
    same_size(truth=truth, predicted=predicted, probability=probability, valid=valid)
    pairs = overlaps(truth, predicted, valid)
    confidence = mean_in_particles(predicted, probability)[pairs.predicted_labels]
    order = np.argsort(-confidence, kind="stable")
    partners = [[] for _ in range(pairs.n_predicted)]
    for row, column, iou in zip(pairs.truth.tolist(), pairs.predicted.tolist(), pairs.iou.tolist()):
        if iou >= IOUS[0]:
            partners[column].append((iou, row))
    for several in partners:
        several.sort(reverse=True)
    matched = np.zeros((len(IOUS), pairs.n_predicted), dtype=bool)
    for at, least in enumerate(IOUS):
        taken = set()
        for d in order.tolist():
            for iou, row in partners[d]:
                if iou >= least and row not in taken:
                    taken.add(row)
                    matched[at, d] = True
                    break
    return Detections(confidence, matched, pairs.n_truth)


def coco_average_precision(images) -> dict | None:
    """COCO's average precision over one or more images, every detection counting.

    Precision is made falling with recall and averaged over 101 recalls from 0
    to 1. This is what pycocotools gives for `iouType="segm"`, area "all" and a
    maxDets that no image exceeds.

    Parameters
    ----------
    images : sequence of Detections

    Returns
    -------
    dict or None
        `coco_ap` (mean over `IOUS`), `coco_ap50`, `coco_ap75`; None without a true instance.
    """
    n_truth = sum(image.n_truth for image in images)
    if not n_truth:
        return None
    confidence = np.concatenate([image.confidence for image in images])
    matched = np.concatenate([image.matched for image in images], axis=1)[:, np.argsort(-confidence, kind="stable")]
    found = np.cumsum(matched, axis=1)
    recall = found / n_truth
    precision = found / (np.arange(1, confidence.size + 1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recalls = np.linspace(0, 1, 101)
    ap = [float(np.append(p, 0.0)[np.searchsorted(r, recalls)].mean()) for p, r in zip(precision, recall)]
    return {"coco_ap": float(np.mean(ap)), "coco_ap50": ap[0], "coco_ap75": ap[IOUS.index(0.75)]}


BOUNDARY_TOLERANCE_PX = 2.0


def boundary_scores(truth, predicted, valid=None, *, tolerance_px: float = BOUNDARY_TOLERANCE_PX) -> dict:
    """Boundary F1 (Csurka et al. 2013) of the instances' outlines, and its counts.

    The outline of an instance is its pixels that have a 4-neighbour in the image
    that is not of it; where two instances touch, both have one.

    Parameters
    ----------
    truth, predicted : numpy.ndarray
        int (H, W), 0 background.
    valid : numpy.ndarray, optional
        (H, W); outline pixels where it is 0 are left out.
    tolerance_px : float
        An outline pixel is right if one of the other image's is at most so far
        away, between centres.

    Returns
    -------
    dict
        `boundary_precision`, `boundary_recall`, `boundary_f1`, and the counts
        `edge_predicted`, `edge_predicted_right`, `edge_truth`, `edge_truth_found`.
    """
    same_size(truth=truth, predicted=predicted, valid=valid)
    reach = int(tolerance_px)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = y**2 + x**2 <= tolerance_px**2
    edges = [_outline(labels) for labels in (truth, predicted)]
    near = [ndimage.binary_dilation(edge, disc) for edge in edges]
    if valid is not None:
        edges = [edge & (np.asarray(valid) != 0) for edge in edges]
    counts = (edges[1], edges[1] & near[0], edges[0], edges[0] & near[1])
    return scores_of_edges(*(int(np.count_nonzero(c)) for c in counts))


def scores_of_edges(edge_predicted: int, edge_predicted_right: int, edge_truth: int, edge_truth_found: int) -> dict:
    """`boundary_scores` from counts, which may be those of several images."""
    none = 1.0 if not edge_predicted and not edge_truth else 0.0
    precision, recall = ratio(edge_predicted_right, edge_predicted, none), ratio(edge_truth_found, edge_truth, none)
    return {
        "boundary_precision": precision,
        "boundary_recall": recall,
        "boundary_f1": ratio(2 * precision * recall, precision + recall, 0.0),
        "edge_predicted": edge_predicted,
        "edge_predicted_right": edge_predicted_right,
        "edge_truth": edge_truth,
        "edge_truth_found": edge_truth_found,
    }


def _outline(labels):
    labels = np.asarray(labels)
    cross = ndimage.generate_binary_structure(2, 1)
    lowest, highest = (f(labels, footprint=cross, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    return (labels > 0) & (lowest != highest)


def separated_mask(labels) -> np.ndarray:
    """The mask of a label image in which touching instances are kept apart; bool (H, W).

    Pixels with a neighbour of a higher number among the eight around them are
    background: a dam one pixel wide, so that each instance is a part of its own.
    """
    labels = np.asarray(labels)
    return (labels > 0) & (ndimage.maximum_filter(labels, 3, mode="nearest") == labels)


def bootstrap(items, statistic, rng: np.random.Generator, *, repeats: int = 1000, level: float = 0.95) -> np.ndarray:
    """Percentile confidence intervals by resampling items with replacement (Efron 1979).

    Parameters
    ----------
    items : sequence
        Such as the images; at least two.
    statistic : callable
        From a list of items to float (K,); NaN where not defined.
    rng : numpy.random.Generator
    repeats : int
    level : float

    Returns
    -------
    numpy.ndarray
        float64 (2, K), lower and upper ends, of the resamples that define the
        statistic; NaN where none does.
    """
    picks = rng.integers(0, len(items), (repeats, len(items)))
    values = np.array([statistic([items[i] for i in pick]) for pick in picks.tolist()], dtype=np.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        return np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)], axis=0)


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


def warping_error(truth, proposal, *, threshold: float = 0.5) -> float:
    """The warping error (Jain et al. 2010), as Fiji's Trainable Weka Segmentation counts it.

    The truth is warped towards the proposal by flipping simple points, those of
    the surest proposal first; what cannot be flipped is a topological error.

    Parameters
    ----------
    truth : numpy.ndarray
        (H, W); particle where above 0.
    proposal : numpy.ndarray
        float (H, W) in [0, 1]; particle where above `threshold`. A mask will do.
    threshold : float

    Returns
    -------
    float
        Pixels in which the warped truth differs from the proposal, as a share of all.
    """
    warped = warped_truth(truth, proposal, threshold=threshold)
    return float(np.count_nonzero(warped != (np.asarray(proposal, dtype=np.float32) > threshold)) / warped.size)


def warped_truth(truth, proposal, *, threshold: float = 0.5) -> np.ndarray:
    """The truth after the warping of `warping_error`; bool (H, W)."""
    same_size(truth=truth, proposal=proposal)
    proposal = np.asarray(proposal, dtype=np.float32)
    wide = proposal.shape[1] + 2
    sure = np.pad(np.abs(proposal.astype(np.float64) - threshold).astype(np.float32), 1)
    target = np.pad(proposal > threshold, 1)
    simple = _simple_patches().tolist()
    steps = [dy * wide + dx for dy, dx in _AROUND]
    flat = bytearray(np.pad(np.asarray(truth) > 0, 1).tobytes())
    warped = np.frombuffer(flat, dtype=bool).reshape(target.shape)  # another view of the same bytes
    left = None
    while True:
        columns, rows = np.nonzero((warped != target).T)
        if columns.size in (0, left):
            break
        left = columns.size
        order = np.argsort(-sure[rows, columns], kind="stable")
        for p in (rows * wide + columns)[order].tolist():
            code = 0
            for k, step in enumerate(steps):
                code |= flat[p + step] << k
            if simple[code]:
                flat[p] ^= 1
    return warped[1:-1, 1:-1].copy()
