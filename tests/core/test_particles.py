"""Particle measures against shapes of known size and scikit-image; the table on disk."""

import csv
import io

import numpy as np
import pytest
from skimage.measure import label as connected
from skimage.measure import regionprops, regionprops_table
from skimage.morphology import convex_hull_image

from nanosynth.errors import NanosynthError
from nanosynth.learn import particles

FIBRE = ("length_px", "width_px", "curvature_per_px")


def scene():
    labels = np.zeros((60, 80), np.int32)
    labels[10:30, 5:15] = 4  # 20 x 10, numbers with a gap
    y, x = np.mgrid[:60, :80]
    labels[(y - 35) ** 2 + (x - 50) ** 2 <= 15**2] = 9
    labels[55:60, 70:74] = 10
    labels[0, 79] = 11
    return labels


def blobs(seed=0, size=160, level=0.55):
    """Ragged shapes with holes and thin parts."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((size, size)), 2)
    return connected(noise > np.quantile(noise, level), connectivity=1).astype(np.int32)


def capsule(length, width, angle, size=160):
    """A rod with round ends, turned by an angle in degrees (counter-clockwise)."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    u = x * np.cos(np.radians(angle)) - y * np.sin(np.radians(angle))
    v = x * np.sin(np.radians(angle)) + y * np.cos(np.radians(angle))
    return (np.hypot(np.maximum(np.abs(u) - (length - width) / 2, 0), v) <= width / 2).astype(np.int32)


def arc(radius, width, degrees, size=201):
    """A part of a ring; its middle line has the given radius."""
    y, x = np.mgrid[:size, :size] - size // 2
    inside = np.abs(np.hypot(y, x) - radius) <= width / 2
    return (inside & (np.abs(np.degrees(np.arctan2(y, x))) <= degrees / 2)).astype(np.int32)


def test_known_shapes():
    table = particles.measure(scene(), nm_per_px=2.5)
    assert list(table) == list(particles.COLUMNS)
    assert {len(column) for column in table.values()} == {4}
    assert table["label"].tolist() == [4, 9, 10, 11]
    assert table["area_px"].tolist()[::2] == [200, 20]
    assert (table["x_px"][0], table["y_px"][0]) == (9.5, 19.5)
    assert (table["x_px"][1], table["y_px"][1]) == (50, 35)
    assert table["max_feret_px"][0] == pytest.approx(np.hypot(20, 10)) and table["min_feret_px"][0] == pytest.approx(10)
    assert (table["box_width_px"][0], table["box_height_px"][0]) == (10, 20)
    assert table["aspect_ratio"][0] == pytest.approx(2) and table["aspect_ratio"][1] == pytest.approx(1)
    assert table["diameter_px"][1] == pytest.approx(30, rel=0.02) and table["max_feret_px"][1] == pytest.approx(31, rel=0.02)
    assert table["perimeter_px"][1] == pytest.approx(np.pi * 30, rel=0.03) and table["circularity"][1] == pytest.approx(1, abs=0.05)
    assert table["solidity"][:3].tolist() == [1, 1, 1] and table["convexity"] == pytest.approx(1)
    assert table["orientation_deg"][0] == 90 and np.isnan(table["orientation_deg"][1])
    assert table["on_border"].tolist() == [False, False, True, True]
    assert table["touching"].tolist() == [False] * 4
    assert (table["area_px"][3], table["max_feret_px"][3]) == (1, pytest.approx(np.sqrt(2)))
    assert table["aspect_ratio"][3] == pytest.approx(1)


def test_nanometres():
    table = particles.measure(capsule(90, 12, 30), nm_per_px=2.5)
    for px, nm in zip(particles.PX, particles.NM):
        power = {"area_px": 2, "curvature_per_px": -1}.get(px, 1)
        assert table[nm][0] == pytest.approx(table[px][0] * 2.5**power), px
    for scale in (0, -1, np.nan, np.inf):
        with pytest.raises(NanosynthError, match="not a positive number"):
            particles.measure(scene(), nm_per_px=scale)


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_image(seed):
    rng = np.random.default_rng(2)
    labels = blobs(seed)
    intensity, probability = rng.random((2, *labels.shape))
    names = {
        "label": "label",
        "area": "area_px",
        "centroid-0": "y_px",
        "centroid-1": "x_px",
        "intensity_mean": "mean_intensity",
        "equivalent_diameter_area": "diameter_px",
        "perimeter_crofton": "perimeter_px",
    }
    properties = ["label", "area", "centroid", "intensity_mean", "equivalent_diameter_area", "perimeter_crofton"]
    properties += ["axis_major_length", "axis_minor_length", "orientation", "bbox"]
    theirs = regionprops_table(labels, intensity, properties=properties)
    ours = particles.measure(labels, intensity, probability=probability)
    assert len(ours["label"]) > 10
    for their_name, our_name in names.items():
        assert np.allclose(ours[our_name], theirs[their_name]), our_name
    assert np.array_equal(ours["box_width_px"], theirs["bbox-3"] - theirs["bbox-1"])
    # scikit-image takes a pixel for a point, here it is a square, which adds 1/12 to its second moments.
    major, minor = (np.sqrt((theirs[f"axis_{which}_length"] / 4) ** 2 + 1 / 12) for which in ("major", "minor"))
    assert np.allclose(ours["aspect_ratio"], major / minor)
    long = ours["aspect_ratio"] > 1.1  # theirs is from the rows' axis
    turned = np.degrees(theirs["orientation"]) + 90 - ours["orientation_deg"]
    assert np.allclose((turned[long] + 90) % 180, 90)
    assert np.allclose(ours["confidence"], regionprops_table(labels, probability, properties=["intensity_mean"])["intensity_mean"])


