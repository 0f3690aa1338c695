"""The report: everything in one file, from what the verbs leave on disk."""

import base64
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from nanosynth.errors import NanosynthError
from nanosynth.files import read_json, sha256, write_json, write_lines, write_text
from nanosynth.learn.evaluation import evaluate_folders
from nanosynth.learn.particles import measure, write_table
from nanosynth.learn.pictures import overlay
from nanosynth.learn.report import Training, notices, number_marks, read_series, spread, write_report
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
        elif tag == "image":
            self.sources.append(attributes["href"])
        elif tag == "svg":
            self.alternatives.append(attributes["aria-label"])
        else:
            self.links += [attributes[name] for name in ("href", "src", "data") if name in attributes]
        if tag not in ("img", "meta", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and (self.open[-1] == "td" or self.open[-2:] == ["td", "small"]):
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
    identity = {"data_set": {"recipe": "r" * 64, "content": "c" * 64, "pairs": 2}}
    facts = {"versions": {"keras": "3.99"}, "command": "nanosynth train D --out R", "commit": "e" * 40}
    write_json(folder / "run.json", {"format": 1, "identity": identity, **facts})
    write_text(folder / "settings.toml", "epochs = 20\nseed = 1\n")
    write_lines(folder / "history.jsonl", [{"epoch": e, "loss": 1 / e, "lr": 0.001, "seconds": 3.0, "f1": None} for e in range(1, 21)])
    write_json(folder / "selected.json", {"epoch": 18, "by": "eye", "f1": None})
    for epoch in range(1, 21):
        picture(folder / "validation" / f"{epoch:04d}_real_one.png")
    return folder


def discs(count, shape, spread=0.2, seed=0):
    """Discs on a grid, some of them touching, the outer ones cut by the border; pixels uint8 and labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    columns = int(np.ceil(np.sqrt(count * shape[1] / shape[0])))
    step = shape[1] / columns
    y, x = np.mgrid[: shape[0], : shape[1]]
    for k in range(count):
        row, column = divmod(k, columns)
        radius = step / 2 * min(1.1, rng.lognormal(-0.1, spread))
        labels[np.hypot(y - (row + 0.5) * step, x - (column + 0.5) * step) < radius] = k + 1
    return np.uint8(np.clip(60 + 100 * (labels > 0) + rng.normal(0, 6, shape), 0, 255)), labels


MODEL = {
    "recipe": "name = \"sio2\"\n", "data_set": {"recipe": "r" * 64, "content": "c" * 64, "pairs": 180}, "seed": 1, "command": "nanosynth train A --out B",
    "commit": "d" * 40, "versions": {"keras": "3.99"}, "epoch": 18, "chosen_by": "eye", "validation": {},
}  # fmt: skip
OPTIONS = {"scale": "search", "min_area": 0.04, "nm_per_px": 0.0}


def segmented(folder, images, *, model=None, options=None, version="0.1.0"):
    """A folder as `segment` writes it; `images` is name -> (pixels, labels, nm per px)."""
    entries = []
    for name, (pixels, labels, nm) in images.items():
        source = folder.parent / f"{name}.png"
        Image.fromarray(pixels).save(source)
        for role, values in (("instances", labels.astype(np.uint16)), ("overlay", np.uint8(overlay(pixels / 255, labels)))):
            (folder / role).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / role / f"{name}.png")
        table = measure(labels, pixels / 255.0, nm_per_px=nm)
        words = "given by the user" if nm else "none: the file states no pixel size"
        write_table(folder / "particles" / f"{name}.csv", table, nm_per_px=nm, scale_source=words)
        entries.append({
            "name": name, "image": str(source), "particles": len(table["label"]), "nm_per_px": nm, "nm_per_px_source": words, "banner_px": 0,
            "scale": {"zoom": 0.5, "source": "search", "diameter_px": 80.0}, "warnings": [], "seconds": 2.0, "sha256": sha256(source),
            "options": OPTIONS | (options or {}),
            "files": {role: f"{role}/{name}.{'csv' if role == 'particles' else 'png'}" for role in ("overlay", "particles", "instances")},
        })  # fmt: skip
    write_json(
        folder / "segmentation.json",
        {"versions": {"nanosynth": version, "python": "3.11"}, "model": MODEL | (model or {}), "images": entries},
    )
    return folder


def changed(folder, **values):
    """Change the last image's entry."""
    record = read_json(folder / "segmentation.json")
    record["images"][-1].update(values)
    write_json(folder / "segmentation.json", record)


def written(tmp_path, folders, **others):
    out = tmp_path / "report.html"
    write_report(out, segmentation=folders, repeats=20, **others)
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture
def results(tmp_path):
    first = segmented(tmp_path / "first", {"a": (*discs(60, (300, 400)), 2.5), "b": (*discs(40, (300, 400), seed=1), 2.5)})
    second = segmented(tmp_path / "second", {"c": (*discs(30, (300, 300), seed=2), None)})
    return [first, second]


def test_whole_report_is_one_file(tmp_path, dataset, run, results):
    out = tmp_path / "report.html"
    write_report(out, dataset=dataset, run=run, segmentation=results, repeats=20, title="A <b>title</b> & more", lead="Said 'so'")
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.links == []
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in text and "@import" not in text and "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert "http" not in "".join(base64.b64decode(source.partition(",")[2]).decode() for source in page.sources if "svg+xml" in source).replace(
        "http://www.w3.org/", ""
    )
    assert "A <b>title</b> & more" in page.words  # escaped in the file, itself to the reader
    assert any("tiny <recipe>" in words for words in page.words)
    assert all(page.alternatives)


