"""Exports, each read again by a program or a reader that is not ours."""

import csv
import json
import sys
import zipfile
from importlib.util import find_spec
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.draw import polygon2mask

from nanosynth import cli
from nanosynth.errors import NanosynthError
from nanosynth.files import write_json
from nanosynth.learn import exchange, images, outlines
from nanosynth.learn.metadata import ScaleFile
from nanosynth.learn.particles import measure, table_text
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import Recipe

roifile = pytest.importorskip("roifile")
NM = 1.25


def particles(seed=0, size=(70, 90)):
    """Particles of every awkward kind: touching, at the border, with holes, in parts, of one pixel, meeting at a corner."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    y, x = np.mgrid[: size[0], : size[1]]
    for number in range(1, 9):
        cy, cx, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(4, 12)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = number
    labels[40:56, 60:80] = 9
    labels[43:47, 63:70] = 0  # two holes, one of which holds another particle
    labels[50:53, 65:75] = 0
    labels[51, 68] = 10
    labels[2, 2] = 11
    labels[5:8, 2:5] = labels[8:11, 5:8] = 12  # two parts that meet at a corner
    labels[13:16, 2:5] = 13
    labels[14, 3] = 0
    return labels


def result(folder, labels_of, *, nm_per_px=NM):
    """A folder as `segment` writes it."""
    entries = []
    for name, labels in labels_of.items():
        picture = np.random.default_rng(1).integers(0, 256, labels.shape).astype(np.uint8)
        images.write_grey(folder / "taken" / f"{name}.png", picture, nm_per_px=nm_per_px)
        images.write_grey(folder / "probability" / f"{name}.png", np.where(labels > 0, 204, 3).astype(np.uint8))
        files = {
            "instances": images.write_labels(folder / "instances" / f"{name}.png", labels),
            "probability": folder / "probability" / f"{name}.png",
        }
        entries.append(
            {
                "name": name,
                "image": str(folder / "taken" / f"{name}.png"),
                "nm_per_px": nm_per_px,
                "nm_per_px_source": "PNG metadata" if nm_per_px else "none: the file states no pixel size",
                "files": {role: path.relative_to(folder).as_posix() for role, path in files.items()},
            }
        )
    entries.append({"name": "failed", "image": "x.png", "error": "damaged"})
    write_json(folder / "segmentation.json", {"images": entries})
    return folder


@pytest.fixture
def one(tmp_path):
    return result(tmp_path / "ergebnis 1", {"näme 1": particles()})


def export(source, tmp_path, *formats):
    return exchange.export(source, formats, tmp_path / "out")


# Outlines


@pytest.mark.parametrize("seed", range(6))
def test_filled_outlines_are_the_same_pixels(seed):
    labels = (
        particles(seed) if seed < 3 else ndimage.label(ndimage.gaussian_filter(np.random.default_rng(seed).random((60, 70)), 1) > 0.5)[0]
    )
    again = np.zeros_like(labels)
    for label, parts in outlines.outlines(labels):
        for loops in parts:
            assert outlines.area(loops[0]) > 0 and all(outlines.area(hole) < 0 for hole in loops[1:])
            assert all(len({*map(tuple, loop)}) == len(loop) for loop in loops)  # none meets itself
            again[polygon2mask(labels.shape, outlines.without_holes(loops)[:, ::-1] - 0.5)] = label
        assert sum(outlines.area(loop) for loops in parts for loop in loops) == (labels == label).sum()
    assert np.array_equal(again, labels)


def test_outline_of_one_pixel_and_of_a_step():
    labels = np.zeros((4, 5), int)
    labels[1, 2] = 3
    [(label, [[loop]])] = outlines.outlines(labels)
    assert label == 3 and loop.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]
    labels[2, 2:4] = 3
    [(_, [[loop]])] = outlines.outlines(labels)
    assert loop.tolist() == [[2, 1], [3, 1], [3, 2], [4, 2], [4, 3], [2, 3]]
    assert list(outlines.outlines(np.zeros((4, 4), int))) == []


# Formats


def test_csv(one, tmp_path):
    [path] = export(one, tmp_path, "csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = particles()
    assert [int(row["label"]) for row in rows] == list(np.unique(labels)[1:])
    for row in rows:
        area = (labels == int(row["label"])).sum()
        assert float(row["area_px"]) == area and float(row["area_nm2"]) == pytest.approx(area * NM**2, rel=1e-4)
        assert float(row["nm_per_px"]) == NM and row["scale_source"] == "PNG metadata"


def test_what_a_banner_cuts_is_cut_as_in_the_table_of_segment(tmp_path):
    """The rows of the banner bear no particles and no intensities."""
    labels, banner = particles(), 10
    labels[-banner:] = 0
    folder = result(tmp_path / "r", {"a": labels})
    picture = np.random.default_rng(1).integers(500, 600, labels.shape).astype(np.uint16)
    picture[-banner:] = 65535
    images.write_grey(folder / "taken" / "a.png", picture)
    record = json.loads((folder / "segmentation.json").read_text())
    record["images"][0]["banner_px"] = banner
    write_json(folder / "segmentation.json", record)
    [path] = export(folder, tmp_path, "csv")
    above, probability = labels[:-banner], np.where(labels > 0, 204, 3)[:-banner] / 255
    pixels = images.read_micrograph(folder / "taken" / "a.png", crop_bottom=banner).pixels
    expected = table_text(measure(above, pixels, probability=probability, nm_per_px=NM), nm_per_px=NM, scale_source="PNG metadata")
    assert path.read_text(encoding="utf-8") == expected
    assert expected != table_text(measure(labels, nm_per_px=NM), nm_per_px=NM)


def test_a_result_without_its_micrographs_is_exported_still(one, tmp_path, capsys):
    (one / "taken" / "näme 1.png").unlink()
    assert cli.main(["export", str(one), "--format", "csv", "imagej", "coco", "--out", str(tmp_path / "out")]) == 0
    assert "cannot be read, so its mean intensities are left out" in capsys.readouterr().err
    with open(tmp_path / "out" / "csv" / "näme 1.csv", newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert row["mean_intensity"] == "" and "no mean intensity: no image" in row["remarks"]
    assert len(json.loads((tmp_path / "out" / "coco" / "coco.json").read_text())["annotations"]) == 13
    with pytest.raises(NanosynthError, match="näme 1.png"):
        export(one, tmp_path, "csv", "cellpose")


def test_parquet(one, tmp_path):
    if find_spec("keras") is None:  # where Keras is, pyarrow has to be
        pytest.importorskip("pyarrow", reason="pyarrow is in the training environment alone, where this test runs")
    from pyarrow import parquet

    [path] = export(one, tmp_path, "parquet")
    table = parquet.read_table(path)
    labels = particles()
    assert table["image"].to_pylist() == ["näme 1"] * 13
    assert table["area_px"].to_pylist() == [(labels == label).sum() for label in table["label"].to_pylist()]
    assert set(table["nm_per_px"].to_pylist()) == {NM}


@pytest.mark.parametrize("package, name", [("pyarrow", "parquet"), ("roifile", "imagej")])
def test_a_missing_package_is_named(one, tmp_path, monkeypatch, package, name):
    found = exchange.importlib.util.find_spec
    monkeypatch.setattr(exchange.importlib.util, "find_spec", lambda wanted: None if wanted == package else found(wanted))
    with pytest.raises(NanosynthError, match=f"{name} needs the package {package}"):
        export(one, tmp_path, "csv", name)
    assert not (tmp_path / "out").exists()


def test_label_tiff_opens_in_imagej_with_its_scale(one, tmp_path):
    [path] = export(one, tmp_path, "labels")
    with tifffile.TiffFile(path) as tiff:
        assert np.array_equal(tiff.asarray(), particles()) and tiff.pages[0].dtype == np.uint16
        above, below = tiff.pages[0].tags["XResolution"].value
        assert tiff.is_imagej and tiff.imagej_metadata["unit"] == "nm" and below / above == pytest.approx(NM)
    assert images.read_scale(path) == (pytest.approx(NM), "ImageJ metadata")


def test_ome_tiff(one, tmp_path):
    [path] = export(one, tmp_path, "ome-tiff")
    with tifffile.TiffFile(path) as tiff:
        assert np.array_equal(tiff.asarray(), particles())
        document = ElementTree.fromstring(tiff.ome_metadata)
    pixels = document.find(".//{*}Pixels").attrib
    assert (pixels["SizeX"], pixels["SizeY"], pixels["Type"]) == ("90", "70", "uint16")
    assert float(pixels["PhysicalSizeX"]) == float(pixels["PhysicalSizeY"]) == NM
    assert pixels["PhysicalSizeXUnit"] == pixels["PhysicalSizeYUnit"] == "nm"


def test_imagej_rois_lie_where_the_particles_are(one, tmp_path):
    [path] = export(one, tmp_path, "imagej")
    labels = particles()
    again = np.zeros_like(labels)
    rois = roifile.roiread(path)
    for roi in rois:
        corners = roi.integer_coordinates + [roi.left, roi.top]  # as Fiji's own decoder does
        assert roi.roitype == roifile.ROI_TYPE.TRACED and not roi.options & roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        assert (roi.right, roi.bottom) == tuple(corners.max(axis=0)) and (roi.left, roi.top) == tuple(corners.min(axis=0))
        assert np.array_equal(corners, roi.coordinates())
        again[polygon2mask(labels.shape, corners[:, ::-1] - 0.5)] = int(roi.name.partition("-")[0])
    assert np.array_equal(again, labels)
    assert "12" in [roi.name for roi in rois] and "12-2" in [roi.name for roi in rois]
    with zipfile.ZipFile(path) as archive:
        assert [name.removesuffix(".roi") for name in archive.namelist()] == [roi.name for roi in rois]


def test_imagej_rois_beyond_the_reach_of_16_bit_numbers(tmp_path):
    labels = np.zeros((40, 29_000), np.int32)
    labels[5:9, 28_990:28_996] = 1
    folder = tmp_path / "wide"
    [path] = exchange.write_imagej(folder, exchange.Item("wide", None, None, "", None), labels, None)
    [roi] = [roifile.roiread(path)] if not isinstance(roifile.roiread(path), list) else roifile.roiread(path)
    assert roi.coordinates().min(axis=0).tolist() == [28_990, 5] and roi.coordinates().max(axis=0).tolist() == [28_996, 9]


def test_coco_is_read_by_its_own_tools(one, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask

    [path] = export(one, tmp_path, "coco")
    labels = particles()
    read = coco.COCO(str(path))
    [image] = read.loadImgs(read.getImgIds())
    assert (image["width"], image["height"], image["nm_per_px"]) == (90, 70, NM)
    assert (path.parent / image["file_name"]).resolve() == (one / "taken" / "näme 1.png").resolve()
    annotations = read.loadAnns(read.getAnnIds())
    assert [a["label"] for a in annotations] == list(np.unique(labels)[1:])
    for annotation in annotations:
        shape = labels == annotation["label"]
        assert np.array_equal(read.annToMask(annotation).astype(bool), shape)
        assert annotation["area"] == shape.sum() == mask.area(annotation["segmentation"])
        assert annotation["bbox"] == mask.toBbox(annotation["segmentation"]).tolist()
        assert annotation["score"] == pytest.approx(0.8)
        reference = mask.encode(np.asfortranarray(shape.astype(np.uint8)))
        assert annotation["segmentation"]["counts"] == reference["counts"].decode()
    read.loadRes([{k: a[k] for k in ("image_id", "category_id", "segmentation", "score")} for a in annotations])


@pytest.mark.parametrize("seed", range(4))
def test_packed_counts_of_long_and_short_runs(seed):
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    shape = np.zeros((300, 200), bool)
    shape[rng.integers(0, 300, 40), rng.integers(0, 200, 40)] = True
    shape[:, 50 : 50 + seed] = True
    shape[299, 199] = seed % 2
    [(label, counts, area, _)] = exchange.run_lengths(shape * 7)
    assert label == 7 and area == shape.sum() and sum(counts) == shape.size
    assert exchange.packed_counts(counts) == mask.encode(np.asfortranarray(shape.astype(np.uint8)))["counts"].decode()


def test_cellpose_pair(one, tmp_path):
    picture, masks = export(one, tmp_path, "cellpose")
    assert (picture.name, masks.name) == ("näme 1.png", "näme 1_masks.png")
    with Image.open(picture) as image, Image.open(one / "taken" / "näme 1.png") as taken:
        assert np.array_equal(np.asarray(image), np.asarray(taken))
    with Image.open(masks) as image:
        assert image.mode.startswith("I;16") and np.array_equal(np.asarray(image), particles())


def test_stardist_folders(one, tmp_path):
    picture, masks = export(one, tmp_path, "stardist")
    assert picture.relative_to(tmp_path).parts == ("out", "stardist", "images", "näme 1.tif")
    assert masks.relative_to(tmp_path).parts == ("out", "stardist", "masks", "näme 1.tif")
    with Image.open(one / "taken" / "näme 1.png") as taken:
        assert np.array_equal(tifffile.imread(picture), np.asarray(taken))
    assert np.array_equal(tifffile.imread(masks), particles())


def test_geojson(one, tmp_path):
    [path] = export(one, tmp_path, "geojson")
    collection = json.loads(path.read_text(encoding="utf-8"))
    labels = particles()
    assert collection["type"] == "FeatureCollection" and len(collection["features"]) == 13
    again = np.zeros_like(labels)
    for feature in collection["features"]:
        geometry, properties = feature["geometry"], feature["properties"]
        label = int(properties["name"].split()[-1])
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        for outer, *holes in polygons:
            assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in (outer, *holes))
            inside = polygon2mask(labels.shape, np.array(outer)[:, ::-1] - 0.5)
            for hole in holes:
                inside &= ~polygon2mask(labels.shape, np.array(hole)[:, ::-1] - 0.5)
            again[inside] = label
        assert properties["objectType"] == "detection" and properties["classification"]["name"] == "particle"
        assert properties["measurements"]["area_px"] == (labels == label).sum()
        assert properties["measurements"]["confidence"] == pytest.approx(0.8)
        assert all(isinstance(value, (int, float)) for value in properties["measurements"].values())
    assert np.array_equal(again, labels)
    assert {"Polygon", "MultiPolygon"} == {feature["geometry"]["type"] for feature in collection["features"]}


# Sources


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from PIL import Image as Pillow

    recipe = Recipe()
    recipe.count = 2
    made = Dataset.create(tmp_path_factory.mktemp("data") / "set", recipe)
    for index in range(2):
        labels = particles(index).astype(np.uint16)
        record = {"index": index, "nm_per_pixel": 2.0 + index}
        for path, values in zip(made.paths(index), (labels.astype(np.uint8) * 9, (labels > 0).astype(np.uint8) * 255, labels)):
            path.parent.mkdir(exist_ok=True)
            Pillow.fromarray(values).save(path)
        made.append(record)
    return made.path


def test_a_data_set_is_exported_likewise(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange.Dataset, "open", classmethod(lambda cls, path: cls(path, None, {})))
    formats = [name for name in exchange.FORMATS if name != "parquet"]
    files = exchange.export(dataset, formats, tmp_path / "out")
    assert all(path.exists() for path in files)
    for index in range(2):
        labels = particles(index)
        assert np.array_equal(tifffile.imread(tmp_path / "out" / "stardist" / "masks" / f"{index:06d}.tif"), labels)
        with Image.open(tmp_path / "out" / "cellpose" / f"{index:06d}.png") as image:
            assert np.array_equal(np.asarray(image), labels * 9)
        assert images.read_scale(tmp_path / "out" / "labels" / f"{index:06d}.tif")[0] == pytest.approx(2.0 + index)
    coco = json.loads((tmp_path / "out" / "coco" / "coco.json").read_text())
    assert [image["nm_per_px"] for image in coco["images"]] == [2.0, 3.0]
    assert all((tmp_path / "out" / "coco" / image["file_name"]).exists() for image in coco["images"])
    assert "score" not in coco["annotations"][0] and len({a["id"] for a in coco["annotations"]}) == len(coco["annotations"])


def test_label_images_alone(tmp_path):
    images.write_labels(tmp_path / "in" / "a.png", particles(), nm_per_px=3.0)
    files = exchange.export(tmp_path / "in", ["csv", "imagej", "coco", "geojson"], tmp_path / "out")
    assert len(files) == 4
    with open(tmp_path / "out" / "csv" / "a.csv", newline="") as file:
        assert {row["nm_per_px"] for row in csv.DictReader(file)} == {"3"}
    with pytest.raises(NanosynthError, match="needs the pictures"):
        exchange.export(tmp_path / "in", ["cellpose"], tmp_path / "out")


def test_the_scale_of_label_images_can_be_stated(tmp_path):
    for name in ("a", "b"):
        images.write_labels(tmp_path / "in" / f"{name}.png", particles(), nm_per_px=None)
    (tmp_path / "scale.csv").write_text("image,nm_per_px\na.png,1.5\n")

    def scales(nm_per_px):
        exchange.export(tmp_path / "in", ["coco", "csv"], tmp_path / "out", nm_per_px=nm_per_px)
        entries = json.loads((tmp_path / "out" / "coco" / "coco.json").read_text())["images"]
        with open(tmp_path / "out" / "csv" / "a.csv", newline="") as file:
            sources = {row["scale_source"] for row in csv.DictReader(file)}
        return [entry.get("nm_per_px") for entry in entries], sources

    assert scales(2.5) == ([2.5, 2.5], {"given by the user"})
    assert scales(ScaleFile(tmp_path / "scale.csv")) == ([1.5, None], {"stated in scale.csv"})
    with pytest.raises(NanosynthError, match="above 0"):
        scales(0)
    with pytest.raises(NanosynthError, match="has its own scale"):
        exchange.export(result(tmp_path / "r", {"a": particles()}), ["csv"], tmp_path / "out", nm_per_px=2.0)


# Bad input


def test_without_a_scale(tmp_path, capsys):
    folder = result(tmp_path / "r", {"a": particles()}, nm_per_px=None)
    formats = [name for name in exchange.FORMATS if name != "parquet"]
    assert cli.main(["export", str(folder), "--format", *formats, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("scale not known") == 1
    with open(tmp_path / "out" / "csv" / "a.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["area_nm2"] == "" and row["scale_source"].startswith("none")
    assert images.read_scale(tmp_path / "out" / "labels" / "a.tif")[0] is None
    assert images.read_scale(tmp_path / "out" / "ome-tiff" / "a.ome.tif")[0] is None
    assert "nm_per_px" not in json.loads((tmp_path / "out" / "coco" / "coco.json").read_text())["images"][0]
    assert "NaN" not in (tmp_path / "out" / "geojson" / "a.geojson").read_text()


def test_a_warning_on_many_images_is_said_once(tmp_path, capsys):
    folder = result(tmp_path / "r", {f"m{i}": particles() for i in range(8)}, nm_per_px=None)
    assert cli.main(["export", str(folder), "--format", "csv", "--out", str(tmp_path / "out")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert len(warnings) == 1 and "all images: scale not known" in warnings[0]


def test_without_particles(tmp_path, capsys):
    folder = result(tmp_path / "r", {"a": np.zeros((50, 60), np.int32)})
    formats = [name for name in exchange.FORMATS if name != "parquet"]
    assert cli.main(["export", str(folder), "--format", *formats, "--out", str(tmp_path / "out")]) == 0
    assert "a: no particles" in capsys.readouterr().err
    assert not (tmp_path / "out" / "imagej" / "a.zip").exists()  # Fiji refuses an empty set
    assert json.loads((tmp_path / "out" / "geojson" / "a.geojson").read_text())["features"] == []
    assert json.loads((tmp_path / "out" / "coco" / "coco.json").read_text())["annotations"] == []
    assert tifffile.imread(tmp_path / "out" / "labels" / "a.tif").max() == 0


def test_ten_thousand_particles(tmp_path):
    labels = np.zeros((801, 801), np.int32)
    for row in range(100):
        for column in range(100):
            labels[8 * row : 8 * row + 5, 8 * column : 8 * column + 5] = 100 * row + column + 1
    images.write_labels(tmp_path / "a.png", labels)
    exchange.export(tmp_path / "a.png", ["imagej", "coco"], tmp_path / "out")
    rois = roifile.roiread(tmp_path / "out" / "imagej" / "a.zip")
    assert len(rois) == 10_000 and rois[0].name == "00001" and rois[9_999].coordinates().max() == 797
    assert len(json.loads((tmp_path / "out" / "coco" / "coco.json").read_text())["annotations"]) == 10_000


def test_more_particles_than_16_bits_hold(tmp_path):
    labels = np.arange(270 * 270, dtype=np.int32).reshape(270, 270)
    folder = result(tmp_path / "r", {"a": labels})
    exchange.export(folder, ["labels", "ome-tiff", "cellpose", "stardist"], tmp_path / "out")
    for path in ("labels/a.tif", "ome-tiff/a.ome.tif", "cellpose/a_masks.tif", "stardist/masks/a.tif"):
        assert np.array_equal(tifffile.imread(tmp_path / "out" / path), labels), path


def test_a_picture_of_another_size(one, tmp_path):
    images.write_grey(one / "taken" / "näme 1.png", np.arange(4000, dtype=np.uint8).reshape(50, 80))
    with pytest.raises(NanosynthError, match="80 x 50 px, its labels 90 x 70 px"):
        export(one, tmp_path, "csv")


def test_missing_files_and_foreign_folders_are_named(one, tmp_path):
    with pytest.raises(NanosynthError, match="'tiff' is no format"):
        export(one, tmp_path, "tiff")
    (one / "instances" / "näme 1.png").unlink()
    with pytest.raises(NanosynthError, match="näme 1.png"):
        export(one, tmp_path, "csv")
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "run.json", {})
    with pytest.raises(NanosynthError, match="training run"):
        export(tmp_path / "run", tmp_path, "csv")
    with pytest.raises(NanosynthError, match="no such file"):
        export(tmp_path / "nowhere", tmp_path, "csv")
    write_json(one / "segmentation.json", {"images": [{"name": "a", "image": "a", "error": "x"}]})
    with pytest.raises(NanosynthError, match="no image in it was segmented"):
        export(one, tmp_path, "csv")


def test_no_training_software_is_loaded(one, tmp_path):
    """Blender has neither Keras nor TensorFlow, matplotlib nor pandas."""
    import subprocess
    from pathlib import Path

    code = (
        "import sys; sys.path.insert(0, {tests!r}); import conftest; from nanosynth.learn.exchange import export; "
        "export({source!r}, ['csv', 'labels', 'imagej', 'coco'], {out!r}); "
        "sys.exit(bool({{'keras', 'tensorflow', 'matplotlib', 'pandas', 'pyarrow', 'pycocotools'}} & set(sys.modules)))"
    ).format(tests=str(Path(__file__).resolve().parents[1]), source=str(one), out=str(tmp_path / "out"))
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["coco", "csv", "imagej", "labels"]