def test_hulls_in_the_plainest_way():
    labels = blobs(5, 120)
    table = particles.measure(labels)
    angles = np.radians(np.arange(0, 180, 0.25))
    directions = np.stack([np.cos(angles), np.sin(angles)])
    for i, region in enumerate(regionprops(labels)):
        convex = np.count_nonzero(convex_hull_image(np.pad(region.image, 1), offset_coordinates=False)) if region.area > 3 else 0
        if min(region.image.shape) > 1 and convex:
            assert table["solidity"][i] == pytest.approx(region.area / convex, rel=0.02)
        y, x = np.nonzero(region.image)
        corners = np.concatenate([np.stack([x + a, y + b], axis=1) for a in (0, 1) for b in (0, 1)])
        widths = np.ptp(corners @ directions, axis=0)
        assert widths.max() <= table["max_feret_px"][i] + 1e-9 and table["max_feret_px"][i] == pytest.approx(widths.max(), rel=1e-4)
        assert table["min_feret_px"][i] <= widths.min() + 1e-9 and table["min_feret_px"][i] == pytest.approx(widths.min(), rel=5e-3)
        assert 0 < table["convexity"][i] <= 1 and 0 < table["solidity"][i] <= 1


def test_dents_lower_solidity_and_convexity():
    star = np.zeros((40, 40), int)
    star[5:35, 5:35] = 1
    star[5:25, 15:25] = 0  # a U
    table = particles.measure(star)
    assert table["solidity"][0] == pytest.approx(700 / 900) and 0.7 < table["convexity"][0] < 0.8


def test_feret_does_not_depend_on_the_direction():
    y, x = np.mgrid[:201, :201] - 100.0
    for angle in np.radians([0, 30, 45, 77]):
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        table = particles.measure(((u / 80) ** 2 + (v / 30) ** 2 <= 1).astype(int))
        assert table["max_feret_px"][0] == pytest.approx(160, abs=2) and table["min_feret_px"][0] == pytest.approx(60, abs=2)
        assert table["aspect_ratio"][0] == pytest.approx(80 / 30, rel=0.01)


@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 130])
def test_rods(angle):
    table = particles.measure(capsule(100, 14, angle))
    assert table["length_px"][0] == pytest.approx(100, rel=0.04)
    assert table["width_px"][0] == pytest.approx(14, rel=0.06)
    assert table["curvature_per_px"][0] < 0.003
    assert (table["orientation_deg"][0] - angle + 90) % 180 == pytest.approx(90, abs=1)


@pytest.mark.parametrize("radius, degrees", [(40, 200), (70, 120), (80, 60)])
def test_bent_wires(radius, degrees):
    table = particles.measure(arc(radius, 8, degrees))
    assert table["length_px"][0] == pytest.approx(radius * np.radians(degrees), rel=0.05)
    assert table["width_px"][0] == pytest.approx(8, rel=0.08)
    assert table["curvature_per_px"][0] == pytest.approx(1 / radius, rel=0.15)


@pytest.mark.parametrize("turn", [0, 0.2, 0.5, 0.785])
def test_wires_whose_ends_are_cut_straight(turn):
    """The skeleton bends to a corner there, which must not count as curvature."""
    y, x = np.mgrid[:400, :400] - 200.0
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    bent = (np.abs(np.hypot(x, y + 120) - 120) < 6) & (np.abs(np.arctan2(x, y + 120)) < 0.7)
    assert particles.measure(bent.astype(int))["curvature_per_px"][0] == pytest.approx(1 / 120, rel=0.15)
    straight = particles.measure(((np.abs(y) < 8) & (np.abs(x) < 80)).astype(int))
    assert straight["curvature_per_px"][0] < 0.2 / 100 and straight["length_px"][0] == pytest.approx(160, rel=0.03)


def test_where_a_length_has_no_meaning():
    y, x = np.mgrid[:120, :120] - 60
    shapes = {
        "not elongated": (np.hypot(y, x) < 30) | (np.hypot(y, x - 35) < 20),
        "branched or closed": np.abs(np.hypot(y, x) - 40) < 4,
    }
    cross = ((np.abs(x) < 4) | (np.abs(y) < 4)) & (np.maximum(np.abs(x), np.abs(y)) < 50)
    for reason, mask in [*shapes.items(), ("branched or closed", cross)]:
        table = particles.measure(mask.astype(int))
        assert all(np.isnan(table[name][0]) for name in FIBRE) and reason in table["remarks"][0]
    assert "length" not in particles.measure(capsule(90, 12, 10))["remarks"][0]