def test_sizes_leave_out_cut_particles_and_counts_do_not(tmp_path):
    labels = np.zeros((100, 100), int)
    labels[20:40, 20:40], labels[50:80, 50:80], labels[0:10, 60:90] = 1, 2, 3
    folder = segmented(tmp_path / "r", {"a": (np.uint8(labels * 50 + 20), labels, 2.0)})
    cells = written(tmp_path, [folder], size="sqrt_area").cells
    assert cells[cells.index("a") :][:6] == ["a", "3", "2", "nm", "50", "40–60"]


def test_a_series_with_an_image_without_scale_is_honest(tmp_path, results):
    page = written(tmp_path, results)
    text = " ".join(page.words)
    assert "c has no scale (none: the file states no pixel size): sizes there are in pixels and not pooled" in text
    rows = [page.cells[i + 3] for i, cell in enumerate(page.cells) if cell == "c" and page.cells[i + 1] == "30"]
    assert rows == ["px", "px"]  # by number and by area
    assert page.cells[page.cells.index("pooled (2)") + 3] == "nm"
    alone = " ".join(written(tmp_path, results[1:]).words)
    assert "The scale of no image is known" in alone and "has no scale (" not in alone


def test_different_models_and_settings_are_told(tmp_path, run):
    image = (*discs(20, (200, 200)), 2.0)
    one = segmented(tmp_path / "one", {"a": image, "b": image})
    assert notices(read_series([one])) == []
    changed(one, options=OPTIONS | {"min_area": 0.1})
    two = segmented(tmp_path / "two", {"c": image}, model={"epoch": 7}, version="0.0.9")
    said = notices(read_series([one, two]))
    assert [text for text in said if "different models" in text and "one:" in text and "epoch 7" in text]
    assert [text for text in said if "different versions of Nanosynth: 0.0.9, 0.1.0" in text]
    assert [text for text in said if text.endswith("min_area = 0.04 for 2 images, 0.1 for b.")]


def test_a_run_that_did_not_segment_is_told(tmp_path, run):
    training = Training.read(run)
    own = {"data_set": training.info["identity"]["data_set"], "seed": 1, "commit": training.info["commit"], "command": training.info["command"]}
    image = (*discs(20, (200, 200)), 2.0)
    fits = segmented(tmp_path / "fits", {"a": image}, model=own)
    assert notices(read_series([fits]), training=training) == []
    older = segmented(tmp_path / "older", {"a": image}, model=own | {"epoch": 3})
    assert "epoch 3 of the run shown here, whose chosen epoch is now 18" in notices(read_series([older]), training=training)[0]
    other = segmented(tmp_path / "other", {"a": image}, model=own | {"command": "nanosynth train X --out Y"})
    said = notices(read_series([other]), training=training)
    assert "other was not segmented by the run shown here (their command differs)" in said[0]


def test_lost_and_changed_micrographs_are_told_and_the_report_is_made(tmp_path, results):
    (tmp_path / "a.png").unlink()
    Image.fromarray(discs(10, (300, 400), seed=9)[0]).save(tmp_path / "b.png")
    page = written(tmp_path, results[:1])
    text = " ".join(page.words)
    assert "a: the micrograph cannot be shown, since" in text and "is no longer there" in text
    assert "b.png has changed since it was segmented" in text
    assert "Micrograph a" not in page.alternatives and "Particles of a coloured" in page.alternatives


def test_a_micrograph_that_can_no_longer_be_read_does_not_end_the_report(tmp_path, results):
    (tmp_path / "b.png").write_bytes(b"no picture")
    changed(results[0], sha256=sha256(tmp_path / "b.png"))
    text = " ".join(written(tmp_path, results[:1]).words)
    assert "b: the micrograph cannot be shown, since" in text and "not an image" in text


def test_doubts_and_failures_stand_in_the_report(tmp_path, results):
    changed(results[0], warnings=["a <doubt>"])
    record = read_json(results[0] / "segmentation.json")
    record["images"].append({"name": "bad", "image": "bad.png", "error": "bad.png: damaged."})
    write_json(results[0] / "segmentation.json", record)
    words = written(tmp_path, results[:1]).words
    assert "A <doubt>." in words
    assert "Not in this report: bad.png: damaged." in words
    assert "Doubts noted while segmenting stand beside the images: b." in words


