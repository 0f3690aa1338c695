"""Scores against hand-counted cases, a brute-force reference and Fiji's warping error."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from nanosynth.errors import NanosynthError
from nanosynth.learn import metrics

WARPING = Path(__file__).parents[1] / "data" / "warping_error.npz"
"""Made with Fiji's Trainable Segmentation, class WarpingError: 12 pairs."""


def scattered(seed, size=60, count=25):
    """Overlapping squares of random sizes, and the same squares shaken."""
    rng = np.random.default_rng(seed)
    truth, predicted = np.zeros((2, size, size), np.int32)
    for number in rng.permutation(np.arange(1, count + 1)) * 3:  # numbers with gaps
        y, x, a = rng.integers(0, size - 12), rng.integers(0, size - 12), rng.integers(3, 12)
        truth[y : y + a, x : x + a] = number
        dy, dx = rng.integers(-2, 3, 2)
        y, x = max(y + dy, 0), max(x + dx, 0)
        if rng.random() < 0.85:
            predicted[y : y + a + rng.integers(-1, 2), x : x + a] = number + 1
    return truth, predicted


def reference(truth, predicted, iou):
    """Matched pairs by optimal assignment over the full table, written in the plainest way."""
    a, b = [[labels == n for n in np.unique(labels[labels > 0])] for labels in (truth, predicted)]
    table = np.array([[(x & y).sum() / (x | y).sum() for y in b] for x in a]).reshape(len(a), len(b))
    rows, columns = linear_sum_assignment(table < iou)
    return int((table[rows, columns] >= iou).sum()), len(a), len(b)


def test_pixel_scores_by_hand():
    truth = np.array([[1, 1, 2, 0], [0, 0, 5, 0]])
    predicted = np.array([[9, 0, 9, 9], [0, 0, 9, 0]])
    scores = metrics.pixel_scores(truth, predicted)
    assert {k: scores[k] for k in ("tp", "fp", "fn", "tn")} == {"tp": 3, "fp": 1, "fn": 1, "tn": 3}
    assert scores["precision"] == scores["recall"] == scores["f1"] == scores["accuracy"] == 0.75 and scores["iou"] == 0.6
    valid = np.array([[1, 0, 255, 0], [1, 1, 1, 1]])
    scores = metrics.pixel_scores(truth, predicted, valid)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["tn"], scores["f1"]) == (3, 0, 0, 3, 1.0)


def test_pixel_scores_of_nothing():
    zero, one = np.zeros((3, 3), int), np.eye(3, dtype=int)
    assert metrics.pixel_scores(zero, zero)["f1"] == metrics.pixel_scores(zero, zero)["precision"] == 1
    assert metrics.pixel_scores(zero, one)["f1"] == metrics.pixel_scores(zero, one)["recall"] == 0
    assert metrics.pixel_scores(one, zero)["f1"] == metrics.pixel_scores(one, zero)["precision"] == 0
    assert metrics.pixel_scores(one, zero, np.zeros((3, 3)))["f1"] == 1


