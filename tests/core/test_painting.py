"""The pictures of results and trainings, and the process that paints them."""

import json
import queue
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nanosynth.errors import NanosynthError
from nanosynth.fields import to_dict
from nanosynth.files import append_line, write_json, write_text
from nanosynth.learn.images import read_labels, write_grey, write_labels
from nanosynth.learn.painting import PLOT_PX, ROOM, Painter, headed, histogram, loss_curve, measure_one, run_painter, sizes_of
from nanosynth.learn.particles import measure
from nanosynth.learn.settings import read_settings
from nanosynth.learn.tuning import open_stored
from nanosynth.reporting import Reporter

ROOT = Path(__file__).resolve().parents[2]
VALUES = {"threshold": 0.4, "min_area": 0.02, "dynamic_share": 0.1, "dynamic": 0.05}
TRAINED = {"training": {"settings": to_dict(read_settings("compact"))}}


@pytest.fixture
def result(tmp_path):
    """What `segment` writes of an image of 700 px with two discs that touch, found as one."""
    y, x = np.mgrid[:600, :700]
    left, right = np.hypot(y - 300, x - 220) < 131, np.hypot(y - 300, x - 478) < 131
    probability = np.where(left | right, 0.9, 0.05)
    rng = np.random.default_rng(1)
    write_grey(tmp_path / "real.png", (probability * 200 + rng.normal(0, 3, probability.shape)).clip(0, 255).astype(np.uint8))
    out = tmp_path / "result"
    write_grey(out / "probability" / "real.png", np.round(probability * 255).astype(np.uint8))
    write_labels(out / "instances" / "real.png", (left | right).astype(np.int32))
    entry = {
        "name": "real", "image": str(tmp_path / "real.png"), "particles": 1, "nm_per_px": 2.0, "nm_per_px_source": "test", "banner_px": 0,
        "scale": {"zoom": 0.2, "diameter_px": 260.0}, "warnings": [], "files": {"probability": "probability/real.png", "instances": "instances/real.png"},
    }  # fmt: skip
    write_json(out / "segmentation.json", {**TRAINED, "images": [entry]})
    return {"folder": str(out), "name": "real"}, entry


def answers(painter, what, **request):
    return list(painter.answer({"what": what, **request}))


def test_a_result_is_shown_as_segmented_and_tuned(result):
    request, entry = result
    painter = Painter()
    (plain,) = answers(painter, "result", values=None, **request)
    assert plain.facts["count"] == 1 and plain.picture.shape == (600, 700, 3) and plain.plot.shape == (PLOT_PX[1], PLOT_PX[0], 3)
    coarse, full = answers(painter, "result", values=VALUES, shown="mask", **request)
    assert (coarse.facts["final"], full.facts["final"]) == (False, True)
    assert coarse.picture.shape == (549, 640, 3) and full.picture.shape == (600, 700, 3)
    expected = open_stored(request["folder"], entry).separate(**VALUES)
    assert expected.max() == full.facts["count"] == coarse.facts["count"] == 2
    np.testing.assert_array_equal(full.picture > 0, np.repeat((expected > 0)[..., None], 3, -1))
    np.testing.assert_array_equal(painter.labels(values=VALUES, **request), expected)
    assert full.facts["median"] == pytest.approx(coarse.facts["median"], rel=0.02) == pytest.approx(2 * 262, rel=0.02)


def test_only_what_has_changed_is_made_anew(result, monkeypatch):
    request, _ = result
    painter, calls = Painter(), []
    separate = type(open_stored(request["folder"], result[1])).separate
    monkeypatch.setattr(
        "nanosynth.learn.tuning.Stored.separate", lambda self, **more: calls.append(more["longest_px"]) or separate(self, **more)
    )
    answers(painter, "result", values=VALUES, **request)
    for change in ({"opacity": 0.5}, {"shown": "instances"}, {"pick": (220, 300)}):
        coarse, full = answers(painter, "result", values=VALUES, **request, **change)
        assert coarse.picture.shape == (549, 640, 3) and full.picture.shape == (600, 700, 3) and not coarse.facts["final"]
    assert calls == [640, None]
    answers(painter, "result", values={**VALUES, "threshold": 0.5}, **request)
    assert calls == [640, None, 640, None]