def test_touching_rods_are_measured_apart():
    labels = capsule(100, 14, 0)
    labels[labels.shape[0] // 2 :] *= 2
    table = particles.measure(labels)
    assert table["length_px"] == pytest.approx([98, 98], abs=4) and table["touching"].all()


def test_what_touches():
    labels = np.zeros((20, 40), int)
    labels[2:8, 2:8], labels[2:8, 9:15], labels[2:8, 20:26], labels[12:16, 2:6] = 1, 2, 3, 4
    assert particles.measure(labels)["touching"].tolist() == [True, True, False, False]


def test_every_gap_has_a_reason():
    for labels in (scene(), blobs(1), capsule(90, 12, 10)):
        for options in ({}, {"nm_per_px": 2.0}, {"intensity": labels * 0.1}, {"probability": labels * 0.1, "nm_per_px": 1.0}):
            table = particles.measure(labels, **options)
            for name in particles.COLUMNS[:-1]:
                empty = np.isnan(np.asarray(table[name], dtype=float))
                word = {"mean_intensity": "mean intensity", "confidence": "confidence", "orientation_deg": "orientation"}.get(name)
                word = word or ("curvature" if name in FIBRE else "")
                for remark in table["remarks"][empty]:
                    assert word in remark or "no nm: scale not known" in remark, name


def test_images_of_another_size():
    with pytest.raises(NanosynthError, match="labels 80 x 60, intensity 79 x 60"):
        particles.measure(scene(), np.zeros((60, 79)))


def test_ten_thousand_particles():
    labels = np.kron(np.arange(1, 10_001).reshape(100, 100), np.pad(np.ones((5, 6), int), 2))
    table = particles.measure(labels, nm_per_px=1.5)
    assert len(table["label"]) == 10_000
    assert np.ptp(table["perimeter_px"]) < 1e-9 and (table["min_feret_px"] == 5).all() and not table["touching"].any()


def test_table_with_and_without_scale(tmp_path):
    intensity = np.full((60, 80), 0.25)
    table = particles.measure(scene(), intensity, nm_per_px=2.5)
    text = particles.table_text(table, nm_per_px=2.5, scale_source="given by the user")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [*particles.COLUMNS, "nm_per_px", "scale_source"]
    expected = {
        "label": "4", "x_px": "9.5", "y_px": "19.5", "area_px": "200", "sqrt_area_px": "14.1421", "diameter_px": "15.9577",
        "max_feret_px": "22.3607", "min_feret_px": "10", "aspect_ratio": "2", "on_border": "no", "touching": "no", "mean_intensity": "0.25",
        "area_nm2": "1250", "sqrt_area_nm": "35.3553", "diameter_nm": "39.8942", "max_feret_nm": "55.9017", "min_feret_nm": "25",
        "x_nm": "23.75", "solidity": "1", "orientation_deg": "90", "confidence": "", "length_nm": "",
        "nm_per_px": "2.5", "scale_source": "given by the user",
        "remarks": "no confidence: no probability; no length, width, curvature: not elongated",
    }  # fmt: skip
    assert {name: rows[0][name] for name in expected} == expected
    assert rows[3]["on_border"] == "yes"
    particles.write_table(tmp_path / "a.csv", table, nm_per_px=2.5, scale_source="given by the user")
    again = particles.read_table(tmp_path / "a.csv")
    assert again["nm_per_px"] == 2.5 and again["scale_source"] == "given by the user"
    for name in particles.COLUMNS[:-1]:
        assert np.allclose(again[name], np.asarray(table[name], dtype=float), rtol=1e-5, equal_nan=True), name
    rows = list(csv.DictReader(io.StringIO(particles.table_text(particles.measure(scene()), scale_source="none: unknown"))))
    assert all(row[name] == "" for row in rows for name in (*particles.NM, "mean_intensity", "nm_per_px"))
    assert {row["scale_source"] for row in rows} == {"none: unknown"}


def test_no_particles(tmp_path):
    table = particles.measure(np.zeros((40, 40), np.int32), np.zeros((40, 40)), nm_per_px=1.0)
    assert all(len(column) == 0 for column in table.values())
    particles.write_table(tmp_path / "größe 1.csv", table, nm_per_px=1.0)
    assert (tmp_path / "größe 1.csv").read_text(encoding="utf-8").splitlines() == [
        ",".join((*particles.COLUMNS, "nm_per_px", "scale_source"))
    ]
    assert len(particles.read_table(tmp_path / "größe 1.csv")["area_px"]) == 0


def test_damaged_tables(tmp_path):
    for text, message in (("a,b\n1,2\n", "not a particle table"), ("area_px,on_border\nx,no\n", "column area_px")):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(NanosynthError, match=message):
            particles.read_table(tmp_path / "t.csv")