def test_counts_of_two_images_pool():
    pairs = [scattered(1), scattered(2)]
    each = [metrics.pixel_scores(t, p) for t, p in pairs]
    pooled = metrics.scores_of_pixels(*(sum(s[key] for s in each) for key in ("tp", "fp", "fn", "tn")))
    assert pooled == metrics.pixel_scores(*(np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("iou", [0.1, 0.3, 0.5, 0.55, 0.75, 0.95])
def test_matches_are_those_of_the_optimal_assignment(seed, iou):
    truth, predicted = scattered(seed)
    matched, n_truth, n_predicted = reference(truth, predicted, iou)
    scores = metrics.match_instances(truth, predicted, iou=iou)
    assert (scores["tp"], scores["fn"], scores["fp"]) == (matched, n_truth - matched, n_predicted - matched)
    assert scores["f1"] == pytest.approx(2 * matched / (n_truth + n_predicted))
    assert scores["ap"] == pytest.approx(matched / (n_truth + n_predicted - matched))


def test_exactly_one_half_counts_and_once_only():
    truth = np.ones((4, 4), np.int32)
    halves = np.repeat([[1], [1], [2], [2]], 4, axis=1)
    for a, b in ((truth, halves), (halves, truth)):
        scores = metrics.match_instances(a, b)
        assert scores["tp"] == 1 and scores["mean_iou"] == 0.5 and scores["fp"] + scores["fn"] == 1
    assert metrics.match_instances(truth, halves, iou=0.55)["tp"] == 0


def test_a_chain_of_halves_is_matched_to_the_full():
    # Truth 1 overlaps both predictions by half, truth 2 only the first: a greedy choice may leave truth 2 alone.
    truth, predicted = np.array([[1, 1, 1, 2, 2]]), np.array([[0, 1, 1, 1, 0]])
    table = metrics.overlaps(truth, predicted)
    assert sorted(table.iou.tolist()) == [0.25, 0.5]
    pairs = metrics.Overlaps(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([2, 2, 2]), np.full(2, 3), np.full(2, 3), np.array([1, 2]))
    rows, columns, _ = metrics.matches(pairs)
    assert sorted(zip(rows.tolist(), columns.tolist())) == [(0, 1), (1, 0)]


def test_instances_of_nothing():
    zero, one = np.zeros((4, 4), int), np.eye(4, dtype=int)
    assert metrics.instance_scores(zero, zero)["f1"] == metrics.instance_scores(zero, zero)["ap"] == 1
    assert metrics.instance_scores(one, zero)["f1"] == metrics.instance_scores(zero, one)["ap"] == 0
    assert metrics.instance_scores(np.ones((4, 4), int), np.ones((4, 4), int))["ap"] == 1  # no background at all


def test_average_precision_by_hand():
    truth, predicted = np.zeros((2, 20, 40), int)
    truth[0:10, 0:10], truth[0:10, 20:30] = 1, 2
    predicted[0:10, 0:10], predicted[0:7, 20:30], predicted[15, 15] = 1, 2, 3  # IoU 1, IoU 0.7, and a false one
    scores = metrics.instance_scores(truth, predicted)
    assert scores["matched"] == [2] * 5 + [1] * 5  # 0.7 itself counts
    assert scores["ap50"] == pytest.approx(2 / 3)
    assert scores["ap"] == pytest.approx((5 * 2 / 3 + 5 * 1 / 4) / 10)
    assert (scores["n_truth"], scores["n_predicted"], scores["mean_iou"]) == (2, 3, pytest.approx(0.85))


def test_what_lies_mostly_in_invalid_pixels_is_left_out():
    truth, predicted = np.zeros((2, 20, 20), int)
    valid = np.ones((20, 20), bool)
    valid[:, 10:] = False
    truth[0:4, 8:12] = 1  # half in: stays
    truth[6:10, 9:13] = 2  # mostly out: goes
    predicted[0:4, 8:10] = 1
    predicted[6:10, 9:13] = 2
    predicted[12:16, 2:6] = 3
    scores = metrics.match_instances(truth, predicted, valid)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["mean_iou"]) == (1, 1, 0, 1.0)


def test_ten_thousand_particles():
    labels = np.kron(np.arange(1, 10_001).reshape(100, 100), np.ones((8, 8), int))
    labels[::8] = labels[:, ::8] = 0
    scores = metrics.instance_scores(labels, np.roll(labels, 1, axis=0))
    assert scores["tp"] == 10_000 and scores["mean_iou"] == pytest.approx(6 / 8)


def test_warping_error_is_that_of_fiji():
    with np.load(WARPING) as golden:
        for i, case in enumerate(golden["cases"].tolist()):
            truth, proposal = golden[f"truth__{case}"], golden[f"proposal__{case}"]
            assert metrics.warping_error(truth, proposal) == golden["error"][i], case
            assert np.array_equal(metrics.warped_truth(truth, proposal), golden[f"warped__{case}"] > 0), case
        assert i == 11


def test_warping_error_punishes_topology_only():
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 10:50] = 1
    smaller = np.zeros((40, 60), np.float32)
    smaller[15:25, 20:45] = 0.8
    assert metrics.warping_error(truth, smaller) == 0
    split = smaller.copy()
    split[:, 30] = 0
    assert metrics.warping_error(truth, split) == 1 / 2400  # a bridge of one pixel stays
    assert metrics.warping_error(truth, 0 * split) == 1 / 2400  # a part can shrink to a pixel, not vanish
    assert metrics.warping_error(truth, split, threshold=0.9) == 1 / 2400
    with pytest.raises(NanosynthError, match="truth 60 x 40, proposal 59 x 40"):
        metrics.warping_error(truth, split[:, :59])