def test_opacity_goes_from_the_micrograph_to_the_particles(result):
    request, _ = result
    painter = Painter()
    shown = {
        opacity: answers(painter, "result", shown="instances", opacity=opacity, **request)[-1].picture.astype(int)
        for opacity in (0.0, 0.5, 1.0)
    }
    assert (shown[0.0][..., 0] == shown[0.0][..., 1]).all()  # grey
    assert np.abs(shown[0.5] - (shown[0.0] + shown[1.0]) / 2).max() <= 1
    assert (shown[1.0][0, 0] == 0).all() and len(np.unique(shown[1.0].reshape(-1, 3), axis=0)) == 2
    outlined = answers(painter, "result", shown="outlines", **request)[-1].picture
    assert (outlined[300, 220] == shown[0.0][300, 220]).all() and (outlined != shown[0.0]).any()


def test_a_particle_is_picked_by_its_pixel(result):
    request, entry = result
    painter = Painter()
    full = answers(painter, "result", values=VALUES, pick=(478, 300), **request)[-1]
    labels = painter.labels(values=VALUES, **request)
    assert full.facts["particle"]["label"] == labels[300, 478] != 0
    plain = answers(painter, "result", values=VALUES, **request)[-1].picture
    marked = (full.picture != plain).any(-1)
    rows, columns = np.nonzero(marked)
    assert abs(columns.mean() - 478) < 5 and abs(rows.mean() - 300) < 5
    assert answers(painter, "result", values=VALUES, pick=(2, 2), **request)[-1].facts["particle"] is None
    assert json.loads(json.dumps(full.facts)) == full.facts


def test_one_particle_is_measured_as_all_are():
    rng = np.random.default_rng(4)
    labels = np.zeros((90, 120), np.int32)
    y, x = np.mgrid[:90, :120]
    for label, (cy, cx, r) in enumerate(((20, 25, 14), (20, 52, 13), (70, 0, 12), (60, 80, 20), (88, 110, 6)), 1):
        labels[np.hypot(y - cy, (x - cx) * 0.8) < r] = label
    pixels = rng.random(labels.shape)
    table = measure(labels, pixels, probability=pixels**2, nm_per_px=1.5)
    for row, label in enumerate(table["label"]):
        one = measure_one(labels, label, pixels, pixels**2, 1.5)
        for name, column in table.items():
            if isinstance(column[row], (float, np.floating)):
                value = np.nan if one[name] is None else one[name]
                np.testing.assert_allclose(value, column[row], rtol=1e-9, atol=1e-9, err_msg=f"{label} {name}")
            else:
                assert one[name] == column[row], (label, name)


def test_a_training_shows_the_image_that_is_looked_at(tmp_path):
    write_text(tmp_path / "history.jsonl", '{"epoch": 1, "loss": 0.5}\n')
    for name, level in (("areal", 30), ("real", 200)):
        write_grey(tmp_path / "validation" / f"0001_{name}.png", np.full((20, 68), level, np.uint8))
    for what, more in (("epoch", {"epoch": 1}), ("gallery", {"epoch": 1}), ("training", {})):
        shown = {name: answers(Painter(), what, run=str(tmp_path), image=name, **more)[-1].picture for name in ("areal", "real", "", "gone")}
        assert (shown["areal"] == 30).all(-1).sum() > 300 and (shown["real"] == 200).all(-1).sum() > 300, what
        np.testing.assert_array_equal(shown[""], shown["areal"])
        np.testing.assert_array_equal(shown["gone"], shown["areal"])


