"""What the doctor finds and how it says so."""

import json
import sys

import pytest

from nanosynth import doctor


@pytest.fixture
def without(monkeypatch):
    """Make packages look missing."""

    def hide(*names):
        version, importable = doctor._version, doctor.importable
        monkeypatch.setattr(doctor, "_version", lambda name: None if name in names else version(name))
        monkeypatch.setattr(doctor, "importable", lambda name: name not in names and importable(name))

    return hide


def test_findings_are_json_and_readable(tmp_path):
    findings = doctor.examine(tmp_path, devices=False)
    assert json.loads(json.dumps(findings)) == findings
    shown = doctor.report(findings)
    assert findings["versions"]["numpy"] in shown and f"{findings['disk_free_gb']} GB" in shown


def test_a_missing_package_is_named_with_its_command(without, tmp_path):
    without("scipy", "bpy", "keras", "tensorflow")
    findings = doctor.examine(tmp_path, devices=False)
    assert not findings["ok"]
    assert [p["message"] for p in findings["problems"]] == ["Missing packages: scipy.", "Training and segmenting need keras and tensorflow."]
    assert all(p["remedy"].endswith("tools/env.py learn") for p in findings["problems"])
    assert "Not ready for: train, segment" in doctor.report(findings)


def test_another_backend_needs_no_tensorflow(without, tmp_path, monkeypatch):
    without("bpy", "tensorflow")
    monkeypatch.setattr(doctor, "importable", lambda name: name in ("keras", "jax"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert doctor.examine(tmp_path, devices=False)["problems"] == []
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert "need torch" in doctor.examine(tmp_path, devices=False)["problems"][0]["message"]


def test_a_full_disk_is_a_problem(without, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1.5e9}))
    findings = doctor.examine(tmp_path, devices=False)
    assert any("Only 1.5 GB free" in p["message"] for p in findings["problems"]) and not findings["ok"]


def test_a_damaged_keras_is_a_problem(without, tmp_path, monkeypatch):
    without("bpy")
    monkeypatch.setattr(doctor, "importable", lambda name: name != "bpy")
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it raises ImportError
    findings = doctor.examine(tmp_path)
    assert not findings["ok"] and "does not load" in findings["problems"][-1]["message"]


def test_the_training_environment_is_asked(tmp_path):
    assert doctor.examine_learn(None)["problems"][0]["message"] == "No training environment is set."
    silent = doctor.examine_learn("/bin/true")
    assert not silent["ok"] and "/bin/true did not answer" in silent["problems"][0]["message"]
    answered = doctor.examine_learn(sys.executable)
    assert answered["versions"]["numpy"] == doctor._version("numpy")


def test_the_training_environment_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(tmp_path / "python"))
    assert doctor.learn_python() == tmp_path / "python"
