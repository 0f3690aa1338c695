"""Folders of label images compared by name: scores, files, and errors that name what is wrong."""

import csv
import io
import json

import numpy as np
import pytest

from nanosynth import cli
from nanosynth.errors import NanosynthError
from nanosynth.learn import evaluation, images


@pytest.fixture
def folders(tmp_path):
    """Image `a`: both particles found; `b 2`: one of two found, one invented; `c`: empty and rightly so."""
    truth = {name: np.zeros((50, 60), np.int32) for name in ("a", "b 2", "c")}
    predicted = {name: np.zeros((50, 60), np.int32) for name in truth}
    truth["a"][5:15, 5:15], truth["a"][30:40, 30:40] = 1, 2
    predicted["a"][:] = truth["a"]
    truth["b 2"][5:15, 5:15], truth["b 2"][30:40, 30:40] = 1, 2
    predicted["b 2"][5:15, 5:15], predicted["b 2"][20:25, 50:60] = 7, 8
    for name in truth:
        images.write_labels(tmp_path / "wahr é" / f"{name}.png", truth[name])
        images.write_labels(tmp_path / "result" / "instances" / f"{name}.png", predicted[name])
    images.write_labels(tmp_path / "result" / "instances" / "extra.png", truth["a"])
    return tmp_path


def test_scores_per_image_and_overall(folders):
    scores = evaluation.evaluate_folders(folders / "wahr é", folders / "result")
    assert list(scores["images"]) == ["a", "b 2", "c"]
    a, b, c = scores["images"].values()
    perfect = set(evaluation.SHOWN) - {"warping_error", *evaluation.COCO, *evaluation.SIZE}
    assert all(a[key] == c[key] == 1 for key in perfect) and a["warping_error"] == a["size_distance_px"] == 0
    assert (b["tp"], b["fp"], b["fn"], b["precision"], b["recall"]) == (100, 50, 100, pytest.approx(2 / 3), 0.5)
    assert (b["n_truth"], b["n_predicted"], b["matched"], b["instance_f1"], b["ap50"]) == (2, 2, 1, 0.5, pytest.approx(1 / 3))
    assert scores["mean"]["instance_f1"] == pytest.approx(2.5 / 3)
    overall = scores["overall"]
    assert (overall["n_truth"], overall["n_predicted"], overall["matched"]) == (4, 4, 3)
    assert overall["instance_f1"] == 0.75 and overall["ap50"] == pytest.approx(0.6) and overall["ap"] == pytest.approx(0.6)
    assert overall["f1"] == pytest.approx(2 * 300 / (600 + 150))
    assert overall["tp"] + overall["fp"] + overall["fn"] + overall["tn"] == 3 * 50 * 60


def test_excluded_and_valid(folders):
    mask = np.full((50, 60), 255, np.uint8)
    mask[20:25, 50:60] = 0
    images.write_grey(folders / "valid" / "b 2.png", mask)
    scores = evaluation.evaluate_folders(folders / "wahr é", folders / "result", folders / "valid", exclude=["c"])
    assert list(scores["images"]) == ["a", "b 2"] and scores["excluded"] == ["c"]
    b = scores["images"]["b 2"]
    assert (b["fp"], b["n_predicted"], b["precision"], b["instance_precision"]) == (0, 1, 1.0, 1.0)
    assert "Left out: c." in evaluation.report(scores)


def test_single_files_of_any_name(folders):
    scores = evaluation.evaluate_folders(folders / "wahr é" / "a.png", folders / "result" / "instances" / "b 2.png")
    assert scores["images"]["a"]["matched"] == 1