@pytest.mark.parametrize("particles", [0, 1])
def test_empty_and_lonely_images(tmp_path, particles):
    labels = np.zeros((80, 90), int)
    labels[20 : 20 + 30 * particles, 20:50] = 1
    empty = segmented(tmp_path / "r", {"a": (np.uint8(np.add.outer(np.arange(80), np.arange(90))), labels, 2.0)})
    page = written(tmp_path, [empty])
    cells = page.cells
    assert cells[cells.index("a") + 1 :][:2] == [str(particles)] * 2
    assert not re.search(r"\bnan\b", " ".join(page.words), re.IGNORECASE)
    reason = "no whole particle" if not particles else "one particle: no spread"
    assert any(reason in word for word in page.words)


def test_the_pdf_holds_the_same(tmp_path, results, dataset, run):
    pypdf, out = pytest.importorskip("pypdf"), tmp_path / "report.pdf"
    pytest.importorskip("fpdf")
    write_report([out, tmp_path / "report.html"], segmentation=results, dataset=dataset, run=run, title="Größe √area", repeats=20)
    pages = pypdf.PdfReader(out).pages
    text = "\n".join(page.extract_text() for page in pages)
    for words in ("Größe √area", "pooled (2)", "How the numbers were made", "nanosynth train A --out B", "c has no scale"):
        assert words in text
    numbered = next(page for page in pages if "Particles found in b" in page.extract_text())
    assert {str(number) for number in range(1, 41)} <= set(numbered.extract_text().split())
    assert f"1 / {len(pages)}" in pages[0].extract_text()
    assert (tmp_path / "report.html").is_file()


def test_nothing_on_a_pdf_page_lies_outside_of_it(tmp_path, results):
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("fpdf")
    write_report(tmp_path / "report.pdf", segmentation=results, repeats=20, title="A title that is so long that it takes lines. " * 8)
    for page in pypdf.PdfReader(tmp_path / "report.pdf").pages:
        places = []

        def note(text, user, matrix, font, size, places=places):
            if text.strip():
                places.append((user[4] + matrix[4] * user[0], user[5] + matrix[5] * user[3]))

        page.extract_text(visitor_text=note)
        for x, y in places:
            assert 30 <= x <= 595 - 30 and 15 <= y <= 842 - 30


def test_numbers_stand_in_their_particles_and_do_not_reach_out(tmp_path):
    _, labels = discs(300, (600, 800), seed=3)
    marks, left_out = number_marks(labels, 2.0)
    assert len(marks) + left_out == 300 and left_out < 60
    for mark in marks:
        half_width, half_height = 0.3 * len(mark.text) * mark.size, 0.36 * mark.size
        for x, y in ((0, 0), (half_width, 0), (-half_width, 0), (0, half_height), (0, -half_height)):
            assert labels[int((mark.y + y) / 2), int((mark.x + x) / 2)] == int(mark.text)
    tiny, without = number_marks(np.arange(1, 10_001).reshape(100, 100), 10.0)
    assert without + len(tiny) == 10_000
    assert number_marks(np.zeros((50, 50), int), 1.0) == ((), 0)


def test_a_name_of_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(NanosynthError, match=r"\.html or a \.pdf"):
        write_report(tmp_path / "report.docx")


def test_scores_of_several_images_are_pooled(tmp_path):
    truth = np.zeros((40, 40), np.uint16)
    truth[2:12, 2:12], truth[20:30, 20:30] = 1, 2
    for folder, labels in (("truth", truth), ("found", np.where(truth == 2, 0, truth))):
        for name in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(labels.astype(np.uint16)).save(tmp_path / folder / f"{name}.png")
    write_report(tmp_path / "report.html", evaluation=evaluate_folders(tmp_path / "truth", tmp_path / "found"))
    cells = Page((tmp_path / "report.html").read_text(encoding="utf-8")).cells
    scores = ["1.000", "0.500", "0.938", "0.667", "0.500", "625", "0.667", "0.500", "0.500", "0.500", "0.667"]
    # Equal images, so intervals without width; they stand below the values of the last two rows.
    beside = [cell for score in scores for cell in (score, f"{score}–{score}")]
    assert cells == ["a", *scores, "2", "1", "b", *scores, "2", "1", "mean of images", *beside, "–", "–", "all pooled", *beside, "4", "2"]


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
    for name in ("one", "two"):
        write_report([tmp_path / f"{name}.html", tmp_path / f"{name}.pdf"], dataset=dataset, run=run, segmentation=results, repeats=20)
    for kind in ("html", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


@pytest.mark.parametrize("part", ["run", "segmentation", "dataset"])
def test_wrong_folder_is_named(tmp_path, part):
    with pytest.raises(NanosynthError, match="nothing"):
        write_report(tmp_path / "report.html", **{part: [tmp_path / "nothing"] if part == "segmentation" else tmp_path / "nothing"})
    assert not (tmp_path / "report.html").exists()
