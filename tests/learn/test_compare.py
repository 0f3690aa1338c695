"""Comparing real and synthetic images: the numbers, the curves, the network, the files written."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from nanosynth.cli import main
from nanosynth.errors import NanosynthError
from nanosynth.learn import curves, features, similarity
from nanosynth.learn.compare import CompareOptions, compare, find_source, reduced, report, zooms
from nanosynth.learn.similarity import (
    Sample,
    accuracy_floor,
    cut,
    distance_floor,
    kernel_distance,
    patch_corners,
    thinned,
    two_sample_accuracy,
)
from nanosynth.reporting import Reporter

# Numbers


def sample(rng, images=8, patches=6, values=12, shift=0.0, spread=1.0):
    """Vectors whose mean differs from image to image, as real micrographs' features do."""
    centres = rng.normal(shift, spread, (images, values))
    image = np.repeat(np.arange(images), patches)
    vectors = centres[image] + rng.normal(0, 0.3, (len(image), values))
    return Sample(np.zeros((len(image), 4, 4), np.uint8), image, np.zeros((len(image), 2), int), tuple(map(str, range(images))), vectors)


def test_one_distribution_is_not_told_apart_though_its_images_differ():
    values = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        values.append(two_sample_accuracy(sample(rng), sample(rng), rng, rounds=2, repeats=50)["value"])
    # Split by patch instead of by image, the classifier would know each image and be right nearly always.
    assert abs(np.mean(values) - 0.5) < 0.1


def test_different_distributions_are_told_apart_with_a_narrow_interval():
    rng = np.random.default_rng(0)
    outcome = two_sample_accuracy(sample(rng), sample(rng, shift=2.0), rng)
    assert outcome["value"] > 0.95 and outcome["low"] > 0.85
    assert outcome["low"] <= outcome["value"] <= outcome["high"]
    assert outcome["value"] == pytest.approx((outcome["real"] + outcome["other"]) / 2)


def test_distance_is_without_bias_for_few_images():
    values, naive = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = sample(rng, images=4), sample(rng, images=6)
        values.append(kernel_distance(a, b, rng, repeats=2)["value"])
        own = [(lambda k: (k.sum() - np.trace(k)) / (k.size - len(k)))((s.vectors @ s.vectors.T / 12 + 1) ** 3) for s in (a, b)]
        naive.append(sum(own) - 2 * similarity.image_kernels(a, b).mean())
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert np.mean(naive) > 5 * error  # the usual estimator takes the likeness of an image's patches for a difference


def test_distance_grows_with_the_difference():
    def distance(shift):
        rng = np.random.default_rng(1)
        return kernel_distance(sample(rng), sample(rng, shift=shift), rng)

    near, middle, far = distance(0.0), distance(0.5), distance(1.5)
    assert near["value"] < middle["value"] < far["value"] and far["low"] > near["high"]


def test_every_image_counts_the_same():
    rng = np.random.default_rng(3)
    a, b = sample(rng), sample(rng, shift=0.7)
    more = np.concatenate([np.arange(len(a)), np.flatnonzero(a.image == 0).repeat(20)])
    heavy = Sample(a.patches[more], a.image[more], a.corner[more], a.names, a.vectors[more])
    plain = kernel_distance(a, b, np.random.default_rng(0))
    assert kernel_distance(heavy, b, np.random.default_rng(0))["value"] == pytest.approx(plain["value"])


def test_floors_are_chance_and_none_with_three_images():
    rng = np.random.default_rng(2)
    real = sample(rng, images=12)
    assert abs(accuracy_floor(real, rng)["value"] - 0.5) < 0.15
    floor = distance_floor(real, rng)
    assert floor["low"] < 0 < floor["high"] and abs(floor["value"]) < 0.2 * (floor["high"] - floor["low"])
    few = sample(rng, images=3)
    assert accuracy_floor(few, rng) is None and distance_floor(few, rng) is None


