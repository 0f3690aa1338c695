"""The folder of a run: begun, continued or refused; which weights stay; which epoch serves. Needs no network."""

import json

import pytest

from nanosynth.errors import NanosynthError
from nanosynth.files import append_line
from nanosynth.learn.run import FORMAT, Run, content_hash
from nanosynth.learn.settings import Augmentation, TrainingSettings

SETTINGS = TrainingSettings(epochs=9, keep="best+every", keep_every=4)
IDENTITY = {"data_set": {"recipe": "abc", "content": "123", "pairs": 4}, "validation": [{"image": "a.png", "sha256": "f0", "truth": None}], "validation_diameter": None}
FACTS = {"command": "nanosynth train", "sizes": {}}


def start(path, settings=SETTINGS, **changes):
    return Run.start(path, settings, {**IDENTITY, **changes}, FACTS, "name = 'x'\n")


def finish(run, epoch, **scores):
    """What training writes at the end of an epoch."""
    run.weights_path(epoch).write_bytes(b"weights")
    append_line(run.path / "history.jsonl", {"epoch": epoch, "loss": 1 / epoch, "f1": None, **scores})
    run.tidy()


@pytest.fixture
def run(tmp_path):
    return start(tmp_path / "run")


def test_a_run_says_what_it_was_asked_for(run):
    again = Run.open(run.path)
    assert again.settings == SETTINGS
    assert again.info["identity"] == IDENTITY and again.info["command"] == "nanosynth train" and again.info["format"] == FORMAT
    assert (run.path / "recipe.toml").read_text() == "name = 'x'\n"
    assert again.history() == [] and again.selected() is None


def test_the_same_words_continue_it(run):
    finish(run, 1)
    assert [line["epoch"] for line in start(run.path).history()] == [1]


def test_more_epochs_extend_it(run):
    finish(run, 1)
    more = TrainingSettings(epochs=12, keep="best+every", keep_every=4)
    extended = start(run.path, more)
    assert extended.settings == Run.open(run.path).settings == more and len(extended.history()) == 1
    assert Run.open(run.path).info["extended"] == [{"from": 9, "to": 12, "command": "nanosynth train"}]
    start(run.path, more)
    assert len(Run.open(run.path).info["extended"]) == 1


