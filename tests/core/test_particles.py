"""Particle measures against shapes of known size and scikit-image; the table on disk."""

import csv
import io

import numpy as np
import pytest
from skimage.measure import regionprops_table

from nanosynth.learn import particles


def scene():
    labels = np.zeros((60, 80), np.int32)
    labels[10:30, 5:15] = 4  # 20 x 10, numbers with a gap
    y, x = np.mgrid[:60, :80]
    labels[(y - 35) ** 2 + (x - 50) ** 2 <= 15**2] = 9
    labels[55:60, 70:74] = 10
    labels[0, 79] = 11
    return labels


def test_known_shapes():
    table = particles.measure(scene(), nm_per_px=2.5)
    assert list(table) == list(particles.COLUMNS)
    assert {len(column) for column in table.values()} == {4}
    assert table["label"].tolist() == [4, 9, 10, 11]
    assert table["area_px"].tolist()[::2] == [200, 20]
    assert (table["x_px"][0], table["y_px"][0]) == (9.5, 19.5)
    assert (table["x_px"][1], table["y_px"][1]) == (50, 35)
    assert table["max_feret_px"][0] == pytest.approx(np.hypot(20, 10)) and table["min_feret_px"][0] == pytest.approx(10)
    assert table["aspect_ratio"][0] == pytest.approx(2) and table["aspect_ratio"][1] == pytest.approx(1)
    assert table["diameter_px"][1] == pytest.approx(30, rel=0.02) and table["max_feret_px"][1] == pytest.approx(31, rel=0.02)
    assert table["on_border"].tolist() == [False, False, True, True]
    assert table["area_nm2"][0] == 200 * 6.25 and table["sqrt_area_nm"][0] == pytest.approx(np.sqrt(1250))
    assert (table["area_px"][3], table["max_feret_px"][3]) == (1, pytest.approx(np.sqrt(2)))
    assert table["aspect_ratio"][3] == pytest.approx(1)


def test_against_scikit_image():
    rng = np.random.default_rng(2)
    intensity = rng.random((60, 80))
    labels = scene()
    labels[rng.random(labels.shape) < 0.1] = 0
    names = {
        "label": "label",
        "area": "area_px",
        "centroid-0": "y_px",
        "centroid-1": "x_px",
        "intensity_mean": "mean_intensity",
        "equivalent_diameter_area": "diameter_px",
    }
    theirs = regionprops_table(
        labels,
        intensity,
        properties=["label", "area", "centroid", "intensity_mean", "equivalent_diameter_area", "axis_major_length", "axis_minor_length"],
    )
    ours = particles.measure(labels, intensity)
    for their_name, our_name in names.items():
        assert np.allclose(ours[our_name], theirs[their_name]), our_name
    # scikit-image takes a pixel for a point, here it is a square, which adds 1/12 to its second moments.
    major, minor = (np.sqrt((theirs[f"axis_{which}_length"] / 4) ** 2 + 1 / 12) for which in ("major", "minor"))
    assert np.allclose(ours["aspect_ratio"], major / minor)


def test_feret_does_not_depend_on_the_direction():
    y, x = np.mgrid[:201, :201] - 100.0
    for angle in np.radians([0, 30, 45, 77]):
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        table = particles.measure(((u / 80) ** 2 + (v / 30) ** 2 <= 1).astype(int))
        assert table["max_feret_px"][0] == pytest.approx(160, abs=2) and table["min_feret_px"][0] == pytest.approx(60, abs=2)
        assert table["aspect_ratio"][0] == pytest.approx(80 / 30, rel=0.01)


def test_table_with_and_without_scale():
    intensity = np.full((60, 80), 0.25)
    text = particles.table_text(particles.measure(scene(), intensity, nm_per_px=2.5), nm_per_px=2.5, scale_source="given by the user")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0] == {
        "label": "4", "x_px": "9.5", "y_px": "19.5", "area_px": "200", "sqrt_area_px": "14.1421", "diameter_px": "15.9577",
        "max_feret_px": "22.3607", "min_feret_px": "10", "aspect_ratio": "2", "on_border": "no", "mean_intensity": "0.25",
        "area_nm2": "1250", "sqrt_area_nm": "35.3553", "diameter_nm": "39.8942", "max_feret_nm": "55.9017", "min_feret_nm": "25",
        "nm_per_px": "2.5", "scale_source": "given by the user",
    }  # fmt: skip
    assert rows[3]["on_border"] == "yes"
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