def test_one_image_cannot_be_split_by_image():
    rng = np.random.default_rng(0)
    for measure in (two_sample_accuracy, kernel_distance):
        with pytest.raises(NanosynthError, match="at least two images"):
            measure(sample(rng, images=1), sample(rng), rng)


# Patches


def test_patches_lie_inside_do_not_overlap_and_keep_off_what_is_not_valid():
    valid = np.ones((100, 131), bool)
    valid[:, 64:70] = False
    found = {}
    for seed in (0, 0, 1):
        corners = patch_corners(valid.shape, 20, 1000, np.random.default_rng(seed), valid)
        covered = np.zeros(valid.shape, int)
        for row, column in corners:
            covered[row : row + 20, column : column + 20] += 1
        assert covered.sum() == len(corners) * 400 and covered.max() == 1 and not covered[~valid].any()
        found.setdefault(seed, corners.tolist())
        assert found[seed] == corners.tolist()
    assert found[0] != found[1]
    assert len(patch_corners((19, 300), 20, 10, np.random.default_rng(0))) == 0
    assert patch_corners((20, 20), 20, 10, np.random.default_rng(0)).tolist() == [[0, 0]]


def test_thinning_keeps_as_many_images_as_it_can():
    rng = np.random.default_rng(0)
    pixels = rng.random((60, 60))
    whole = cut(((pixels if k else pixels[:20, :20], None) for k in range(5)), 20, 9, rng)
    assert np.bincount(whole.image).tolist() == [1, 9, 9, 9, 9]
    assert np.bincount(thinned(whole, 9, rng).image).tolist() == [1, 2, 2, 2, 2]
    assert len(np.unique(thinned(whole, 4, rng).image)) == 4
    row, column = whole.corner[-1]
    assert np.array_equal(whole.patches[-1], np.round(pixels[row : row + 20, column : column + 20] * 255))


# Curves


def test_white_noise_has_its_variance_at_every_frequency():
    values = np.random.default_rng(0).normal(128, 8, (12, 96, 96))
    patches = np.uint8(np.round(values))
    sigma = np.sqrt(64 + 1 / 12) / 255  # with the variance of rounding
    assert curves.noise(patches) == pytest.approx(sigma, rel=0.03)
    power = curves.spectrum(patches)
    assert power.shape == (48,) and power[5:].mean() == pytest.approx(sigma**2, rel=0.03)
    assert np.ptp(power[5:]) < 0.8 * sigma**2


def test_noise_does_not_see_edges_and_spectrum_finds_a_wave():
    row, column = np.mgrid[:96, :96]
    assert curves.noise(np.uint8(np.where(column > 40, 200, 50))[None]) == 0
    power = curves.spectrum(np.uint8(np.round(128 + 60 * np.sin(2 * np.pi * 12 * row / 96)))[None])
    assert power.argmax() == 11


def test_the_line_runs_through_the_middle_of_a_particle():
    row, column = np.mgrid[:144, :144]
    patch = np.uint8(np.where(np.hypot(row - 60, column - 80) < 30, 180, 40))
    patch[60 - 29 : 60 - 26, 40:120] = 255  # a rim's tangent crosses more contrast
    at, levels = curves.line_profile(patch)
    assert abs(at - 60) < 4 and len(levels) == 144 and levels[80] == pytest.approx(180 / 255)
    flat = np.uint8(np.random.default_rng(0).normal(90, 2, (144, 144)))
    assert curves.line_profile(flat)[1].shape == (144,)


def test_edge_profile_of_a_disc_and_of_nothing():
    row, column = np.mgrid[:200, :200]
    disc = np.where(np.hypot(row - 100, column - 100) < 60, 0.8, 0.2).astype(np.float32)
    profile = curves.edge_profile(disc)
    assert np.allclose(profile[: curves.EDGE_PX - 2], 0.2) and np.allclose(profile[curves.EDGE_PX + 2 :], 0.8)
    assert profile[curves.EDGE_PX - 1] < 0.4 and profile[curves.EDGE_PX] > 0.6
    nothing = disc * 0 + 0.5
    nothing[100, 100] = 1  # a speck, which is left out
    assert np.isnan(curves.edge_profile(nothing)).all()


