import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from nanosynth.errors import NanosynthError
from nanosynth.fields import from_dict, reference
from nanosynth.learn.images import Micrograph, read_labels, read_mask, write_grey
from nanosynth.learn.metrics import match_instances
from nanosynth.learn.segmentation import SegmentationOptions, at_image_scale, enlarge_labels, output_names, segment, segment_files
from nanosynth.reporting import Reporter

FAKES = runpy.run_path(str(Path(__file__).with_name("fakes.py")))
Threshold, discs = FAKES["Threshold"], FAKES["discs"]


class Recorder(Reporter):
    def __init__(self):
        self.messages = []

    def send(self, kind, **values):
        self.messages.append((kind, values))

    def of(self, kind):
        return [values for k, values in self.messages if k == kind]


def micrograph(pixels, nm_per_px=None, banner_px=0):
    return Micrograph(Path("image.png"), pixels, nm_per_px, "given by the user" if nm_per_px else "none", banner_px)


def options(**values):
    return from_dict(SegmentationOptions, values)


def save(path, pixels):
    write_grey(path, np.uint8(np.round(pixels * 255)))
    return path


@pytest.mark.parametrize("diameter", [20, 32, 90])
def test_every_particle_is_found_at_its_place_whatever_the_scale(diameter):
    pixels, truth = discs((300, 380), diameter, np.random.default_rng(diameter))
    found = segment(Threshold(), micrograph(pixels), options(diameter=diameter))
    assert found.scale.zoom == pytest.approx(32 / diameter)
    assert found.labels.shape == found.mask.shape == found.probability.shape == pixels.shape
    assert found.labels.dtype == np.int32 and found.probability.dtype == np.float32
    assert match_instances(truth, found.labels, iou=0.85)["f1"] == 1
    assert len(found.table["label"]) == truth.max() == found.labels.max()
    np.testing.assert_array_equal(found.mask, found.labels > 0)


def test_nm_per_pixel_of_image_and_model_set_the_scale():
    pixels, truth = discs((300, 300), 64, np.random.default_rng(1))
    found = segment(Threshold(nm_per_px=5.0), micrograph(pixels, 2.5), options())
    assert found.scale.source == "nm per pixel" and found.scale.zoom == 0.5
    assert found.labels.max() == truth.max()
    assert not found.warnings
    np.testing.assert_allclose(found.table["diameter_nm"], 2.5 * found.table["diameter_px"])


def test_the_papers_post_processing():
    pixels, truth = discs((300, 300), 40, np.random.default_rng(1))  # 1257 px each
    found = segment(Threshold(), micrograph(pixels, 1.0), options(diameter=40, postprocess="paper-sio2"))
    assert match_instances(truth, found.labels, iou=0.85)["f1"] == 1 and not found.warnings
    half = segment(Threshold(), micrograph(pixels, 0.5), options(diameter=40, postprocess="paper-sio2"))  # 314 nm2 each
    assert half.labels.max() == 0 and any("left none" in message for message in half.warnings)
    unknown = segment(Threshold(), micrograph(pixels), options(diameter=40, postprocess="paper-tio2", exact=True))
    assert any("1 nm per pixel" in message for message in unknown.warnings) and unknown.labels.max() == truth.max()
    with pytest.raises(NanosynthError, match="exact"):
        options(exact=True)


def test_particles_that_the_banner_cuts_are_on_the_border():
    pixels, _ = discs((200, 200), 40, np.random.default_rng(1))
    pixels = pixels[: int(np.nonzero((pixels > 0.5).any(axis=1))[0].max()) - 10]
    found = segment(Threshold(), micrograph(pixels, banner_px=30), options(diameter=40))
    assert found.labels.shape[0] == pixels.shape[0] + 30 and found.table["on_border"].any()
    assert np.isfinite(found.table["confidence"]).all()


