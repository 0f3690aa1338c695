"""The report: everything in one file, from what the verbs leave on disk."""

from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from nanosynth.errors import NanosynthError
from nanosynth.files import write_json, write_lines, write_text
from nanosynth.learn.evaluation import evaluate_folders
from nanosynth.learn.report import WIDEST, spread, tinted, write_report
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import Camera, Recipe


class Page(HTMLParser):
    """Collects pictures, links and cells, and fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.links, self.alternatives, self.cells, self.words = [], [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.sources.append(attributes["src"])
            self.alternatives.append(attributes["alt"])
        self.links += [attributes[name] for name in ("href", "src", "data") if name in attributes and tag != "img"]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def picture(path, shape=(64, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def dataset(tmp_path):
    data = Dataset.create(tmp_path / "data", Recipe(name="tiny <recipe>", count=2, camera=Camera(image_px=64, render_px=32)))
    for index in range(2):
        instances = np.zeros((64, 64), np.uint16)
        instances[8:24, 8:24], instances[24:40, 8:24] = 1, 2
        record = {"index": index, "seed": 1, "nm_per_pixel": 2.0, "versions": {}, "drawn": {}, "particles": {"id": [1, 2]}}
        pair = SimpleNamespace(
            image=(instances * 100).astype(np.uint8), label=np.where(instances, 255, 0).astype(np.uint8), instances=instances, record=record
        )
        data.append(data.write_pair(pair))
    return data.path


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    write_json(folder / "run.json", {"versions": {"keras": "3.99"}})
    write_text(folder / "settings.toml", "epochs = 20\n")
    write_lines(folder / "history.jsonl", [{"epoch": e, "loss": 1 / e, "lr": 0.001, "seconds": 3.0, "f1": None} for e in range(1, 21)])
    write_json(folder / "selected.json", {"epoch": 18, "by": "eye", "f1": None})
    for epoch in range(1, 21):
        picture(folder / "validation" / f"{epoch:04d}_real_one.png")
    return folder


def segmented(folder, source, nm_per_px, sizes):
    unit = "nm" if nm_per_px else "px"
    picture(folder / "overlay" / f"{source.stem}.png")
    rows = "".join(f"{size},no\n" for size in sizes)
    write_text(folder / "particles" / f"{source.stem}.csv", f"sqrt_area_{unit},on_border\n{rows}1.0,yes\n")
    entry = {
        "name": source.stem, "image": str(source), "particles": len(sizes) + 1, "nm_per_px": nm_per_px, "nm_per_px_source": "given by the user",
        "banner_px": 0, "scale": {"zoom": 0.5, "source": "search", "diameter_px": 80.0}, "warnings": ["a <doubt>"], "seconds": 2.0,
        "files": {"overlay": f"overlay/{source.stem}.png", "particles": f"particles/{source.stem}.csv"},
    }  # fmt: skip
    write_json(folder / "segmentation.json", {"images": [entry, {"name": "bad", "image": "bad.png", "error": "damaged"}]})
    return folder


@pytest.fixture
def results(tmp_path):
    first = segmented(tmp_path / "first", picture(tmp_path / "a.png", (100, WIDEST + 400)), 2.5, [100.0, 200.0, 300.0])
    second = segmented(tmp_path / "second", picture(tmp_path / "b.png"), None, [])
    return [first, second]


def test_whole_report_is_one_file(tmp_path, dataset, run, results):
    out = tmp_path / "report.html"
    write_report(out, dataset=dataset, run=run, segmentation=results, title="A <b>title</b> & more", lead="Said 'so'")
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.links == []
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in text and "@import" not in text
    assert "A <b>title</b> & more" in page.words  # escaped in the file, itself to the reader
    assert "tiny <recipe>" in page.words
    assert all(page.alternatives)


def test_sizes_leave_out_cut_particles_and_counts_do_not(tmp_path, results):
    out = tmp_path / "report.html"
    write_report(out, segmentation=results)
    cells = Page(out.read_text(encoding="utf-8")).cells
    row = cells[cells.index("a") :][:6]
    assert row == ["a", "4", "3", "200.0 nm", "225.7 nm", "34%"]
    assert cells[cells.index("b") :][:3] == ["b", "1", "0"]


def test_scores_of_several_images_are_pooled(tmp_path):
    truth = np.zeros((40, 40), np.uint16)
    truth[2:12, 2:12], truth[20:30, 20:30] = 1, 2
    for folder, labels in (("truth", truth), ("found", np.where(truth == 2, 0, truth))):
        for name in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(labels.astype(np.uint16)).save(tmp_path / folder / f"{name}.png")
    write_report(tmp_path / "report.html", evaluation=evaluate_folders(tmp_path / "truth", tmp_path / "found"))
    cells = Page((tmp_path / "report.html").read_text(encoding="utf-8")).cells
    scores = ["1.000", "0.500", "0.938", "0.667", "0.500", "0.667", "0.500"]
    assert cells == ["a", *scores, "2", "1", "b", *scores, "2", "1", "all together", *scores, "4", "2"]


def test_validation_shows_first_selected_and_last_epoch(tmp_path, run):
    out = tmp_path / "report.html"
    write_report(out, run=run)
    page = Page(out.read_text(encoding="utf-8"))
    epochs = [text.split()[-1] for text in page.alternatives if text.startswith("Prediction")]
    assert len(epochs) == 6
    assert {"1", "18", "20"} <= set(epochs)
    assert "Prediction on real_one after epoch 18" in page.alternatives
    assert "Epoch 18 (selected)" in page.words


@pytest.mark.parametrize(
    ("epochs", "chosen"), [([1], 1), ([1, 2, 3], 2), (list(range(1, 101)), 50), (list(range(1, 8)), None), ([5, 9, 12, 14, 20, 31, 40], 14)]
)
def test_spread_keeps_ends_and_chosen(epochs, chosen):
    shown = spread(epochs, 6, chosen)
    assert shown == sorted(set(shown)) and set(shown) <= set(epochs)
    assert len(shown) == min(6, len(epochs))
    assert {epochs[0], epochs[-1]} <= set(shown)
    assert chosen is None or chosen in shown


def test_same_input_gives_same_bytes(tmp_path, dataset, run, results):
    for name in ("one.html", "two.html"):
        write_report(tmp_path / name, dataset=dataset, run=run, segmentation=results)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_touching_particles_differ_in_colour_and_background_is_black():
    labels = np.array([[0, 1, 1], [0, 2, 2]])
    colours = tinted(labels)
    assert (colours[:, 0] == 0).all()
    assert (colours[0, 1] != colours[1, 1]).any()


@pytest.mark.parametrize("part", ["run", "segmentation", "dataset"])
def test_wrong_folder_is_named(tmp_path, part):
    with pytest.raises(NanosynthError, match="nothing"):
        write_report(tmp_path / "report.html", **{part: [tmp_path / "nothing"] if part == "segmentation" else tmp_path / "nothing"})
    assert not (tmp_path / "report.html").exists()