def test_what_is_not_defined_has_a_reason(folders):
    scores = evaluation.evaluate_folders(folders / "wahr é", folders / "result", repeats=20)
    for row in scores["images"].values():
        for key in evaluation.SHOWN:
            word = "COCO" if key in evaluation.COCO else "size distance" if key in evaluation.SIZE else None
            assert (row[key] is None) == (word is not None and any(word in note for note in row["notes"])) or key == "size_distance_px"
    assert scores["images"]["a"]["notes"] == ["no COCO AP: no probability was given", "no size distance in nm: scale not known"]
    assert "no whole particle in the annotation" in scores["images"]["c"]["notes"][1]
    assert "scale not known (a, b 2)" in evaluation.report(scores)
    for row in csv.DictReader(io.StringIO(evaluation.table_text(scores))):
        assert row["notes"] if "" in [row[key] for key in evaluation.SHOWN] else True
    json.dumps(scores, allow_nan=False)


def test_probabilities_give_confidences_and_proposals(folders):
    rng = np.random.default_rng(1)
    for name in ("a", "b 2", "c"):
        labels = images.read_labels(folders / "result" / "instances" / f"{name}.png")
        values = np.where(labels > 0, 200 + rng.integers(0, 50, labels.shape), 10)
        if name == "a":
            values[10, 0:20] = 10  # a cut through a particle
        images.write_grey(folders / "p" / f"{name}.png", values.astype(np.uint8))
    scores = evaluation.evaluate_folders(folders / "wahr é", folders / "result", probability=folders / "p", repeats=20)
    assert scores["images"]["a"]["coco_ap"] == pytest.approx(1) and scores["images"]["b 2"]["coco_ap"] < 0.7
    assert scores["images"]["c"]["coco_ap"] is None and "annotation has no particle" in scores["images"]["c"]["notes"][0]
    assert 0.5 < scores["overall"]["coco_ap"] < 1
    assert scores["images"]["a"]["warping_error"] == 1 / 3000  # a bridge of one pixel
    images.write_grey(folders / "p" / "a.png", np.zeros((50, 61), np.uint8))
    with pytest.raises(NanosynthError, match="61 x 50"):
        evaluation.evaluate_folders(folders / "wahr é", folders / "result", probability=folders / "p")
    (folders / "p" / "a.png").unlink()
    with pytest.raises(NanosynthError, match="no probability for a"):
        evaluation.evaluate_folders(folders / "wahr é", folders / "result", probability=folders / "p")


def test_size_distance(folders):
    larger = images.read_labels(folders / "wahr é" / "a.png")
    larger[4:16, 4:16], larger[29:41, 29:41] = 1, 2  # squares of 12 px for 10
    images.write_labels(folders / "result" / "instances" / "a.png", larger, nm_per_px=3.0)
    a = evaluation.evaluate_folders(folders / "wahr é", folders / "result", exclude=["b 2", "c"])["images"]["a"]
    assert a["size_distance_px"] == pytest.approx(2 * np.sqrt(4 / np.pi)) and a["size_distance_nm"] == pytest.approx(
        3 * a["size_distance_px"]
    )
    given = evaluation.evaluate_folders(folders / "wahr é", folders / "result", exclude=["b 2", "c"], nm_per_px=2.0)
    assert given["images"]["a"]["size_distance_nm"] == pytest.approx(2 * a["size_distance_px"])


def test_intervals_over_images(folders):
    scores = evaluation.evaluate_folders(folders / "wahr é", folders / "result", repeats=200, seed=3)
    again = evaluation.evaluate_folders(folders / "wahr é", folders / "result", repeats=200, seed=3)
    assert scores == again
    low, high = scores["intervals"]["mean"]["instance_f1"]
    assert low == 0.5 and high == 1  # all three the worst image, all three a good one
    for part in ("mean", "overall"):
        low, high = scores["intervals"][part]["f1"]
        assert low < scores[part]["f1"] < high
    alone = evaluation.evaluate_folders(folders / "wahr é", folders / "result", exclude=["a", "c"])
    assert alone["intervals"]["mean"]["f1"] is None and "at least two" in alone["intervals"]["note"]
    assert "No confidence intervals" in evaluation.report(alone)


