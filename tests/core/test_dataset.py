import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nanosynth.errors import NanosynthError
from nanosynth.fields import to_toml
from nanosynth.synth import dataset as module
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import Recipe, Template, fingerprint, read_recipe

SIDE = 40


@pytest.fixture
def recipe():
    recipe = Recipe(name="test", count=3)
    recipe.camera.image_px = SIDE
    return recipe


def pair(index):
    rng = np.random.default_rng(index)
    instances = rng.integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)
    return SimpleNamespace(
        image=rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8),
        label=(instances > 30000).astype(np.uint8) * 255,
        instances=instances,
        record={"index": index, "seed": 1, "nm_per_pixel": 0.97, "versions": {}, "drawn": {}, "particles": {"id": []}},
    )


@pytest.fixture
def made(tmp_path, recipe):
    """A finished data set of three pairs in a folder with a difficult name."""
    dataset = Dataset.create(tmp_path / "data sét é", recipe)
    for index in (2, 0, 1):
        dataset.append(dataset.write_pair(pair(index)))
    dataset.tidy()
    return dataset


def refusal(*words):
    class Check:
        def __enter__(self):
            self.raised = pytest.raises(NanosynthError)
            self.info = self.raised.__enter__()

        def __exit__(self, *exception):
            caught = self.raised.__exit__(*exception)
            for word in words:
                assert word in str(self.info.value)
            assert self.info.value.remedy
            return caught

    return Check()


def test_reads_back_what_was_written(made):
    again = Dataset.open(made.path)
    assert again.recipe == made.recipe and again.finished() == {0, 1, 2}
    for index in range(3):
        expected = pair(index)
        for got, name in zip(again.read(index), ("image", "label", "instances")):
            wanted = getattr(expected, name)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
    assert [json.loads(line)["index"] for line in (made.path / "manifest.jsonl").read_text().splitlines()] == [0, 1, 2]


def test_every_file_carries_its_scale(made):
    for path in made.paths(1):
        with Image.open(path) as image:
            assert float(image.info["nm_per_pixel"]) == 0.97
            per_metre = image.info["dpi"][0] / 0.0254
            assert 1e9 / per_metre == pytest.approx(0.97, rel=1e-8)


def test_a_scale_too_fine_for_phys_is_kept_as_text(tmp_path):
    path = tmp_path / "fine.png"
    path.write_bytes(module.png(np.zeros((4, 4), np.uint8), 0.2))
    with Image.open(path) as image:
        assert image.info["nm_per_pixel"] == "0.2" and "dpi" not in image.info


def test_the_same_pair_gives_the_same_bytes(made, tmp_path, recipe):
    other = Dataset.create(tmp_path / "other", recipe)
    record = other.write_pair(pair(1))
    assert record == made.records[1]
    assert [p.read_bytes() for p in other.paths(1)] == [p.read_bytes() for p in made.paths(1)]


def test_a_pair_without_its_line_is_not_finished(tmp_path, recipe):
    dataset = Dataset.create(tmp_path / "d", recipe)
    dataset.write_pair(pair(0))
    assert Dataset.create(tmp_path / "d", recipe).finished() == set()


def test_a_torn_last_line_is_mended(made, recipe):
    manifest = made.path / "manifest.jsonl"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-30])
    again = Dataset.create(made.path, recipe)
    assert again.finished() == {0, 1}
    again.append(again.write_pair(pair(2)))
    again.tidy()
    assert manifest.read_bytes() == whole


@pytest.mark.parametrize(
    "damage, deep_only",
    [
        (lambda path: path.unlink(), False),
        (lambda path: path.write_bytes(b""), False),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), False),
        (lambda path: path.write_bytes(b"GIF89a" + path.read_bytes()[6:]), False),
        (lambda path: Image.new("L", (SIDE, SIDE + 1)).save(path), False),
        (lambda path: Image.new("RGB", (SIDE, SIDE)).save(path), False),
        (lambda path: path.write_bytes(path.read_bytes()[:200] + b"x" + path.read_bytes()[201:]), True),
    ],
)
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_damaged_file_is_named_and_made_again(made, recipe, damage, deep_only, kind):
    path = made.paths(1)[kind]
    damage(path)
    assert [problem.path for problem in made.check(deep=True)] == [path]
    if not deep_only:
        assert [problem.path for problem in made.check()] == [path]
        with refusal(str(path), "generate"):
            Dataset.open(made.path)
    again = Dataset.create(made.path, recipe)
    assert again.finished() == {0, 2}
    again.append(again.write_pair(pair(1)))
    assert again.finished() == {0, 1, 2} and not again.check(deep=True)
    assert Dataset.open(made.path).finished() == {0, 1, 2}


