"""A trained network, from a run or a model folder and into one."""

import json
import shutil

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.learn import model
from nanosynth.learn.model import export, load_model, load_weights, save_weights
from nanosynth.learn.run import Run
from nanosynth.learn.settings import read_settings
from nanosynth.learn.unet import build_unet, parameter_count


@pytest.fixture
def batch():
    return np.random.default_rng(2).random((2, 32, 48, 1)).astype(np.float32)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a finished run, to be changed."""
    shutil.copytree(trained.path, tmp_path / "the run")
    return Run.open(tmp_path / "the run")


@pytest.fixture
def folder(run, tmp_path):
    return export(run, tmp_path / "mödel")


def test_a_model_predicts_what_its_run_predicts(run, folder, batch):
    one, other = load_model(run.path), load_model(folder)
    np.testing.assert_array_equal(one.predict(batch), other.predict(batch))
    assert one.predict(batch).shape == batch.shape and one.predict(batch).dtype == np.float32
    assert one.settings == other.settings == run.settings
    assert one.diameter_px == other.diameter_px == (run.info["sizes"]["diameter_px"], run.info["sizes"]["log_sd"])
    assert one.nm_per_px == run.info["sizes"]["nm_per_px"]
    assert one.provenance == other.provenance


def test_the_selected_epoch_serves(run, batch):
    best = load_model(run.path)
    assert best.provenance["epoch"] == run.best() and best.provenance["chosen_by"] == "f1"
    other = 1 if run.best() != 1 else 2
    run.select(epoch=other)
    chosen = load_model(run.path)
    assert chosen.provenance["epoch"] == other and chosen.provenance["chosen_by"] == "eye"
    assert not np.array_equal(best.predict(batch), chosen.predict(batch))


def test_the_model_says_where_it_comes_from(run, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.weights.h5"]
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    provenance = described["provenance"]
    assert provenance["recipe"] == (run.path / "recipe.toml").read_text(encoding="utf-8")
    assert provenance["command"] == "nanosynth train …" and provenance["seed"] == run.settings.seed
    assert provenance["data_set"]["pairs"] == 4
    assert {"keras", "numpy", "python"} <= set(provenance["versions"])
    assert provenance["validation"]["réal"]["f1"] == run.history()[provenance["epoch"] - 1]["f1"]


def test_exporting_again_replaces_the_model(run, folder, batch):
    before = load_model(folder).predict(batch)
    run.select(epoch=1 if run.best() != 1 else 2)
    assert export(run.path, folder) == folder
    assert not np.array_equal(load_model(folder).predict(batch), before)


def test_compact_can_be_shipped(tmp_path):
    settings = read_settings("compact")
    save_weights(build_unet(settings), tmp_path / "model.weights.h5")
    size = (tmp_path / "model.weights.h5").stat().st_size
    assert size < 10_000_000
    assert 1 <= size / (4 * parameter_count(settings)) < 1.1  # nothing of the optimiser
    assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]


def test_weights_come_back(tmp_path, tiny, batch):
    network = build_unet(tiny)
    save_weights(network, tmp_path / "0001.weights.h5")
    wanted = network.predict_on_batch(batch)
    for variable in network.weights:
        variable.assign(np.zeros(variable.shape))
    load_weights(network, tmp_path / "0001.weights.h5")
    np.testing.assert_array_equal(network.predict_on_batch(batch), wanted)


@pytest.mark.parametrize("harm", ["cut off", "empty", "missing"])
def test_damaged_weights_are_named(folder, harm):
    weights = folder / "model.weights.h5"
    data = weights.read_bytes()
    weights.unlink()
    if harm != "missing":
        weights.write_bytes(data[: len(data) // 2] if harm == "cut off" else b"")
    with pytest.raises(NanosynthError, match=r"model\.weights\.h5: (damaged|the weights are missing)") as caught:
        load_model(folder)
    assert "Restore" in caught.value.remedy and "\n" not in caught.value.message


def test_weights_of_another_network_are_named(folder):
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    described["settings"]["base_width"] = 5
    (folder / "model.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(NanosynthError, match="of another network"):
        load_model(folder)


def test_a_newer_model_is_refused(folder):
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**described, "format": 9}), encoding="utf-8")
    with pytest.raises(NanosynthError, match="format 9") as caught:
        load_model(folder)
    assert caught.value.remedy == "Update Nanosynth."
    for text in ("[]", '{"format": 1}'):
        (folder / "model.json").write_text(text)
        with pytest.raises(NanosynthError, match="not the description of a model"):
            load_model(folder)


def test_a_shipped_model_is_found_by_its_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "MODELS", folder.parent)
    monkeypatch.chdir(tmp_path / "the run")
    assert load_model(folder.name).provenance["epoch"] == load_model(folder).provenance["epoch"]
    (tmp_path / "the run" / folder.name).mkdir()  # as `segment NAME … --out NAME` makes it
    assert load_model(folder.name).provenance == load_model(folder).provenance


def test_neither_model_nor_run(tmp_path):
    with pytest.raises(NanosynthError, match="neither a model nor a training run"):
        load_model(tmp_path)
    with pytest.raises(NanosynthError, match="no-such-model"):
        load_model("no-such-model")
