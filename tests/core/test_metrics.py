"""Scores against hand-counted cases, a brute-force reference and Fiji's warping error."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

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
    pairs = metrics.Overlaps(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.5, 0.5, 0.5]), 2, 2)
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
            error, warped = metrics.warping_error(golden[f"truth__{case}"], golden[f"proposal__{case}"])
            assert error == golden["error"][i], case
            assert np.array_equal(warped, golden[f"warped__{case}"] > 0), case
        assert i == 11