def test_a_banner_is_shown_and_holds_no_particle(result, tmp_path):
    request, entry = result
    image = np.pad(np.asarray(Image.open(entry["image"])), ((0, 50), (0, 0)), constant_values=255)
    write_grey(entry["image"], image)
    for role in ("probability", "instances"):
        path = Path(request["folder"], role, "real.png")
        write = write_grey if role == "probability" else write_labels
        write(path, np.pad(np.asarray(Image.open(path)), ((0, 50), (0, 0))))
    write_json(Path(request["folder"], "segmentation.json"), {**TRAINED, "images": [{**entry, "banner_px": 50}]})
    painter = Painter()
    for shown in ("overlay", "probability", "mask"):
        coarse, full = answers(painter, "result", values=VALUES, shown=shown, opacity=0.5, pick=(478, 620), **request)
        height, width, _ = coarse.picture.shape
        assert full.picture.shape == (650, 700, 3) and height / width == pytest.approx(650 / 700, rel=0.01)
        assert coarse.facts["particle"] is full.facts["particle"] is None
    assert painter.labels(values=VALUES, **request).shape == (600, 700)
    answers(painter, "export", values=VALUES, directory=str(tmp_path / "taken"), **request)
    assert {Image.open(tmp_path / "taken" / f"real_{what}.png").size for what in ("mask", "instances", "particles")} == {(700, 650)}
    assert (answers(painter, "result", shown="outlines", **request)[-1].picture[-20:] == 255).all()


def test_what_is_exported_is_what_is_found(result, tmp_path):
    request, entry = result
    painter = Painter()
    (told,) = answers(painter, "export", values=VALUES, directory=str(tmp_path / "taken"), **request)
    assert told.picture is None and "2 particles" in told.facts["text"]
    expected = open_stored(request["folder"], entry)
    labels = expected.separate(**VALUES)
    np.testing.assert_array_equal(read_labels(tmp_path / "taken" / "real_instances.png"), labels)
    assert len((tmp_path / "taken" / "real.csv").read_text().splitlines()) == 3
    assert sorted(path.name for path in (tmp_path / "taken").iterdir()) == [
        "real.csv", "real_instances.png", "real_mask.png", "real_particles.png", "real_sizes.png",
    ]  # fmt: skip


def test_a_result_that_is_gone_is_told(result):
    request, _ = result
    with pytest.raises(NanosynthError, match="no result other"):
        answers(Painter(), "result", **{**request, "name": "other"})
    with pytest.raises(NanosynthError, match="no picture 'colour'"):
        answers(Painter(), "result", shown="colour", **request)
    (Path(request["folder"]) / "probability" / "real.png").unlink()
    with pytest.raises(NanosynthError, match="missing or damaged"):
        answers(Painter(), "result", **request)


@pytest.fixture
def run(tmp_path):
    """A run of 60 epochs whose pictures are dark, of a level that tells the epoch, and white."""
    folder = tmp_path / "run"
    folder.mkdir()
    for epoch in range(1, 61):
        append_line(folder / "history.jsonl", {"epoch": epoch, "loss": 1 / epoch, "f1": None if epoch < 3 else 0.9, "instance_f1": 0.8})
        if epoch <= 50:
            parts = [np.full((40, 50, 3), level, np.uint8) for level in (10, 4 * epoch, 255)]
            gap = np.full((40, 4, 3), 255, np.uint8)
            (folder / "validation").mkdir(exist_ok=True)
            Image.fromarray(np.concatenate([parts[0], gap, parts[1], gap, parts[2]], 1)).save(folder / "validation" / f"{epoch:04d}_a.png")
    return str(folder)


def test_an_epoch_is_shown_over_its_micrograph(run):
    painter = Painter()
    for opacity, expected in ((0.0, (10, 10)), (1.0, (28, 255)), (0.5, (19, 132))):
        (shown,) = answers(painter, "epoch", run=run, epoch=7, opacity=opacity)
        body = shown.picture[-463:]  # enlarged to the width of the room
        assert body.shape == (463, ROOM[0], 3)
        assert abs(int(body[230, 290, 0]) - expected[0]) <= 1 and abs(int(body[230, 915, 0]) - expected[1]) <= 1
    (without,) = answers(painter, "epoch", run=run, epoch=55)
    assert without.picture.shape[2] == 3


def test_a_heading_is_whole_where_its_picture_is_shown_smaller():
    """Of the rows and columns that an editor shows, those of the letters are the ones that were drawn for it."""
    large = headed("Epoch 12     loss 0.1234", np.zeros((960, 2564, 3), np.uint8), (630, 420))
    assert large.shape[1] == 2564 and (large[-960:] == 0).all()
    zoom = 640 / 2574
    rows, columns = (np.floor((np.arange(int(side * zoom)) + 0.5) / zoom).astype(int) for side in (large.shape[0] - 960, 2564))
    shown = large[:-960][rows][:, columns]
    drawn = headed("Epoch 12     loss 0.1234", np.zeros((10, 638, 3), np.uint8), (638, 420))[: len(shown), : shown.shape[1]]
    assert (np.abs(shown.astype(int) - drawn).max(-1) > 40).mean() < 0.02