def test_a_stated_scale_that_does_not_fit_is_searched_unless_insisted_on():
    pixels, truth = discs((300, 300), 64, np.random.default_rng(1))
    model = Threshold(nm_per_px=5.0)
    wrong = segment(model, micrograph(pixels, 10.0), options(scale="nm"))
    assert wrong.scale.zoom == 2 and any("--scale search" in message for message in wrong.warnings)
    mended = segment(model, micrograph(pixels, 10.0), options())
    assert mended.scale.source == "search" and mended.scale.diameter_px == pytest.approx(64, rel=0.3)
    assert any("sizes in nm use the stated 10 nm" in message for message in mended.warnings)
    assert mended.labels.max() == truth.max()
    assert mended.table["diameter_nm"][0] == 10 * mended.table["diameter_px"][0]


def test_without_nm_the_scale_is_searched():
    pixels, _ = discs((250, 250), 50, np.random.default_rng(4))
    found = segment(Threshold(nm_per_px=5.0), micrograph(pixels), options())
    assert found.scale.source == "search" and found.scale.trials
    with pytest.raises(NanosynthError, match="nm per pixel is not known"):
        segment(Threshold(nm_per_px=5.0), micrograph(pixels), options(scale="nm"))


def test_the_banner_rows_are_empty():
    pixels, truth = discs((200, 260), 32, np.random.default_rng(2))
    found = segment(Threshold(), micrograph(pixels, banner_px=37), options(diameter=32))
    assert found.labels.shape == (237, 260)
    assert not found.labels[200:].any() and not found.probability[200:].any()
    assert found.labels.max() == truth.max()


def test_small_areas_are_left_out():
    pixels, truth = discs((300, 300), 40, np.random.default_rng(3), share=0.1)
    small, _ = discs((300, 60), 10, np.random.default_rng(5), share=0.1)
    both = np.hstack([pixels, small])
    model = Threshold(diameter_px=40)
    assert segment(model, micrograph(both), options(diameter=40, min_area=0.001)).labels.max() > truth.max()
    assert segment(model, micrograph(both), options(diameter=40, min_area=0.2)).labels.max() == truth.max()
    assert segment(model, micrograph(both, 2.0), options(diameter=40, min_area_nm2=4 * 250)).labels.max() == truth.max()
    with pytest.raises(NanosynthError, match="--nm-per-px"):
        segment(model, micrograph(both), options(diameter=40, min_area_nm2=1000))


def test_the_gap_that_training_opens_is_closed():
    rows, columns = np.mgrid[:80, :120] + 0.5
    pixels = np.full((80, 120), 0.2, np.float32)
    for x in (43, 76):
        pixels[np.hypot(rows - 40, columns - x) < 16.4] = 0.8
    pixels[:, 59] = pixels[:, 60] = 0.2
    open_, closed = (
        segment(Threshold(border_radius_px=radius, selective=False), micrograph(pixels), options(diameter=32)).labels
        for radius in (0.0, 1.0)
    )
    assert open_.max() == closed.max() == 2
    middle = np.s_[38:42, 59:61]
    assert not open_[middle].any() and closed[middle].all()
    # The free edges stay where they are.
    np.testing.assert_array_equal(open_[:, :50] > 0, closed[:, :50] > 0)


def test_nothing_found_is_said():
    pixels = np.full((90, 90), 0.2, np.float32)
    pixels[0, 0] = 1
    found = segment(Threshold(), micrograph(pixels), options())
    assert found.labels.max() == 0 and len(found.table["label"]) == 0
    assert "no particles were found" in found.warnings


def test_labels_are_enlarged_smoothly_and_in_place():
    rows, columns = np.mgrid[:24, :30]
    small = np.where(rows + 0.9 * columns < 25, 1, 2).astype(np.int32)
    rows, columns = (np.mgrid[:240, :300] + 0.5) / 10 - 0.5
    line = np.where(rows + 0.9 * columns < 24.95, 1, 2)
    large = enlarge_labels(small, np.ones((240, 300), bool), rows_at_once=64)
    nearest = np.kron(small, np.ones((10, 10), np.int32))
    assert (large != line).mean() < 0.75 * (nearest != line).mean()
    mask = np.zeros((240, 300), bool)
    mask[:, :20] = True
    only = enlarge_labels(small, mask)
    assert not only[~mask].any() and set(np.unique(only)) == {0, 1}