def test_differences_are_zero_for_the_same_and_known_for_known_shifts():
    flat = {"histogram": np.ones(curves.BINS), "edge_profile": np.full(32, 0.5), "spectrum": np.ones(10), "noise": 0.02}
    assert curves.differences(flat, flat) == {"histogram": 0, "edge_profile": 0, "spectrum": 0, "noise": 0}
    dark, bright = np.zeros(curves.BINS), np.zeros(curves.BINS)
    dark[0], bright[32] = curves.BINS, curves.BINS
    other = {"histogram": bright, "edge_profile": np.full(32, 0.7), "spectrum": np.full(10, 10.0), "noise": 0.04}
    found = curves.differences({**flat, "histogram": dark}, other)
    assert found["histogram"] == pytest.approx(0.5) and found["edge_profile"] == pytest.approx(0.2)
    assert found["spectrum"] == pytest.approx(10) and found["noise"] == pytest.approx(np.log(2))
    assert curves.differences(flat, {**flat, "noise": 0.0})["noise"] is None


# The network


@pytest.fixture(scope="module")
def lite0():
    return features.load_features("efficientnet_lite0")


def test_the_fallback_network_knows_a_cat(lite0):
    from skimage.data import chelsea

    picture = chelsea()[:, 75:375].mean(2) / 255
    vector = lite0.of(picture[None])[0]
    weights = features.read_weights(features.weights_of_lite0())
    scores = vector @ weights["_fc.weight"].reshape(1280, 1000) + weights["_fc.bias"]
    assert vector.shape == (1280,) and scores.argmax() in range(281, 288)  # ImageNet's domestic cats and their next
    assert np.allclose(lite0.of(np.uint8(np.round(picture * 255))[None])[0], vector, atol=0.05)


def test_nothing_is_downloaded_without_consent(monkeypatch, tmp_path):
    keras = features.load_keras()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.applications, "VGG16", lambda *a, **k: pytest.fail("VGG16 was asked for"))
    assert features.load_features("auto").name == "efficientnet_lite0"
    with pytest.raises(NanosynthError, match="not on this machine.*--vgg16-weights.*--download-vgg16"):
        features.load_features("vgg16")


def test_a_failed_download_says_what_else_can_be_done(monkeypatch, tmp_path):
    def fail(**options):
        assert options == {"weights": "imagenet"}
        raise Exception("URL fetch failure\nmore")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(features.load_keras().applications, "VGG16", fail)
    with pytest.raises(NanosynthError, match=r"\(URL fetch failure\).*--vgg16-weights"):
        features.load_features("auto", download=True)


def test_vgg16_reads_the_last_layer_of_its_own_weights(monkeypatch, tmp_path):
    """With a small network in the place of VGG16, whose weights nobody has here."""
    keras = features.load_keras()
    asked = {}

    def small(**options):
        asked.update(options)
        inside = keras.Input((224, 224, 3))
        return keras.Model(inside, keras.layers.GlobalAveragePooling2D()(inside))

    monkeypatch.setattr(keras.applications, "VGG16", small)
    (tmp_path / "w.h5").write_bytes(b"weights")
    loaded = features.load_features("auto", weights=tmp_path / "w.h5")
    assert loaded.name == "vgg16" and asked == {"weights": str(tmp_path / "w.h5"), "classifier_activation": None}
    # 0.5 in grey is 127.5 in each of Keras' blue, green, red, less their means.
    assert np.allclose(loaded.of(np.full((1, 144, 144), 0.5)), [[127.5 - 103.939, 127.5 - 116.779, 127.5 - 123.68]], atol=0.02)


