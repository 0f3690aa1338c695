"""Size distributions against drawn samples of known law, hand-counted cases, and a simulated frame."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from nanosynth import cli
from nanosynth.errors import NanosynthError
from nanosynth.files import write_json
from nanosynth.learn import distributions, images, particles
from nanosynth.learn.distributions import Sample, distribution


def rng():
    return np.random.default_rng(7)


def sample(sizes, weights=None, unit="nm"):
    sizes = np.asarray(sizes, dtype=float)
    return Sample(sizes, np.pi / 4 * sizes**2, np.ones(sizes.size) if weights is None else np.asarray(weights, float), unit)


def values(result):
    return {name: entry["value"] for name, entry in result["statistics"].items()}


def test_statistics_of_equal_weights():
    sizes = np.sort(rng().lognormal(3, 0.3, 500))
    found = dict(zip(distributions.STATISTICS, distributions.statistics(sizes, np.ones(500))))
    assert found["mean"] == pytest.approx(sizes.mean()) and found["sd"] == pytest.approx(sizes.std(ddof=1))
    assert found["geometric_mean"] == pytest.approx(np.exp(np.log(sizes).mean()))
    assert found["gsd"] == pytest.approx(np.exp(np.log(sizes).std(ddof=1)))
    for key, quantile in (("d10", 0.1), ("d50", 0.5), ("d90", 0.9)):
        assert found[key] == pytest.approx(np.quantile(sizes, quantile, method="hazen"))
    assert found["span"] == pytest.approx((found["d90"] - found["d10"]) / found["d50"])


def test_area_weight_follows_hatch_and_choate():
    # For a log-normal law the area-weighted median is that by number times exp(2 s^2).
    sizes = rng().lognormal(3, 0.25, 20_000)
    number, area = (values(distribution([sample(sizes)], rng(), weight=weight, repeats=0)) for weight in ("number", "area"))
    assert number["d50"] == pytest.approx(np.exp(3), rel=0.01)
    assert area["d50"] == pytest.approx(np.exp(3 + 2 * 0.25**2), rel=0.01)
    assert area["mean"] == pytest.approx((sizes**3).sum() / (sizes**2).sum())


LAWS = {
    "normal": lambda r: r.normal(50, 9, 400),
    "lognormal": lambda r: r.lognormal(3, 0.5, 400),
    "bimodal": lambda r: np.concatenate([r.lognormal(3, 0.12, 250), r.lognormal(4, 0.15, 150)]),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_right_model_is_chosen_and_recovered(law):
    result = distribution([sample(LAWS[law](rng()))], rng(), repeats=0)
    assert result["best"] == law and result["fits"][law]["ks_p"] > 0.05
    found = result["fits"][law]["parameters"]
    if law == "normal":
        assert (found["mean"], found["sd"]) == (pytest.approx(50, rel=0.03), pytest.approx(9, rel=0.1))
        assert result["fits"]["lognormal"]["ks_p"] < 0.05
    elif law == "lognormal":
        assert (found["geometric_mean"], found["gsd"]) == (pytest.approx(np.exp(3), rel=0.06), pytest.approx(np.exp(0.5), rel=0.06))
        assert result["fits"]["normal"]["ks_p"] < 0.05
    else:
        assert found["share"] == pytest.approx([0.625, 0.375], abs=0.02)
        assert found["geometric_mean"] == pytest.approx([np.exp(3), np.exp(4)], rel=0.03)
        assert found["gsd"] == pytest.approx([np.exp(0.12), np.exp(0.15)], rel=0.04)
        assert result["fits"]["lognormal"]["ks_p"] == 0.01


def test_densities_integrate_to_one():
    result = distribution([sample(LAWS["bimodal"](rng()))], rng(), weight="area", repeats=0)
    edges, density = (np.array(result["histogram"][key]) for key in ("edges", "density"))
    assert (density * np.diff(edges)).sum() == pytest.approx(1)
    for curve in (result["kde"], result["fits"]["bimodal"]["density"]):
        assert np.sum(curve) * result["grid"][0] == pytest.approx(1, abs=0.03)  # the grid is even and begins one step from 0


def test_intervals_hold_the_true_value():
    held = 0
    for seed in range(20):
        sizes = np.random.default_rng(seed).normal(50, 10, 60)
        mean = distribution([sample(sizes)], np.random.default_rng(seed), repeats=100)["statistics"]["mean"]
        assert mean["low"] < mean["value"] < mean["high"]
        held += mean["low"] < 50 < mean["high"]
    assert 16 <= held <= 20


def test_images_that_differ_widen_the_pooled_interval():
    each = [rng().normal(middle, 2, 100) for middle in (40, 45, 50, 55, 60)]
    pooled = distribution([sample(sizes) for sizes in each], rng(), repeats=200)
    alike = distribution([sample(np.concatenate(each))], rng(), repeats=200)
    assert (pooled["resampled"], alike["resampled"]) == ("images", "particles")
    assert values(pooled) == pytest.approx(values(alike))
    width = {name: r["statistics"]["mean"]["high"] - r["statistics"]["mean"]["low"] for name, r in (("pooled", pooled), ("alike", alike))}
    assert width["pooled"] > 4 * width["alike"]


def test_border_correction_removes_the_bias():
    # Squares of 10 and of 60 px, as many of each per area, thrown on a frame of 200 px.
    r = rng()
    side = np.repeat([10, 60], 20_000)
    x, y = (r.integers(-60, 200, side.size) for _ in range(2))
    right, bottom = x + side, y + side
    seen = (right > 0) & (bottom > 0) & (x < 200) & (y < 200)
    cut = (x <= 0) | (y <= 0) | (right >= 200) | (bottom >= 200)
    table = {
        "area_px": side[seen] ** 2.0, "diameter_px": side[seen] * 1.0, "on_border": cut[seen],
        "box_width_px": side[seen], "box_height_px": side[seen],
    }  # fmt: skip
    plain, mended = (distributions.sample_of(table, frame_px=frame) for frame in (None, (200, 200)))
    share = [s.weights[s.sizes == 60].sum() / s.weights.sum() for s in (plain, mended)]
    assert share[0] < 0.38 and share[1] == pytest.approx(0.5, abs=0.02)
    assert plain.cut == mended.cut == np.count_nonzero(cut & seen)


@pytest.mark.parametrize("sizes", [[], [5.0], [5.0, 5.0, 5.0], [4.0, 5.0, 9.0]])
def test_few_particles_have_reasons(sizes, tmp_path):
    result = distribution([sample(sizes)], rng(), repeats=50)
    json.dumps(result, allow_nan=False)
    assert result["best"] is None and all("fewer than" in fit["reason"] for fit in result["fits"].values())
    for name, entry in result["statistics"].items():
        if None in entry.values():
            assert "particle" in result["remarks"][0], name
    assert (values(result)["mean"] is None) == (not sizes)
    assert (result["kde"] is None) == (len(set(sizes)) < 2)
    if result["kde"] is None:
        assert result["remarks"]
    pytest.importorskip("matplotlib")
    from nanosynth.learn.pictures import distribution_picture

    distribution_picture(tmp_path / "a.png", result, title="a $b_ é")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (960, 600)


def test_one_size_is_not_fitted():
    result = distribution([sample([5.0] * 40)], rng(), repeats=20)
    assert {fit["reason"] for fit in result["fits"].values()} == {"all particles of one size"}
    assert values(result)["sd"] == pytest.approx(0, abs=1e-9) and values(result)["d50"] == 5


def test_units_do_not_mix():
    with pytest.raises(NanosynthError, match="cannot be pooled"):
        distribution([sample([1.0]), sample([1.0], unit="px")], rng())
    with pytest.raises(NanosynthError, match="radius"):
        distributions.sample_of(particles.measure(np.eye(4, dtype=int)), size="radius")
    with pytest.raises(NanosynthError, match="volume"):
        distribution([sample([1.0])], rng(), weight="volume")


def test_ten_thousand_particles():
    result = distribution([sample(rng().lognormal(3, 0.3, 10_000))], rng(), repeats=20)
    assert result["best"] == "lognormal" and result["particles"] == 10_000


# A result folder


def discs(radii, size=300):
    labels = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for number, radius in enumerate(radii, 1):
        row, column = divmod(number - 1, 6)
        labels[(y - 30 - 46 * row) ** 2 + (x - 30 - 46 * column) ** 2 <= radius**2] = number
    return labels


@pytest.fixture
def result(tmp_path):
    """Images `a` (2 nm per px), `b 2` (2.5) with a banner of 20 px, `leer é` without particles, and one that failed."""
    entries = []
    for name, radii, nm in (("a", np.linspace(8, 20, 30), 2.0), ("b 2", np.linspace(8, 16, 24), 2.5), ("leer é", [], 2.0)):
        labels = discs(radii)
        particles.write_table(tmp_path / "r" / "particles" / f"{name}.csv", particles.measure(labels, nm_per_px=nm), nm_per_px=nm)
        images.write_labels(tmp_path / "r" / "instances" / f"{name}.png", labels)
        files = {"particles": f"particles/{name}.csv", "instances": f"instances/{name}.png"}
        entries.append({"name": name, "banner_px": 20 * (name == "b 2"), "files": files})
    write_json(tmp_path / "r" / "segmentation.json", {"images": [*entries, {"name": "x", "error": "damaged"}]})
    return tmp_path / "r"


def test_a_series(result, tmp_path):
    pytest.importorskip("matplotlib")
    assert cli.main(["analyse", str(result), "--repeats", "20", "--out", str(tmp_path / "o")]) == 0
    record = json.loads((tmp_path / "o" / "distributions.json").read_text(encoding="utf-8"))
    assert list(record["images"]) == ["a", "b 2", "leer é"]
    a, pooled = record["images"]["a"], record["pooled"]
    assert a["unit"] == "nm" and values(a)["d50"] == pytest.approx(2 * 28, rel=0.03)
    assert (pooled["particles"], pooled["cut"]) == (54, 0)
    assert record["images"]["leer é"]["remarks"][-1].startswith("no whole particle")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "o" / "distributions.csv").read_text(encoding="utf-8"))))
    assert [line["image"] for line in lines] == ["a", "b 2", "leer é", "pooled"]
    assert float(lines[0]["d50"]) == pytest.approx(values(a)["d50"], rel=1e-5) and lines[2]["d50"] == ""
    for line in lines:
        assert line["remarks"] or list(line.values()).count("") == 1
    for picture in ("pooled.png", "pictures/a.png", "pictures/leer é.png"):
        with Image.open(tmp_path / "o" / picture) as image:
            assert image.size == (960, 600)
    again = distributions.analyse(result, tmp_path / "p", repeats=20)
    assert again == record


def test_border_correction_of_a_series(result, tmp_path):
    pytest.importorskip("matplotlib")
    plain, mended = (distributions.analyse(result, tmp_path / "o", repeats=0, border_correction=flag) for flag in (False, True))
    for name in ("a", "b 2"):
        assert 1 < values(mended["images"][name])["mean"] / values(plain["images"][name])["mean"] < 1.02
    (result / "segmentation.json").unlink()
    assert distributions.analyse(result, tmp_path / "o", repeats=0)["pooled"]["particles"] == 54
    with pytest.raises(NanosynthError, match="image size of a is not known"):
        distributions.analyse(result, tmp_path / "o", repeats=0, border_correction=True)


def test_images_without_scale_are_not_pooled_with_others(result, tmp_path):
    pytest.importorskip("matplotlib")
    particles.write_table(result / "particles" / "a.csv", particles.measure(discs([9, 12])))
    record = distributions.analyse(result, tmp_path / "o", repeats=0)
    assert record["not_pooled"] == ["a"] and record["pooled"]["particles"] == 24 and record["images"]["a"]["unit"] == "px"
    assert any("scale not known" in remark for remark in record["pooled"]["remarks"])


def test_folders_without_tables(tmp_path):
    with pytest.raises(NanosynthError, match="no particle tables"):
        distributions.analyse(tmp_path, tmp_path / "o")
    with pytest.raises(NanosynthError, match="nowhere"):
        distributions.analyse(tmp_path / "nowhere", tmp_path / "o")