def test_report_and_files(folders):
    scores = evaluation.evaluate_folders(folders / "wahr é", folders / "result", repeats=20)
    lines = evaluation.report(scores).splitlines()
    assert lines[0].split() == "image Precision Recall Accuracy F1 AP Warping/1e-6 N found N manual".split()
    assert lines[3].split() == [
        "b",
        "2",
        "0.667",
        "0.500",
        "0.950",
        "0.571",
        "0.333",
        f"{scores['images']['b 2']['warping_error'] * 1e6:.0f}",
        "2",
        "2",
    ]
    assert lines[6].split()[-2:] == ["1.33", "1.33"] and lines[7].split()[:2] == ["95%", "from"] and lines[8].split()[:2] == ["95%", "to"]
    low, high = scores["intervals"]["mean"]["precision"]
    assert lines[7].split()[2] == f"{low:.3f}" and lines[8].split()[2] == f"{high:.3f}"
    assert lines[6].startswith("mean of images") and lines[9].startswith("all pooled") and lines[9].split()[-2:] == ["4", "4"]
    table = [line for line in lines if not line.startswith(("Precision", "COCO-AP:", "b-F1"))]
    assert max(map(len, table[: table.index("")])) <= 100
    for suffix in (".json", ".csv", ".txt"):
        evaluation.write_scores(folders / "out" / f"scores{suffix}", scores)
    assert json.loads((folders / "out" / "scores.json").read_text()) == scores
    rows = list(csv.DictReader(io.StringIO((folders / "out" / "scores.csv").read_text())))
    assert [row["image"] for row in rows[:5]] == ["a", "b 2", "c", "mean of images", "all pooled"] and len(rows) == 9
    assert rows[1]["instance_f1"] == "0.500000" and rows[4]["matched"] == "3"
    assert (folders / "out" / "scores.txt").read_text().splitlines() == lines


def test_an_annotation_of_another_size_is_named_with_both_sizes(folders):
    path = images.write_labels(folders / "result" / "instances" / "a.png", np.ones((40, 60), np.int32))
    with pytest.raises(NanosynthError) as error:
        evaluation.evaluate_folders(folders / "wahr é", folders / "result")
    assert f"{folders / 'wahr é' / 'a.png'} is 60 x 50 px" in error.value.message and f"{path} is 60 x 40 px" in error.value.message


def test_missing_predictions_and_unknown_names(folders):
    for name in ("a", "c"):
        (folders / "result" / "instances" / f"{name}.png").unlink()
    with pytest.raises(NanosynthError, match="no prediction for a, c"):
        evaluation.evaluate_folders(folders / "wahr é", folders / "result")
    assert evaluation.evaluate_folders(folders / "wahr é", folders / "result", exclude=["a", "c"])["images"].keys() == {"b 2"}
    with pytest.raises(NanosynthError, match="no image is called d"):
        evaluation.evaluate_folders(folders / "wahr é", folders / "result", exclude=["d"])
    with pytest.raises(NanosynthError, match="every image is excluded"):
        evaluation.evaluate_folders(folders / "wahr é", folders / "result", exclude=["a", "b 2", "c"])


@pytest.mark.parametrize("place", ["truth", "predicted", "valid"])
def test_missing_folders(folders, place):
    places = {"truth": folders / "wahr é", "predicted": folders / "result", "valid": None, place: folders / "nowhere"}
    with pytest.raises(NanosynthError, match="nowhere"):
        evaluation.evaluate_folders(places["truth"], places["predicted"], places["valid"])


def test_two_files_of_one_name(folders):
    images.write_grey(folders / "wahr é" / "a.tif", np.zeros((50, 60), np.uint8))
    with pytest.raises(NanosynthError, match="same name"):
        evaluation.evaluate_folders(folders / "wahr é", folders / "result")


def test_the_verb(folders, capsys):
    arguments = ["evaluate", str(folders / "wahr é"), str(folders / "result"), "--repeats", "10"]
    assert cli.main([*arguments, "--exclude", "c", "--out", str(folders / "s.json")]) == 0
    assert "all pooled" in capsys.readouterr().out
    assert list(json.loads((folders / "s.json").read_text())["images"]) == ["a", "b 2"]
    assert cli.main([*arguments, "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["kind"] == "done" and last["overall"]["instance_f1"] == 0.75
    assert cli.main([*arguments, "--valid", str(folders / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