def test_separated_mask_makes_a_part_of_each_instance():
    labels = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((5, 5), int))
    mask = metrics.separated_mask(labels)
    assert ndimage.label(mask)[1] == 9 and mask.sum() == (4 + 4 + 5) ** 2


# Average precision as COCO


def cocos_own(images):
    """AP, AP50 and AP75 by pycocotools of [(truth, predicted, probability)]."""
    coco, cocoeval, rle = (pytest.importorskip(f"pycocotools.{name}") for name in ("coco", "cocoeval", "mask"))
    sets, detections = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "particle"}]}, []
    for number, (truth, predicted, probability) in enumerate(images, 1):
        sets["images"].append({"id": number, "height": truth.shape[0], "width": truth.shape[1]})
        for labels, kind in ((truth, 0), (predicted, 1)):
            for label in np.unique(labels[labels > 0]):
                mask = labels == label
                entry = {
                    "image_id": number, "category_id": 1, "iscrowd": 0, "area": int(mask.sum()),
                    "segmentation": rle.encode(np.asfortranarray(mask.astype(np.uint8))),
                }  # fmt: skip
                if kind:
                    detections.append({**entry, "score": float(probability[mask].mean())})
                else:
                    sets["annotations"].append({**entry, "id": len(sets["annotations"]) + 1})
    truth = coco.COCO()
    truth.dataset = sets
    truth.createIndex()
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(detections), "segm")
    evaluation.params.maxDets = [1, 10, 100_000]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 2]
    return [precision.mean(), precision[0].mean(), precision[5].mean()]


@pytest.mark.parametrize("seeds", [[0], [1], [2, 3, 4], range(5, 12)])
def test_coco_average_precision_is_that_of_pycocotools(seeds):
    images = [(*scattered(seed), np.random.default_rng(seed).random((60, 60))) for seed in seeds]
    ours = metrics.coco_average_precision([metrics.coco_detections(*image) for image in images])
    assert list(ours.values()) == pytest.approx(cocos_own(images), abs=1e-12)
    assert 0 < ours["coco_ap"] < ours["coco_ap50"] < 1


def test_coco_average_precision_above_a_hundred_particles():
    labels = np.kron(np.arange(1, 226).reshape(15, 15), np.pad(np.ones((4, 4), int), 1))
    rng = np.random.default_rng(3)
    predicted = np.where(rng.random(226)[labels] < 0.9, np.roll(labels, 1, axis=0), 0)
    images = [(labels, predicted, rng.random(labels.shape))]
    ours = metrics.coco_average_precision([metrics.coco_detections(*images[0])])
    assert list(ours.values()) == pytest.approx(cocos_own(images), abs=1e-12)
    assert ours["coco_ap50"] > 0.7


def test_coco_average_precision_by_hand():
    truth, predicted = np.zeros((2, 10, 40), int)
    truth[2:6, 2:6], truth[2:6, 12:16] = 1, 2
    predicted[2:6, 2:6], predicted[2:6, 22:26] = 1, 2
    for sure, expected in ((0.9, 51 / 101), (0.1, 51 / 101 * 0.5)):  # the false one after or before the right one
        probability = np.where(predicted == 1, sure, 0.5)
        scores = metrics.coco_average_precision([metrics.coco_detections(truth, predicted, probability)])
        assert scores["coco_ap"] == pytest.approx(expected)
    nothing = np.zeros((10, 40), int)
    assert metrics.coco_average_precision([metrics.coco_detections(nothing, predicted, probability)]) is None
    assert metrics.coco_average_precision([metrics.coco_detections(truth, nothing, probability)])["coco_ap"] == 0


# Panoptic quality, aggregated Jaccard index, boundaries


