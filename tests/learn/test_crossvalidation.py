"""The baseline: pairs of annotated micrographs, folds that never see what they are scored on, the comparison."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from nanosynth.errors import NanosynthError
from nanosynth.files import locked
from nanosynth.learn import crossvalidation
from nanosynth.learn.crossvalidation import annotated, cross_validate, csv_text, fold_plan, table_text
from nanosynth.learn.data import Batches, Scenes, particle_sizes
from nanosynth.learn.metadata import ScaleFile
from nanosynth.learn.realpairs import Annotated, RealPairs, squares
from nanosynth.reporting import Reporter


def write(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(folder / f"{name}.png")


def micrograph(seed, shape, diameter):
    """Bright discs on a dark ground, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    row, column = np.mgrid[: shape[0], : shape[1]] + 0.5
    step = round(1.4 * diameter)
    for y in range(step // 2, shape[0] - step // 2, step):
        for x in range(step // 2, shape[1] - step // 2, step):
            labels[np.hypot(row - y, column - x) < diameter / 2] = labels.max() + 1
    image = np.where(labels > 0, 180, 60) + rng.normal(0, 8, shape)
    return np.uint8(np.clip(image, 0, 255)), labels


@pytest.fixture
def real(tmp_path):
    """Four annotated micrographs of different shape and magnification, with a mask of one."""
    for i, (shape, diameter) in enumerate([((96, 200), 14), ((96, 96), 20), ((140, 100), 14), ((96, 128), 28)]):
        image, labels = micrograph(i, shape, diameter)
        write(tmp_path / "images", f"m{i}", image)
        write(tmp_path / "truth", f"m{i}", labels)
    mask = np.full((96, 200), 255, np.uint8)
    mask[:, 150:] = 0
    write(tmp_path / "valid", "m0", mask)
    return tmp_path


@pytest.fixture
def fast(tiny):
    return dataclasses.replace(tiny, epochs=2, iterations_per_epoch=2)


@pytest.mark.parametrize("shape", [(96, 200), (200, 96), (50, 50), (96, 97)])
def test_squares_cover_the_image_and_stay_in_it(shape):
    covered = np.zeros(shape, int)
    for box in squares(shape):
        assert covered[box].shape == (min(shape), min(shape))
        covered[box] += 1
    assert covered.min() == 1


def test_each_image_comes_at_its_own_particles_scale(real, tiny):
    items = annotated([real / "images"], real / "truth", real / "valid")
    pairs = RealPairs(items)
    settings = dataclasses.replace(tiny, diameter_px=12.0)
    sizes = particle_sizes([pairs.records[i] for i in sorted(pairs.records)], settings)
    for index, record in pairs.records.items():
        diameter = {"m0": 14, "m1": 20, "m2": 14, "m3": 28}[record["image"]]
        assert sizes.scale_of(record) == pytest.approx(12 / diameter, rel=0.05)
        image, _, instances = pairs.read(index)
        assert image.shape == instances.shape and image.dtype == np.uint8
        x, y = record["particles"]["x_nm"][0], record["particles"]["y_nm"][0]
        side, unit = len(image), record["nm_per_pixel"]
        assert instances[int(side / 2 - y / unit), int(x / unit + side / 2)] == record["particles"]["id"][0]


def test_what_the_mask_leaves_open_is_not_learnt(real, fast):
    pairs = RealPairs(annotated([real / "images" / "m0.png"] + [real / "images" / "m1.png"], real / "truth", real / "valid"))
    open_ = [i for i in pairs.records if pairs.ignored(i) is not None]
    assert {pairs.records[i]["image"] for i in open_} == {"m0"}
    pairs.records = {i: pairs.records[i] for i in open_}
    sizes = particle_sizes(list(pairs.records.values()), fast)
    batches = Batches(Scenes(pairs, sizes, 1.0), fast, sizes.diameter_px)
    weights = np.concatenate([batches.batch(1, step)[2].ravel() for step in range(6)])
    assert (weights == 0).any() and (weights > 0).any()


def test_every_image_is_held_out_exactly_once():
    assert fold_plan(4) == [[0], [1], [2], [3]]
    assert sorted(sum(fold_plan(7, 3), [])) == list(range(7)) and len(fold_plan(7, 3)) == 3
    for folds in (1, 8, -1):
        with pytest.raises(NanosynthError, match="folds"):
            fold_plan(7, folds)


class Heard(Reporter):
    def __init__(self):
        self.said = []

    def send(self, kind, **values):
        self.said.append((kind, values))


def test_a_fold_never_sees_its_held_out_image_and_the_table_is_made(real, fast, monkeypatch):
    seen = []
    genuine = crossvalidation.train

    def spied(pairs, settings, out, **others):
        seen.append((out.parent.name, {record["image"] for record in pairs.records.values()}))
        return genuine(pairs, settings, out, **others)

    monkeypatch.setattr(crossvalidation, "train", spied)
    heard = Heard()
    out = real / "baseline"
    result = cross_validate([real / "images"], real / "truth", out, fast, valid=real / "valid", folds=2, reporter=heard)
    everything = {"m0", "m1", "m2", "m3"}
    assert [name for name, _ in seen] == ["fold-01", "fold-02"]
    for folder, trained_on in seen:
        done = json.loads((out / folder / "done.json").read_text())
        assert set(done["trained_on"]) == trained_on == everything - set(done["held_out"])
        assert {path.stem for path in (out / folder / "result" / "instances").iterdir()} == set(done["held_out"])
    assert set(result["methods"]["U-Net_real"]["images"]) == everything
    for name in ("scores.json", "scores.csv", "table.txt", "figure.png", "examples.png"):
        assert (out / name).stat().st_size > 100
    assert "only 4 images" in table_text(result)
    rows = csv_text(result).splitlines()
    assert len(rows) == 1 + 4 + 3 and rows[1].startswith("U-Net_real,m0,")
    shares = [values["done"] / values["total"] for kind, values in heard.said if kind == "progress"]
    assert shares == sorted(shares) and shares[-1] == 1

    # The same call again trains nothing; another one is refused.
    seen.clear()
    assert cross_validate([real / "images"], real / "truth", out, fast, valid=real / "valid", folds=2) == result
    assert not seen
    with pytest.raises(NanosynthError, match="folds"):
        cross_validate([real / "images"], real / "truth", out, fast, valid=real / "valid")


def test_an_interrupted_fold_goes_on(real, fast, monkeypatch):
    class Stop(Reporter):
        def send(self, kind, **values):
            if kind == "artifact" and values["role"] == "weights" and values["epoch"] == 1 and "fold-02" in values["path"]:
                raise KeyboardInterrupt

    arguments = ([real / "images"], real / "truth", real / "baseline", fast)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(*arguments, folds=2, reporter=Stop())
    assert (real / "baseline" / "fold-01" / "done.json").is_file()
    assert not (real / "baseline" / "fold-02" / "done.json").exists()
    before = (real / "baseline" / "fold-01" / "run" / "history.jsonl").read_bytes()
    shown = []

    class Watch(Reporter):
        def send(self, kind, **values):
            if kind == "progress":
                shown.append(values)

    stopped = cross_validate(*arguments, folds=2, reporter=Watch())
    assert shown[0]["done"] == 1 and shown[0]["seconds_left"] is None  # the fold that was there took no time
    assert shown[-1]["done"] == shown[-1]["total"] == 2
    assert (real / "baseline" / "fold-01" / "run" / "history.jsonl").read_bytes() == before
    through = cross_validate([real / "images"], real / "truth", real / "another", fast, folds=2)
    assert stopped["methods"] == through["methods"]


def test_processes_share_the_folds(real, fast):
    """What another process holds is left to it; the call that finds all made compares."""
    arguments = ([real / "images"], real / "truth", real / "baseline", fast)
    heard = Heard()
    with locked(real / "baseline" / "fold-01" / crossvalidation.LOCK, "working in"):
        assert cross_validate(*arguments, folds=2, reporter=heard) is None
    assert (real / "baseline" / "fold-02" / "done.json").is_file()
    assert not (real / "baseline" / "fold-01" / "run").exists() and not (real / "baseline" / "scores.json").exists()
    assert heard.said[-1][0] == "done" and "Other processes" in heard.said[-1][1]["text"]
    with locked(real / "baseline" / crossvalidation.LOCK, "writing the comparison into"):
        assert cross_validate(*arguments, folds=2) is None
    assert set(cross_validate(*arguments, folds=2)["methods"]["U-Net_real"]["images"]) == {"m0", "m1", "m2", "m3"}


def test_beside_a_model_the_differences_are_paired(real, fast):
    first = cross_validate([real / "images"], real / "truth", real / "one", fast, folds=2)
    second = cross_validate([real / "images"], real / "truth", real / "two", fast, folds=2, model=real / "one" / "fold-01" / "run")
    assert second["methods"]["U-Net_real"] == first["methods"]["U-Net_real"]
    real_, synth = (second["methods"][name]["images"] for name in ("U-Net_real", "U-Net_synth"))
    gaps = [synth[name]["f1"] - real_[name]["f1"] for name in real_]
    assert second["difference"]["f1"]["value"] == pytest.approx(np.mean(gaps))
    assert second["difference"]["f1"]["low"] <= np.mean(gaps) <= second["difference"]["f1"]["high"]
    text = table_text(second)
    assert all(name in text for name in ("U-Net_real", "U-Net_synth", "synth - real"))


def test_scale_in_nm_comes_from_the_file_and_must_be_known(real):
    items = annotated([real / "images"], real / "truth", nm_per_px=2.0)
    assert {record["nm_per_pixel"] for record in RealPairs(items, in_nm=True).records.values()} == {2.0}
    table = real / "scale.csv"
    table.write_text("image;nm_per_px\nm0.png;1,5\nm1;3\nm2.png;\n")
    items = annotated([real / "images"], real / "truth", nm_per_px=ScaleFile(table))
    assert [item.nm_per_px for item in items] == [1.5, 3.0, None, None]
    with pytest.raises(NanosynthError, match="m2.png: its nm per pixel is not known"):
        RealPairs(items, in_nm=True)


def test_bad_input_is_named(real, fast):
    arguments = {"out": real / "baseline", "settings": fast}
    with pytest.raises(NanosynthError, match="at least two"):
        cross_validate([real / "images" / "m0.png"], real / "truth", **arguments)
    write(real / "images", "new", np.uint8(np.arange(10000).reshape(100, 100) % 251))
    with pytest.raises(NanosynthError, match="no label image for new.png"):
        cross_validate([real / "images"], real / "truth", **arguments)
    write(real / "truth", "new", np.zeros((100, 100), np.uint16))
    with pytest.raises(NanosynthError, match="new.png: no particle is annotated"):
        RealPairs([Annotated("new", real / "images" / "new.png", real / "truth" / "new.png")])
    write(real / "truth", "new", np.ones((90, 100), np.uint16))
    with pytest.raises(NanosynthError, match="100 x 90 px"):
        RealPairs([Annotated("new", real / "images" / "new.png", real / "truth" / "new.png")])
    (real / "images" / "new.png").write_bytes((real / "images" / "m0.png").read_bytes())
    with pytest.raises(NanosynthError, match="the same picture"):
        cross_validate([real / "images"], real / "truth", **arguments)


@pytest.mark.filterwarnings("error")
def test_the_figure_of_one_network_alone_has_room_for_everything(tmp_path):
    """Matplotlib warns where it cannot lay out a figure."""
    from nanosynth.learn.comparisonfigure import draw_comparison

    shares = dict.fromkeys(("precision", "recall", "accuracy", "f1", "ap"), 0.5) | {"warping_error": 0.067}
    image = shares | {"n_predicted": 1, "n_truth": 7}
    ends = {key: (value / 2, value * 1.5) for key, value in shares.items()}
    scores = {"images": {"a": image, "b": image}, "mean": shares, "intervals": {"mean": ends}}
    result = {"methods": {"U-Net_real": scores}, "difference": None}
    draw_comparison(tmp_path / "figure.png", result, crossvalidation.cells(result), ["U-Net_real"])
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.size == (1720, 1000)