def test_an_unreadable_image_is_named(made):
    made.paths(0).image.write_bytes(b"nothing")
    with refusal("000000.png", "generate"):
        made.read(0)


def test_leftovers_of_killed_processes_are_removed(made, recipe):
    leftovers = [folder / ".000001.0a1b2c3d.part.png" for folder in made.folders()]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    Dataset.create(made.path, recipe)
    assert not any(leftover.exists() for leftover in leftovers)


def test_another_recipe_is_refused_and_the_difference_named(made, recipe):
    recipe.camera.samples = 9
    with refusal("camera.samples is 8 there and 9 here", str(made.path)):
        Dataset.create(made.path, recipe)


def test_a_larger_count_extends_a_smaller_one_keeps(made, recipe):
    recipe.count = 5
    assert Dataset.create(made.path, recipe).recipe.count == 5
    recipe.count = 1
    assert Dataset.create(made.path, recipe).recipe.count == 5
    assert Dataset.open(made.path).recipe.count == 5


def test_a_foreign_folder_is_refused_untouched(tmp_path, recipe):
    (tmp_path / "thesis.txt").write_text("important")
    with refusal("thesis.txt"):
        Dataset.create(tmp_path, recipe)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, recipe):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with refusal(str(tmp_path / "file")):
            Dataset.create(path, recipe)


def test_an_interrupted_beginning_is_taken_up(tmp_path, recipe):
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    (tmp_path / ".dataset.00000000.part.json").write_text("{")
    assert Dataset.create(tmp_path, recipe).finished() == set()


def test_versions_are_not_mixed(made, recipe):
    made.made_with("4.5.15")
    with refusal("Blender 4.5.15", "Blender 5.0.1"):
        Dataset.create(made.path, recipe).made_with("5.0.1")
    info = json.loads((made.path / "dataset.json").read_text())
    assert info["blender"] == "4.5.15"
    (made.path / "dataset.json").write_text(json.dumps({**info, "nanosynth": "0.0.9"}))
    with refusal("Nanosynth 0.0.9"):
        Dataset.create(made.path, recipe)
    assert Dataset.open(made.path).finished() == {0, 1, 2}  # reading is fine
    (made.path / "dataset.json").write_text(json.dumps({**info, "format": 99}))
    with refusal("format 99", "Update"):
        Dataset.open(made.path)
    (made.path / "dataset.json").write_text("[]")
    with refusal("dataset.json"):
        Dataset.open(made.path)


def test_no_data_set_and_a_changed_recipe_are_refused(made, tmp_path):
    with refusal("dataset.json", "generate"):
        Dataset.open(tmp_path)
    text = (made.path / "recipe.toml").read_text()
    (made.path / "recipe.toml").write_text(text.replace("samples = 8", "samples = 16"))
    with refusal("recipe.toml"):
        Dataset.open(made.path)


def test_a_recipe_with_a_mesh_moves_with_its_data_set(tmp_path, recipe):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "my particle.obj").write_text("v 0 0 0\n")
    recipe.templates = [Template(shape="mesh", mesh="my particle.obj")]
    (tmp_path / "in" / "r.toml").write_text(to_toml(recipe))
    recipe = read_recipe(tmp_path / "in" / "r.toml")
    Dataset.create(tmp_path / "d", recipe)
    expected = fingerprint(recipe)
    shutil.move(tmp_path / "d", tmp_path / "moved")
    (tmp_path / "in" / "my particle.obj").unlink()
    moved = Dataset.open(tmp_path / "moved")
    assert fingerprint(moved.recipe) == expected
    moved.recipe.count += 1
    Dataset.create(tmp_path / "moved", moved.recipe)
    shutil.move(tmp_path / "moved", tmp_path / "moved again")
    assert fingerprint(Dataset.open(tmp_path / "moved again").recipe) == expected


def test_a_full_disk_is_told_and_leaves_nothing(made, monkeypatch):
    import errno
    import os

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(made.path.rglob("*"))
    monkeypatch.setattr(os, "fsync", full)
    with refusal("disk is full", "again"):
        made.write_pair(pair(7))
    assert sorted(made.path.rglob("*")) == before and not made.check(deep=True)