def test_panoptic_quality_and_aggregated_jaccard_by_hand():
    truth, predicted = np.zeros((2, 20, 40), int)
    truth[0:10, 0:10], truth[0:10, 20:30], truth[15, 30:35] = 1, 2, 3
    predicted[0:10, 0:10], predicted[0:6, 20:30], predicted[6:10, 20:30], predicted[15, 15] = 1, 2, 3, 4
    scores = metrics.instance_scores(truth, predicted)
    assert (scores["segments"], scores["sq"], scores["rq"]) == (2, pytest.approx(0.8), pytest.approx(4 / 7))
    assert scores["pq"] == pytest.approx(0.8 * 4 / 7)
    # 100 of 100, 60 of 100; truth 3 found by none, predictions 3 and 4 used by none.
    assert (scores["aji_intersection"], scores["aji_union"]) == (160, 200 + 5 + 40 + 1)
    nothing = metrics.instance_scores(np.zeros((4, 4), int), np.zeros((4, 4), int))
    assert nothing["pq"] == nothing["aji"] == 1
    nothing = metrics.instance_scores(np.ones((4, 4), int), np.zeros((4, 4), int))
    assert nothing["pq"] == nothing["sq"] == nothing["aji"] == 0


def test_one_half_is_no_panoptic_segment():
    assert metrics.instance_scores(np.ones((4, 4), int), np.repeat([[1], [1], [0], [0]], 4, axis=1))["segments"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_aggregated_jaccard_in_the_plainest_way(seed):
    truth, predicted = scattered(seed)
    intersection = union = 0
    used = set()
    found = np.unique(predicted[predicted > 0])
    for n in np.unique(truth[truth > 0]):
        a = truth == n
        ious = [(a & (predicted == m)).sum() / (a | (predicted == m)).sum() for m in found]
        m = found[int(np.argmax(ious))]
        if max(ious) > 0:
            intersection += (a & (predicted == m)).sum()
            union += (a | (predicted == m)).sum()
            used.add(m)
        else:
            union += a.sum()
    union += sum((predicted == m).sum() for m in set(found) - used)
    scores = metrics.instance_scores(truth, predicted)
    assert (scores["aji_intersection"], scores["aji_union"]) == (intersection, union)


def test_boundaries_by_hand():
    truth, predicted = np.zeros((2, 40, 40), int)
    truth[10:30, 10:30] = 1
    predicted[12:32, 10:30] = 1  # two rows lower
    scores = metrics.boundary_scores(truth, predicted)
    assert scores["boundary_f1"] == 1 and scores["edge_truth"] == scores["edge_predicted"] == 76
    scores = metrics.boundary_scores(truth, predicted, tolerance_px=1)
    assert scores["edge_truth_found"] == scores["edge_predicted_right"] == 2 * 19 + 2  # the sides, less their far ends
    predicted[12:32, 20:30] = 2  # an outline amid the particle
    assert metrics.boundary_scores(truth, predicted)["boundary_precision"] == (112 - 2 * 14) / 112  # rows 13 to 26
    valid = np.arange(40)[None] < np.full((40, 1), 18)
    assert metrics.boundary_scores(truth, predicted, valid)["boundary_precision"] == 1
    zero = np.zeros((5, 5), int)
    assert metrics.boundary_scores(zero, zero)["boundary_f1"] == 1
    assert metrics.boundary_scores(zero, np.eye(5, dtype=int))["boundary_f1"] == 0


def test_bootstrap_leaves_out_resamples_that_define_nothing():
    def of_the_known(values):
        known = [value for value in values if value is not None]
        return [np.mean(known) if known else np.nan, np.nan]

    ends = metrics.bootstrap([1.0, 3.0, None], of_the_known, np.random.default_rng(2))
    assert ends[:, 0].tolist() == [1, 3] and np.isnan(ends[:, 1]).all()


def test_bootstrap_of_a_mean():
    values = np.random.default_rng(1).normal(5, 2, 400).tolist()
    ends = [metrics.bootstrap(values, lambda v: [np.mean(v)], np.random.default_rng(2)) for _ in range(2)]
    assert np.array_equal(*ends)
    low, high = ends[0][:, 0]
    assert low < np.mean(values) < high and high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