def test_labels_are_reduced_by_sampling_centres():
    small = np.zeros((60, 90), np.int32)
    small[6:30, 9:60] = 4
    reduced = enlarge_labels(small, np.ones((20, 30), bool))
    expected = np.zeros((20, 30), int)
    expected[2:10, 3:20] = 1
    np.testing.assert_array_equal(reduced, expected)


def test_gaps_at_contacts_stay_where_the_image_shows_them():
    rows, columns = np.mgrid[:60, :130] - 0.0
    left, right = (np.hypot(rows - 30, columns - c) <= 20 for c in (46, 82))
    labels = np.where(left | right, np.where(columns < 64, 1, 2), 0).astype(np.int32)
    gap = (np.abs(columns - 64) < 2) & (left | right)
    labels[gap] = 0
    probability = np.where(labels > 0, 0.95, 0.02).astype(np.float32)
    near = (np.abs(rows - 30) <= 1) & (np.abs(columns - 64) < 2)  # where both are close
    images = {}
    for name, between in (("overlap", 0.7), ("crevice", 0.45), ("bare", 0.1)):
        image = np.where(left | right, 0.7, 0.1).astype(np.float32)
        image[gap] = between
        images[name] = ndimage.gaussian_filter(image, 0.7)
    found = {name: at_image_scale(labels, probability, 0.5, image, labels.shape) for name, image in images.items()}
    assert (found["overlap"][near] > 0).all() and set(np.unique(found["overlap"])) == {0, 1, 2}
    for name in ("crevice", "bare"):
        assert (found[name][near & (columns == 64)] == 0).all()
    # Nothing grows but there: the free outlines and what lies off stay as they were.
    away = np.abs(columns - 64) > 2
    for image in found.values():
        np.testing.assert_array_equal(image[away], labels[away])
    kept = at_image_scale(labels, probability, 0.5, images["overlap"], labels.shape, fill_contacts=False)
    np.testing.assert_array_equal(kept, labels)
    twice = at_image_scale(labels, probability, 0.5, images["overlap"], (120, 260))
    assert (twice[60, 122:138] > 0).all()
    # Dark particles and an image without substrate: the training's verdict holds.
    for image in (1 - images["overlap"], np.full(labels.shape, 0.5, np.float32)):
        np.testing.assert_array_equal(at_image_scale(labels, probability, 0.5, image, labels.shape), labels)