def test_wrong_weights_and_names_are_refused(monkeypatch, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"no HDF5")
    with pytest.raises(NanosynthError, match="w.h5: not the weights of VGG16"):
        features.load_features("vgg16", weights=tmp_path / "w.h5")
    with pytest.raises(NanosynthError, match="no such file"):
        features.load_features("vgg16", weights=tmp_path / "none.h5")
    with pytest.raises(NanosynthError, match="not one of"):
        features.load_features("resnet")
    with pytest.raises(NanosynthError, match="Drop one"):
        features.load_features("efficientnet_lite0", weights=tmp_path / "w.h5")
    monkeypatch.setattr(features, "LITE0_SHA256", "0" * 64)
    with pytest.raises(NanosynthError, match="not the weights that Nanosynth knows"):
        features.load_features("efficientnet_lite0")
    monkeypatch.setattr(features, "LITE0_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(NanosynthError, match="Install that package"):
        features.load_features("efficientnet_lite0")


# The whole, with a stand-in for the network that takes no time


class BlockStatistics(features.Features):
    """Means and contrasts of the blocks of a patch."""

    def __init__(self):
        super().__init__("efficientnet_lite0", "EfficientNet-Lite0's stand-in <1>", "0" * 64, None)

    def of(self, patches, progress=None):
        blocks = patches[:, :32, :32].reshape(len(patches), 4, 8, 4, 8) / 64
        progress(len(patches))
        return np.concatenate([blocks.mean((2, 4)), blocks.std((2, 4))], 1).reshape(len(patches), -1)


@pytest.fixture(scope="module", autouse=True)
def quick():
    from nanosynth.learn import compare as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_features", lambda name, weights, download: BlockStatistics())
        yield


def picture(rng, side=150, level=90, sigma=6.0):
    row, column = np.mgrid[:side, :side]
    image = np.full((side, side), float(level))
    for _ in range(6):
        y, x = rng.uniform(0, side, 2)
        image[np.hypot(row - y, column - x) < 14] = level + 80
    return np.uint8(np.clip(image + rng.normal(0, sigma, image.shape), 0, 255))


def folder(path, images, seed, **look):
    path.mkdir()
    rng = np.random.default_rng(seed)
    for k in range(images):
        Image.fromarray(picture(rng, **look)).save(path / f"im<{k}>.png")
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    base = tmp_path_factory.mktemp("compare")
    real, same, other = folder(base / "real", 5, 1), folder(base / "same", 5, 2), folder(base / "other", 5, 3, level=30, sigma=20.0)
    options = CompareOptions(features="efficientnet_lite0", patch_px=48, patches_per_image=4, perplexity=5.0, iterations=250, folds=2)
    runs = [compare([real], [other], base / name, options, baseline=[same]) for name in ("one", "two")]
    return base, runs[0]


def test_what_is_alike_scores_as_alike_and_what_is_not_does_not(compared):
    _, record = compared
    other, same = record["scores"]["synthetic"], record["scores"]["baseline"]
    assert other["accuracy"]["value"] > 0.9 and abs(same["accuracy"]["value"] - 0.5) < 0.2
    assert other["distance"]["value"] > 10 * abs(same["distance"]["value"])
    assert other["curves"]["noise"] == pytest.approx(np.log(20 / 6), abs=0.3) and abs(same["curves"]["noise"]) < 0.1
    assert record["features"]["name"] == "efficientnet_lite0" and record["patches"] == 20
    table = report(record)
    assert "two-sample accuracy" in table and "EfficientNet-Lite0" in table


def test_the_same_call_writes_the_same(compared):
    base, _ = compared
    names = sorted(p.name for p in (base / "one").iterdir())
    assert names == ["compare.json", "curves.csv", "curves.png", "patches.csv", "similarity.html", "similarity.png"]
    for name in names:
        assert (base / "one" / name).read_bytes() == (base / "two" / name).read_bytes(), name


def test_a_baseline_changes_nothing_else(compared, tmp_path):
    base, record = compared
    options = CompareOptions(**{**record["options"], "map": False})
    alone = compare([base / "real"], [base / "other"], tmp_path / "out", options)
    assert alone["scores"]["synthetic"] == record["scores"]["synthetic"] and alone["accuracy_floor"] == record["accuracy_floor"]
    assert alone["map"] is None and not (tmp_path / "out" / "similarity.png").exists()


class Page(HTMLParser):
    """Collects what the test looks at; `open_tags` is empty at the end if all are closed."""

    VOID = {"meta", "input", "img", "circle"}

    def __init__(self, text):
        super().__init__()
        self.open_tags, self.circles, self.outside, self.images = [], 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.circles += tag == "circle"
        for name, value in attributes:
            if name == "src" and value.startswith("data:"):
                self.images.append(value)
            elif name in ("src", "href", "action"):
                self.outside.append(value)
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.circles += tag == "circle"

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing_outside(compared):
    import base64
    import io

    base, record = compared
    text = (base / "one" / "similarity.html").read_text()
    page = Page(text)
    assert not page.open_tags and not page.outside and "http" not in text
    assert page.circles == 3 * record["patches"]
    sheet = Image.open(io.BytesIO(base64.b64decode(page.images[0].partition(",")[2])))
    assert sheet.size == (8 * 96, 8 * 96)  # 60 patches
    data = json.loads(text.partition("const patches = ")[2].partition(", columns")[0])
    assert len(data) == 60 and data[0][0] == "real" and data[0][1].startswith("im<")
    assert "im<" not in text and "<1>" not in text  # names are escaped


def test_curves_and_places_are_tables(compared):
    import csv

    base, record = compared
    with open(base / "one" / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["kind"] for r in rows} == {"real", "synthetic", "baseline"}
    assert sum(r["curve"] == "histogram" for r in rows) == 3 * curves.BINS
    noise = {r["kind"]: float(r["median"]) for r in rows if r["curve"] == "noise"}
    assert noise["real"] == pytest.approx(6 / 255, rel=0.1) and noise["real"] == pytest.approx(
        record["kinds"]["real"]["curves"]["noise"], rel=1e-4
    )
    with open(base / "one" / "patches.csv", newline="") as file:
        assert sum(r["kind"] == "real" for r in csv.DictReader(file)) == record["patches"]


def test_too_little_is_refused_in_words(tmp_path):
    real, one, small = folder(tmp_path / "real", 3, 1), folder(tmp_path / "one", 1, 2), folder(tmp_path / "small", 3, 3, side=40)
    options = CompareOptions(features="efficientnet_lite0", patch_px=48)
    with pytest.raises(NanosynthError, match="synthetic images .* from 1 image only"):
        compare([real], [one], tmp_path / "out", options)
    with pytest.raises(NanosynthError, match="real images .* from 0 images only"):
        compare([small], [real], tmp_path / "out", options)
    with pytest.raises(NanosynthError, match="only 3 patches"):
        compare([real], [real], tmp_path / "out", CompareOptions(features="efficientnet_lite0", patch_px=140))
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("L", (150, 150), 90).save(flat / "flat.png")
    with pytest.raises(NanosynthError, match="flat.png: every pixel has the same value"):
        compare([real], [flat], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_the_page_of_the_verb_lists_its_settings():
    from pathlib import Path

    from nanosynth.fields import reference

    assert reference(CompareOptions) in (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")


# Scale


def test_images_are_reduced_to_the_coarser_never_enlarged(dataset_path):
    synthetic = find_source("synthetic", dataset_path)
    assert len(synthetic.paths) == 4 and 10 < synthetic.diameter_px < 30
    real = find_source("real", [dataset_path / "images"])
    for diameter, factors in ((synthetic.diameter_px / 2, (1, 0.5)), (synthetic.diameter_px * 4, (0.25, 1))):
        options = CompareOptions(same_scale="diameter", real_diameter_px=diameter)
        assert [z(None) for z in zooms([real, synthetic], options)] == pytest.approx(factors)
    # The PNGs of a data set state their scale themselves.
    assert [z(5.0) for z in zooms([real, synthetic], CompareOptions(same_scale="nm"))] == [1, 1]
    assert [z(None) for z in zooms([real, synthetic], CompareOptions(synthetic_zoom=0.4))] == [1, 0.4]
    pixels = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    half = reduced(pixels, 0.5)
    assert half.shape == (20, 30) and np.allclose(half, pixels.reshape(20, 2, 30, 2).mean((1, 3)), atol=1e-6)


def test_a_data_set_of_another_version_can_be_the_baseline(dataset_path, tmp_path):
    import shutil

    copy = shutil.copytree(dataset_path, tmp_path / "old")
    (copy / "recipe.toml").write_text("of_another_version = true\n")
    source = find_source("baseline", copy)
    assert len(source.paths) == 4 and set(source.made) == {"nanosynth", "blender", "recipe"}


class Listening(Reporter):
    def __init__(self):
        super().__init__()
        self.told = []

    def warning(self, message, remedy=""):
        self.told.append(f"{message} {remedy}")


def test_few_images_bring_a_warning(compared, tmp_path):
    base, record = compared
    options, listening = CompareOptions(**{**record["options"], "map": False}), Listening()
    compare([base / "real"], [base / "other"], tmp_path / "out", options, reporter=listening)
    assert any("5 real and 5 synthetic images" in message for message in listening.told)


def test_a_stated_scale_counts_and_scales_apart_bring_a_warning(compared, dataset_path, tmp_path):
    base, record = compared
    settings = {**record["options"], "map": False, "patch_px": 32}
    nm = np.median(list(find_source("synthetic", dataset_path).nm_per_px.values()))
    for factor, apart in ((0.25, True), (1.0, False)):
        listening = Listening()
        compare([base / "real"], dataset_path, tmp_path / "out", CompareOptions(**settings), nm_per_px=factor * nm, reporter=listening)
        assert any("the size alone tells them apart. Use --same-scale nm" in message for message in listening.told) == apart
    options = CompareOptions(**{**settings, "same_scale": "nm"})
    made = compare([base / "real"], dataset_path, tmp_path / "out", options, nm_per_px=0.5 * nm, reporter=Listening())
    assert made["kinds"]["real"]["zoom"]["highest"] == pytest.approx(0.5, rel=0.3) and made["kinds"]["synthetic"]["zoom"]["highest"] == 1
    with pytest.raises(NanosynthError, match="must be above 0"):
        compare([base / "real"], dataset_path, tmp_path / "out", options, nm_per_px=-1.0)


def test_scales_that_are_not_known_are_named(tmp_path):
    real = folder(tmp_path / "real", 2, 1)
    sources = [find_source(kind, [real]) for kind in ("real", "synthetic")]
    with pytest.raises(NanosynthError, match=r"im<0>.png: its nm per pixel are not known"):
        zooms(sources, CompareOptions(same_scale="nm"))
    with pytest.raises(NanosynthError, match="synthetic images is not known"):
        zooms(sources, CompareOptions(same_scale="diameter", real_diameter_px=20.0))


def test_the_verb_checks_its_settings(tmp_path, capsys):
    real = folder(tmp_path / "real", 2, 1)
    command = ["compare", "--real", str(real), "--synthetic", str(real), "--out", str(tmp_path / "out")]
    assert main([*command, "--same-scale", "diameter"]) == 2
    assert "real_diameter_px is needed" in capsys.readouterr().err
    assert main([*command, "--patches", "2"]) == 2
    assert "patches = 2 is below its lowest value 10" in capsys.readouterr().err
