"""The recipe: round trips, validation that names field, value, bound and unit."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.fields import canonical, from_dict, reference, to_dict, to_toml, walk
from nanosynth.synth.recipe import PRESETS, Recipe, fingerprint, read_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("preset", sorted(p.stem for p in PRESETS.glob("*.toml")))
def test_presets_survive_toml_exactly(preset):
    recipe = read_recipe(preset)
    again = from_dict(Recipe, tomllib.loads(to_toml(recipe)))
    assert again == recipe
    assert to_toml(again) == to_toml(recipe)
    assert fingerprint(again) == fingerprint(recipe)


def test_lists_stand_on_one_line():
    text = to_toml(read_recipe("ag"))
    assert "\nfield_of_view = [800.0, 3000.0]\n" in text and not [line for line in text.splitlines() if line.startswith(" ")]


def test_numbers_are_those_of_single_precision():
    values = np.random.default_rng(5).lognormal(0, 8, 2000)
    for value in values:
        once = canonical(value)
        assert canonical(once) == once
        assert np.float32(once) == np.float32(value)
    recipe = from_dict(Recipe, {"shader": {"edge": [0.1, 1 / 3]}})
    assert recipe.shader.edge == (0.1, float(str(np.float32(1 / 3))))


def test_every_field_is_described_and_its_default_is_valid():
    assert from_dict(Recipe, to_dict(Recipe())) == Recipe()
    for name, hint, spec, _ in walk(Recipe):
        assert spec.doc.endswith("."), name
        if hint in (int, float, tuple[float, float]):
            assert spec.low is not None and spec.high is not None, name


@pytest.mark.parametrize(
    "data, words",
    [
        ({"camera": {"field_of_view": [5.0, 100.0]}}, ["camera.field_of_view", "5.0", "10.0", "nm"]),
        ({"camera": {"field_of_vew": [50.0, 100.0]}}, ["camera.field_of_vew", "camera.field_of_view"]),
        ({"camera": {"image_px": 20_000}}, ["camera.image_px", "20000", "16384", "px"]),
        ({"camera": {"image_px": 100.5}}, ["camera.image_px", "100.5", "whole number"]),
        ({"camera": {"image_px": "2031"}}, ["camera.image_px", "'2031'", "number"]),
        ({"light": {"azimuth": 30.0}}, ["light.azimuth", "30.0", "pair", "degrees"]),
        ({"light": {"elevation": [60.0, 30.0]}}, ["light.elevation", "wrong order"]),
        ({"dirt": {"probability": float("nan")}}, ["dirt.probability", "nan"]),
        ({"dirt": {"probability": True}}, ["dirt.probability", "True"]),
        ({"label": {"outline": 1}}, ["label.outline", "true or false"]),
        ({"shader": 3}, ["shader", "section"]),
        ({"templates": [{"shape": "spere"}]}, ["templates[0].shape", "spere", "'sphere'"]),
        ({"templates": [{"size": {"spread": 0.5}}]}, ["templates[0].size.spread", "0.5", "1"]),
        ({"templates": [{"size": {"median": 10.0, "smallest": 20.0}}]}, ["templates[0].size.smallest", "20.0 nm", "10.0 nm"]),
        ({"templates": [{"shape": "mesh"}]}, ["templates[0].mesh", "empty"]),
        ({"templates": []}, ["templates", "empty"]),
        ({"templates": [{}, {}]}, ["templates", "same name"]),
        ({"schema": 2}, ["schema", "2", "1"]),
    ],
)
def test_bad_input_is_named(data, words):
    with pytest.raises(NanosynthError) as caught:
        from_dict(Recipe, data, source="my.toml")
    text = str(caught.value)
    assert text.startswith("my.toml: ")
    for word in words:
        assert word in text, (word, text)
    assert caught.value.remedy


def test_files_that_are_no_recipe(tmp_path):
    broken = tmp_path / "größer als.toml"
    broken.write_text("seed = = 3")
    with pytest.raises(NanosynthError, match="größer als.toml.*TOML"):
        read_recipe(broken)
    with pytest.raises(NanosynthError, match="no such file"):
        read_recipe(tmp_path / "absent.toml")
    with pytest.raises(NanosynthError, match="presets are.*sio2"):
        read_recipe("sio3")
    lost = tmp_path / "lost.toml"
    lost.write_text('[[templates]]\nshape = "mesh"\nmesh = "grain.ply"\n')
    with pytest.raises(NanosynthError, match="grain.ply does not exist"):
        read_recipe(lost)


def test_a_folder_of_a_presets_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sio2").mkdir()  # as `generate --recipe sio2 --out sio2` makes it
    assert read_recipe("sio2") == read_recipe(PRESETS / "sio2.toml")


def test_the_fingerprint_sees_all_but_the_count(tmp_path):
    recipe = read_recipe("sio2")
    same = read_recipe("sio2")
    same.count += 5
    assert fingerprint(same) == fingerprint(recipe)
    other = read_recipe("sio2")
    other.light.softness += 1
    assert fingerprint(other) != fingerprint(recipe)


def test_the_fingerprint_sees_a_meshs_content_and_not_its_path(tmp_path):
    recipe = read_recipe("sio2")
    found = []
    for name, content in (("a.ply", b"1"), ("b.ply", b"1"), ("b.ply", b"2")):
        (tmp_path / name).write_bytes(content)
        recipe.templates[0].mesh = str(tmp_path / name)
        found.append(fingerprint(recipe))
    assert found[0] == found[1] != found[2]
    (tmp_path / "b.ply").unlink()
    with pytest.raises(NanosynthError, match="b.ply"):
        fingerprint(recipe)


def test_the_reference_page_is_up_to_date():
    assert reference(Recipe) in (DOCS / "recipe.md").read_text(encoding="utf-8")


def test_a_scene_takes_the_sections_of_the_look_it_draws():
    from nanosynth.synth.recipe import Camera, Degradation, Look, Recipe, Shader
    from nanosynth.synth.sampling import look_of, sample_scene

    def look(name, weight, base, view):
        return Look(
            name=name, weight=weight, field_of_view=(view, view), shader=Shader(base=(base, base)), degradation=Degradation(blur=(base, base))
        )

    plain = Recipe(camera=Camera(field_of_view=(500.0, 500.0)), shader=Shader(base=(0.9, 0.9)))
    mixed = Recipe(camera=plain.camera, shader=plain.shader, looks=[look("dark", 3.0, 0.1, 300.0), look("bright", 1.0, 0.5, 600.0), look("never", 0.0, 0.7, 900.0)])
    drawn = [sample_scene(mixed, i) for i in range(40)]
    seen = [(s.drawn["shader"]["base"], s.drawn["degradation"]["blur"], s.field_of_view) for s in drawn]
    assert set(seen) == {(0.1, 0.1, 300.0), (0.5, 0.5, 600.0)}
    assert 22 <= seen.count((0.1, 0.1, 300.0)) <= 37
    assert sample_scene(plain, 0).drawn["shader"]["base"] == 0.9
    alone = look_of(mixed, 3)
    assert alone.looks == [] and look_of(alone, 3) == alone
    assert sample_scene(alone, 3).drawn == drawn[3].drawn


def test_looks_survive_toml_and_their_names_are_checked(tmp_path):
    from nanosynth.errors import NanosynthError
    from nanosynth.fields import from_dict, to_dict, to_toml
    from nanosynth.synth.recipe import Look, Recipe, Shader, read_recipe

    recipe = Recipe(looks=[Look(name="a", shader=Shader(base=(0.2, 0.3))), Look(name="b", weight=2.0)])
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    for change in ({"name": "b"}, {"weight": 0.0}):
        plain = to_dict(recipe)
        for entry in plain["looks"]:
            entry.update(change)
        with pytest.raises(NanosynthError, match="looks"):
            from_dict(Recipe, plain)