def test_files_and_their_record(tmp_path):
    pixels, truth = discs((200, 240), 32, np.random.default_rng(8))
    (tmp_path / "in" / "sub").mkdir(parents=True)
    images = [save(tmp_path / "in" / "größe a.png", pixels), save(tmp_path / "in" / "sub" / "größe a.tif", pixels[:150])]
    seen = Recorder()
    out = tmp_path / "out put"
    record = segment_files(Threshold(), images, out, options(diameter=32, nm_per_px=2.0), seen)
    assert record == json.loads((out / "segmentation.json").read_text("utf-8"))
    names = ["größe a", "größe a-2"]
    assert [entry["name"] for entry in record["images"]] == names
    for name, shape in zip(names, [(200, 240), (150, 240)], strict=True):
        for role in ("probability", "mask", "instances", "overlay", "histogram"):
            assert (out / role / f"{name}.png").stat().st_size > 0
        labels = read_labels(out / "instances" / f"{name}.png")
        assert labels.shape == shape
        np.testing.assert_array_equal(read_mask(out / "mask" / f"{name}.png"), labels > 0)
        with open(out / "particles" / f"{name}.csv", encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == labels.max()
    assert record["images"][0]["particles"] == truth.max()
    entry = record["images"][0]
    assert entry["scale"]["source"] == "diameter" and entry["nm_per_px"] == 2.0
    assert record["model"] == Threshold.provenance and entry["options"]["diameter"] == 32
    assert entry["image"] == str(images[0].resolve())
    assert len(seen.of("artifact")) == 13 and seen.of("progress")[-1]["done"] == 2
    assert not list(out.rglob(".*"))


def test_the_same_call_goes_on_and_other_calls_are_kept(tmp_path):
    pixels, truth = discs((150, 150), 32, np.random.default_rng(8))
    images = [save(tmp_path / f"{name}.png", pixels) for name in "abc"]
    out = tmp_path / "out"
    segment_files(Threshold(), images[:2], out, options(diameter=32))
    made = (out / "instances" / "a.png").stat().st_mtime_ns
    (out / "mask" / "b.png").unlink()
    seen = Recorder()
    record = segment_files(Threshold(), images, out, options(diameter=32), seen)
    assert [entry["name"] for entry in record["images"]] == ["a", "b", "c"]
    assert (out / "instances" / "a.png").stat().st_mtime_ns == made and (out / "mask" / "b.png").exists()
    assert seen.of("done")[0]["particles"] == 3 * truth.max() and str(out) in seen.of("done")[0]["text"]
    # Another setting makes an image anew and leaves the others listed.
    record = segment_files(Threshold(), images[:1], out, options(diameter=32, nm_per_px=2.0))
    assert [entry["nm_per_px"] for entry in record["images"]] == [2.0, None, None]
    assert (out / "instances" / "a.png").stat().st_mtime_ns > made
    other = Threshold()
    other.provenance = {"command": "another model"}
    seen = Recorder()
    record = segment_files(other, images[:1], out, options(diameter=32), seen)
    assert [entry["name"] for entry in record["images"]] == ["a"] and "another model" in str(record["model"])
    assert "no longer listed" in seen.of("warning")[0]["message"]


def test_an_image_of_the_same_name_in_a_later_call_replaces_nothing(tmp_path):
    pixels, _ = discs((150, 150), 32, np.random.default_rng(8))
    images = [tmp_path / folder / "same.png" for folder in "abc"]
    for count, path in enumerate(images, 100):
        path.parent.mkdir()
        save(path, pixels[:count])
    out = tmp_path / "out"

    def names(*paths):
        record = segment_files(Threshold(), paths, out, options(diameter=32))
        return {Path(entry["image"]).parent.name: entry["name"] for entry in record["images"]}

    assert names(images[0]) == {"a": "same"}
    assert names(images[1]) == {"a": "same", "b": "same-2"}
    assert names(images[2], images[1], images[0]) == {"a": "same", "b": "same-2", "c": "same-3"}
    assert [read_labels(out / "instances" / f"{name}.png").shape[0] for name in ("same", "same-2", "same-3")] == [100, 101, 102]
    images[0].parent.rename(tmp_path / "moved")
    assert names(tmp_path / "moved" / "same.png") == {"moved": "same", "b": "same-2", "c": "same-3"}


def test_what_cannot_be_read_for_want_of_permission_does_not_stop_the_rest(tmp_path, monkeypatch):
    pixels, _ = discs((100, 100), 32, np.random.default_rng(8))
    images = [save(tmp_path / f"{name}.png", pixels) for name in "ab"]

    def refuse(path):
        if Path(path).name == "a.png":
            raise NanosynthError(f"{path}: permission denied.", "Change its permissions.")
        return "hash"

    monkeypatch.setattr("nanosynth.learn.segmentation.sha256", refuse)
    with pytest.raises(NanosynthError, match=r"1 of 2 images .*a\.png"):
        segment_files(Threshold(), images, tmp_path / "out", options(diameter=32))
    assert (tmp_path / "out" / "instances" / "b.png").exists()
    with pytest.raises(NanosynthError, match=r"1 of 2 images .*a\.png"):  # and again, beside the results of the first call
        segment_files(Threshold(), images, tmp_path / "out", options(diameter=32))


def test_an_output_that_is_a_file_is_told_before_the_work(tmp_path):
    image = save(tmp_path / "a.png", discs((100, 100), 32, np.random.default_rng(8))[0])
    seen = Recorder()
    with pytest.raises(NanosynthError, match=r"a\.png.*(not a folder|where a folder is needed)"):
        segment_files(Threshold(), [image], image, options(diameter=32), seen)
    assert not seen.of("progress")


def test_a_bad_image_does_not_stop_the_rest(tmp_path):
    pixels, _ = discs((100, 100), 32, np.random.default_rng(8))
    good = [save(tmp_path / f"{name}.png", pixels) for name in "ac"]
    (tmp_path / "b.png").write_bytes(b"no image at all")
    seen = Recorder()
    with pytest.raises(NanosynthError, match=r"1 of 3 images .*b\.png"):
        segment_files(Threshold(), [tmp_path], tmp_path / "out", options(diameter=32), seen)
    assert sorted(p.name for p in (tmp_path / "out" / "instances").iterdir()) == [p.name for p in good]
    record = json.loads((tmp_path / "out" / "segmentation.json").read_text("utf-8"))
    assert [("error" in entry) for entry in record["images"]] == [False, True, False]
    assert len(seen.of("error")) == 1 and "b.png" in seen.of("error")[0]["message"]


def test_a_missing_file_among_many_is_told_and_the_others_are_segmented(tmp_path):
    pixels, _ = discs((100, 100), 32, np.random.default_rng(8))
    paths = [save(tmp_path / "a.png", pixels), tmp_path / "gone.png", save(tmp_path / "c.png", pixels)]
    seen = Recorder()
    with pytest.raises(NanosynthError, match=r"1 of 3 images .*gone\.png"):
        segment_files(Threshold(), paths, tmp_path / "out", options(diameter=32), seen)
    assert [message["message"] for message in seen.of("error")] == [f"{tmp_path / 'gone.png'}: no such file or folder."]
    record = json.loads((tmp_path / "out" / "segmentation.json").read_text("utf-8"))
    assert {entry["name"]: "error" in entry for entry in record["images"]} == {"a": False, "gone": True, "c": False}
    paths[1] = save(paths[1], pixels)
    record = segment_files(Threshold(), paths, tmp_path / "out", options(diameter=32))
    assert not any("error" in entry for entry in record["images"]) and len(record["images"]) == 3
    with pytest.raises(NanosynthError, match="no such file"):
        segment_files(Threshold(), [tmp_path / "nothing"], tmp_path / "out", options(diameter=32))


def test_a_scale_file_states_the_scale_image_by_image(tmp_path):
    pixels, _ = discs((100, 100), 32, np.random.default_rng(8))
    images = [save(tmp_path / f"{name}.png", pixels) for name in "abc"]
    table = tmp_path / "scale.csv"
    table.write_text("image,nm_per_px\na.png,2\nb,3\n")
    chosen = options(diameter=32, scale_file=str(table))
    record = segment_files(Threshold(), images, tmp_path / "out", chosen)
    assert [entry["nm_per_px"] for entry in record["images"]] == [2.0, 3.0, None]
    assert record["images"][0]["nm_per_px_source"] == "stated in scale.csv"
    assert "scale.csv has no scale for it" in record["images"][2]["warnings"]
    with open(tmp_path / "out" / "particles" / "b.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["diameter_nm"]) == pytest.approx(3 * float(row["diameter_px"]), rel=1e-4) and row["scale_source"] == "stated in scale.csv"
    # Another word in the file makes its image anew, and that one alone.
    table.write_text("image,nm_per_px\na.png,2\nb,4\n")
    seen = Recorder()
    record = segment_files(Threshold(), images, tmp_path / "out", chosen, seen)
    assert [entry["nm_per_px"] for entry in record["images"]] == [2.0, 4.0, None]
    assert {Path(message["image"]).stem for message in seen.of("artifact") if "image" in message} == {"b"}
    with pytest.raises(NanosynthError, match="Give one of them"):
        options(scale_file=str(table), nm_per_px=2.0)


def test_names_do_not_clash():
    assert output_names(["x/a.png", "y/b.png"]) == ["a", "b"]
    assert output_names(["x/a.png", "y/A.tif", "a-2.png", "z/a.bmp"]) == ["a", "A-3", "a-2", "a-4"]


@pytest.mark.parametrize("value", ["bottom", "-3", "1.5"])
def test_a_wrong_crop_is_refused(value):
    with pytest.raises(NanosynthError, match="crop_bottom"):
        options(crop_bottom=value)


def test_the_documented_settings_are_the_real_ones():
    page = (Path(__file__).parents[2] / "docs" / "segmenting.md").read_text("utf-8")
    assert reference(SegmentationOptions) in page