@pytest.mark.parametrize(
    "settings, changes, named",
    [
        (TrainingSettings(epochs=8, keep="best+every", keep_every=4), {}, "epochs = 9, not 8"),
        (TrainingSettings(epochs=9, keep="best+every", keep_every=4, augmentation=Augmentation(zoom=(0.5, 2.0))), {}, "augmentation.zoom = [0.8, 1.25], not [0.5, 2.0]"),
        (SETTINGS, {"data_set": {"recipe": "xyz", "content": "123", "pairs": 4}}, "another data set, or this one has changed since (data_set.recipe differs)"),
        (SETTINGS, {"data_set": {"recipe": "abc", "content": "456", "pairs": 4}}, "(data_set.content differs)"),
        (SETTINGS, {"validation": [{"image": "a.png", "sha256": "f1", "truth": None}]}, "validation"),
        (SETTINGS, {"validation": []}, "not none"),
        (SETTINGS, {"validation_diameter": 30.0}, "validation_diameter = None, not 30.0"),
    ],
)
def test_other_words_are_refused_and_the_first_difference_named(run, settings, changes, named):
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(NanosynthError) as caught:
        start(run.path, settings, **changes)
    assert named in caught.value.message and str(run.path) in caught.value.message
    assert "another folder" in caught.value.remedy
    assert (run.path / "run.json").read_bytes() == before


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(NanosynthError, match=r"something else than a run \(thesis.tex\)"):
        start(tmp_path)
    (tmp_path / "settings.toml").write_text("mine")
    with pytest.raises(NanosynthError, match="thesis.tex"):
        start(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["settings.toml", "thesis.tex"]
    assert (tmp_path / "settings.toml").read_text() == "mine"
    (tmp_path / "other" / "state").mkdir(parents=True)
    (tmp_path / "other" / "state" / "of affairs.txt").touch()
    with pytest.raises(NanosynthError, match="something else"):
        start(tmp_path / "other")


def test_a_start_cut_short_is_taken_up(tmp_path):
    run = start(tmp_path / "run")
    for name in ("run.json", "recipe.toml", "settings.toml"):  # written in the opposite order
        (run.path / name).unlink()
        if name != "run.json":
            (run.path / "run.json").unlink()
        assert start(run.path).info["identity"] == IDENTITY


@pytest.mark.parametrize("content, message", [("{", "not valid JSON"), ("[]", "format version is missing"), ('{"format": 99}', "format 99")])
def test_a_run_file_that_cannot_be_read_is_named(run, content, message):
    (run.path / "run.json").write_text(content)
    with pytest.raises(NanosynthError, match=message):
        Run.open(run.path)


def test_no_run_at_all(tmp_path):
    with pytest.raises(NanosynthError, match="not a training run"):
        Run.open(tmp_path)


def test_lines_torn_by_a_power_cut_and_leftovers_go(run):
    finish(run, 1)
    finish(run, 2)
    for name in ("history.jsonl", "events.jsonl"):
        with open(run.path / name, "ab") as file:
            file.write(b'{"epoch": 3, "lo')
    leftover = run.path / "epochs" / ".0003.deadbeef.part.h5"
    leftover.write_bytes(b"half")
    again = start(run.path)
    assert not leftover.exists()
    finish(again, 3)
    append_line(run.path / "events.jsonl", {"kind": "done"})
    assert [line["epoch"] for line in again.history()] == [1, 2, 3]
    for name in ("history.jsonl", "events.jsonl"):
        for line in (run.path / name).read_text().splitlines():
            json.loads(line)


def test_an_epoch_whose_state_was_not_written_is_forgotten(run):
    finish(run, 1)
    finish(run, 2)
    run.weights_path(3).write_bytes(b"weights")
    append_line(run.path / "history.jsonl", {"epoch": 3, "loss": 0.1, "f1": None})
    run.cut_history(2)
    assert [line["epoch"] for line in run.history()] == [1, 2]
    assert run.kept() == [2] and run.serving_epoch() == 2


def test_retention(run):
    """Of nine epochs: every fourth, the last, the best by either score, and none besides."""
    pixel = {1: 0.5, 2: 0.8, 3: 0.7}
    instance = {1: 0.1, 2: 0.2, 3: 0.6}
    kept = {}
    for epoch in range(1, 10):
        finish(run, epoch, f1=pixel.get(epoch, 0.6), instance_f1=instance.get(epoch, 0.3))
        kept[epoch] = run.kept()
    assert kept[3] == [2, 3]
    assert kept[9] == [2, 3, 4, 8, 9]
    assert run.best() == 2 and run.best("instance_f1") == 3


def test_retention_spares_the_selected_epoch(run):
    finish(run, 1)
    run.select(epoch=1)
    for epoch in (2, 3):
        finish(run, epoch)
    assert run.kept() == [1, 3]


def test_retention_spares_favourites(run):
    for epoch in (1, 2, 3):
        finish(run, epoch)
        if epoch == 2:
            assert run.mark(2) is True
    finish(run, 5)
    assert run.favourites() == [2] and run.kept() == [2, 5]
    assert run.mark(2) is False and run.favourites() == []
    run.tidy()
    assert run.kept() == [5]
    with pytest.raises(NanosynthError, match="epoch 9 is not finished"):
        run.mark(9)


def test_retention_of_all(tmp_path):
    run = start(tmp_path / "run", TrainingSettings(epochs=9, keep="all"))
    for epoch in range(1, 6):
        finish(run, epoch)
    assert run.kept() == [1, 2, 3, 4, 5]


def test_select_by_eye_and_by_score(run):
    for epoch, (f1, instance_f1) in enumerate([(0.7, 0.1), (0.9, 0.2), (0.9, 0.1), (0.8, 0.4)], 1):
        finish(run, epoch, f1=f1, instance_f1=instance_f1)
    assert run.serving_epoch() == 2  # the first of equals
    assert run.select(epoch=4) == {"epoch": 4, "by": "eye", "f1": 0.8, "instance_f1": 0.4}
    assert run.serving_epoch() == 4 == Run.open(run.path).selected()["epoch"]
    assert run.select(best="f1") == {"epoch": 2, "by": "f1", "f1": 0.9, "instance_f1": 0.2}
    with pytest.raises(NanosynthError, match="epoch 1 are not there") as caught:
        run.select(epoch=1)
    assert caught.value.remedy == "The nearest epoch kept is 2."
    assert run.select(best="instance_f1")["epoch"] == 4
    assert run.serving_epoch() == 4


def test_nothing_to_select(run):
    for ask in ({"epoch": 1}, {"best": "f1"}):
        with pytest.raises(NanosynthError, match="no epoch is finished"):
            run.select(**ask)
    with pytest.raises(NanosynthError, match="no epoch is finished"):
        run.serving_epoch()
    finish(run, 1)
    with pytest.raises(NanosynthError, match="no validation image is annotated") as caught:
        run.select(best="f1")
    assert "--epoch" in caught.value.remedy
    assert run.serving_epoch() == 1


def test_the_hash_of_a_data_set_follows_its_files_and_not_their_order():
    records = [{"index": i, "sha256": {"image": f"{i}a", "label": f"{i}b", "instances": f"{i}c"}, "drawn": {}} for i in range(3)]
    same = content_hash(records)
    assert content_hash(records[::-1]) == same
    assert content_hash(records[:2]) != same
    other = [*records[:2], {"index": 2, "sha256": {**records[2]["sha256"], "label": "changed"}}]
    assert content_hash(other) != same