def test_the_gallery_has_all_epochs_or_as_many_as_fit(run):
    painter = Painter()
    (sheet,) = answers(painter, "gallery", run=run, epoch=7, favourites=[9], chosen=11)
    (other,) = answers(painter, "gallery", run=run, epoch=9, favourites=[9], chosen=11)
    assert sheet.picture.shape == other.picture.shape and (sheet.picture != other.picture).any()
    levels = {int(level) for level in np.unique(sheet.picture[..., 0])}
    assert {4 * epoch for epoch in (7, 9, 11)} <= levels  # epochs that are looked at, marked or in use never lack
    assert len(painter.tiles) >= 30


def test_the_training_is_shown_with_its_newest_picture(run, tmp_path):
    (shown,) = answers(Painter(), "training", run=run)
    assert (shown.picture[-5, 600] == 4 * 50).all() and shown.plot.shape == (PLOT_PX[1], PLOT_PX[0], 3)
    (tmp_path / "new").mkdir()
    (empty,) = answers(Painter(), "training", run=str(tmp_path / "new"))
    assert empty.picture.shape[1::-1] == ROOM


def test_plots_hold_their_values():
    """The curve falls where the loss does; a bar is as high as its share."""
    lines = [{"epoch": epoch, "loss": 1.0 if epoch < 50 else 0.2} for epoch in range(1, 101)]
    curve = loss_curve(lines, (600, 300))
    blue = (curve[..., 2].astype(int) - curve[..., 0]) > 80
    rows = [np.flatnonzero(blue[40:255, column]).mean() for column in (200, 450)]
    assert rows[1] - rows[0] > 100
    labels = np.zeros((100, 400), np.int32)
    for number in range(30):
        side = 10 if number < 20 else 20
        labels[40 : 40 + side, 3 + 13 * number : 3 + 13 * number + min(side, 12)] = number + 1
    drawn = histogram(sizes_of(labels), (600, 300))
    blue = (drawn[..., 2].astype(int) - drawn[..., 0]) > 80
    heights = np.sort(blue.sum(0))[::-1]
    assert heights[0] > 1.5 * heights[heights > 5][-1]
    for empty in (loss_curve([], PLOT_PX), histogram(sizes_of(np.zeros((5, 5), np.int32)), PLOT_PX)):
        assert empty.shape == (PLOT_PX[1], PLOT_PX[0], 3)
    assert loss_curve(lines[:1], (600, 300)).shape == (300, 600, 3)


class Recorder(Reporter):
    def __init__(self):
        self.sent = []

    def send(self, kind, **values):
        self.sent.append((kind, values))


def test_of_several_requests_the_newest_is_met(result, tmp_path):
    request, _ = result
    orders, told = queue.Queue(), Recorder()
    for number, threshold in enumerate((0.2, 0.3, 0.4), 1):
        orders.put({"what": "result", "number": number, "values": {**VALUES, "threshold": threshold}, **request})
    orders.put({"what": "nonsense", "number": 4})
    with pytest.raises(AttributeError):  # a bug ends it; so does the test
        run_painter(tmp_path, orders, told)
    assert {values["number"] for kind, values in told.sent if kind == "artifact"} == {3}
    final = told.sent[-1][1]
    assert final["facts"]["final"] and Image.open(final["path"]).size == (700, 600) and np.load(final["plot"]).shape[2] == 3


def test_the_painters_process_answers_and_ends_with_its_parent(result, tmp_path):
    request, _ = result
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), "painter", "--out", str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for number, name in enumerate(("gone", "real")):
        process.stdin.write(json.dumps({"what": "result", "number": number, **request, "name": name}).encode() + b"\n")
        process.stdin.flush()
        while (message := json.loads(process.stdout.readline()))["kind"] == "started":
            pass
        assert (message["kind"], message["number"]) == ("error" if name == "gone" else "artifact", number)
    process.stdin.close()
    assert process.wait() == 3
    process.stdout.close()
