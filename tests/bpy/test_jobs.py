"""Background work in processes of its own: detached or tethered, cancelled, found again. All processes are real."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import bpy
import pytest

import nanosynth
from nanosynth.files import append_line
from nanosynth.jobs import environment
from nanosynth.jobs.detached import job_folder
from nanosynth.operators import jobs, state
from nanosynth.reporting import Reporter
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
PARENT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r}); import launch; sys.path.pop(0); launch.load_package()
import bpy, nanosynth
nanosynth.register()
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
bpy.ops.nanosynth.generate_dataset(detached=sys.argv[2] == "detached")
print("returned", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path):
    """A saved project whose data set takes a while, with Nanosynth registered."""
    nanosynth.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    nanosynth.register()
    recipe = read_recipe("sio2")
    recipe.count, recipe.camera.render_px, recipe.camera.image_px, recipe.camera.samples = 12, 48, 96, 1
    state.put_recipe(bpy.context.scene, recipe)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "próject.blend"))
    yield tmp_path
    jobs.end_all()
    nanosynth.unregister()


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def blender(project, mode):
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(project / "próject.blend"), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def workers(out):
    """The processes that work on a folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "--out" in words and str(out) in words:
            found.append(int(folder.name))
    return found


@posix
def test_detached_work_outlives_its_blender_and_is_found_by_the_next(project):
    out = project / "nanosynth" / "dataset"
    with blender(project, "detached") as parent:
        assert b"returned\n" in iter(parent.stdout.readline, b"")
        until(lambda: state.made_pairs(out) > 0)
        parent.kill()
    assert state.made_pairs(out) < 12 and workers(out)
    assert bpy.ops.nanosynth.follow_job(kind="generate") == {"FINISHED"}
    job = jobs.RUNNING["generate"]
    assert (job.state, job.detached, job.share) == ("done", True, 1.0)
    assert len(Dataset.open(out).finished()) == 12 and not job_folder(out).exists()
    until(lambda: not workers(out))


@posix
def test_tethered_work_ends_with_its_blender_and_goes_on(project):
    out = project / "nanosynth" / "dataset"
    with blender(project, "tethered") as parent:
        until(lambda: state.made_pairs(out) > 0)
        parent.kill()
    until(lambda: not workers(out))
    assert 0 < state.made_pairs(out) < 12
    with pytest.raises(RuntimeError, match="no detached work"):
        bpy.ops.nanosynth.follow_job(kind="generate")
    assert bpy.ops.nanosynth.generate_dataset() == {"FINISHED"}
    assert len(Dataset.open(out).finished()) == 12


@pytest.mark.operator("cancel_job")
@posix
def test_detached_work_is_cancelled_by_another_blender(project):
    out = project / "nanosynth" / "dataset"
    assert bpy.ops.nanosynth.generate_dataset(detached=True) == {"FINISHED"}
    jobs.RUNNING.clear()  # as if by a Blender that has gone
    assert jobs.attach(bpy.context)
    job = jobs.RUNNING["generate"]
    until(lambda: state.made_pairs(out) > 0)
    with pytest.raises(RuntimeError, match="a job is at work there already"):
        jobs.RUNNING.clear()
        bpy.ops.nanosynth.generate_dataset(detached=True)
    jobs.RUNNING["generate"] = job
    assert bpy.ops.nanosynth.cancel_job(kind="generate") == {"FINISHED"}
    assert job.state == "cancelled" and state.made_pairs(out) < 12
    until(lambda: not workers(out))
    assert not bpy.ops.nanosynth.cancel_job.poll()
    assert not jobs.attach(bpy.context)


@posix
def test_detached_work_that_was_killed_is_told_with_its_way_on(project, monkeypatch):
    monkeypatch.setattr("nanosynth.jobs.detached.SILENCE_S", 2.0)
    out = project / "nanosynth" / "dataset"
    bpy.ops.nanosynth.generate_dataset(detached=True)
    until(lambda: state.made_pairs(out) > 0)
    job = jobs.RUNNING.pop("generate")
    job.follow.process.kill()
    job.follow.process.wait()
    with pytest.raises(RuntimeError, match="Generating has ended unexpectedly"):
        bpy.ops.nanosynth.follow_job(kind="generate")
    assert job_folder(out).exists()
    assert bpy.ops.nanosynth.forget_job(kind="generate") == {"FINISHED"}
    assert not job_folder(out).exists() and "generate" not in jobs.RUNNING
    assert bpy.ops.nanosynth.generate_dataset() == {"FINISHED"}
    assert len(Dataset.open(out).finished()) == 12


def test_an_error_of_detached_work_is_told(project):
    home = state.home(bpy.context)
    out = project / "nanosynth" / "dataset"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("not a data set")
    assert bpy.ops.nanosynth.generate_dataset(detached=True) == {"FINISHED"}
    job = jobs.RUNNING["generate"]
    job.wait()
    assert job.state == "failed" and "mine.txt" in job.error, job.error
    assert home.nanosynth.generate_detached is False


def test_another_file_forgets_what_is_not_its_own(project):
    bpy.ops.nanosynth.generate_dataset(detached=True)
    first = jobs.RUNNING["generate"]
    bpy.ops.wm.read_homefile(use_empty=True)
    assert "generate" not in jobs.RUNNING and not jobs.attach(bpy.context)
    bpy.ops.wm.open_mainfile(filepath=str(project / "próject.blend"))
    assert jobs.attach(bpy.context) and jobs.RUNNING["generate"].out == first.out
    bpy.ops.nanosynth.cancel_job(kind="generate")


def test_unregistering_ends_tethered_work_and_leaves_detached(project, monkeypatch):
    out = project / "nanosynth" / "dataset"
    monkeypatch.setattr("nanosynth.operators.dataset.GenerateDataset.wait", False)
    bpy.ops.nanosynth.generate_dataset()
    child = jobs.RUNNING["generate"].child
    until(lambda: state.made_pairs(out) > 0)
    nanosynth.unregister()
    assert not child.alive and not jobs.RUNNING
    until(lambda: not workers(out))
    nanosynth.register()
    bpy.ops.nanosynth.generate_dataset(detached=True)
    nanosynth.unregister()
    nanosynth.register()
    bpy.ops.wm.open_mainfile(filepath=str(project / "próject.blend"))
    assert bpy.ops.nanosynth.follow_job(kind="generate") == {"FINISHED"}
    assert len(Dataset.open(out).finished()) == 12


# The training environment


@pytest.fixture
def online(monkeypatch):
    system = bpy.context.preferences.system
    before, system.use_online_access = system.use_online_access, True
    yield
    system.use_online_access = before


def test_without_online_access_no_environment_is_made(project, tmp_path):
    system = bpy.context.preferences.system
    before, system.use_online_access = system.use_online_access, False
    try:
        assert not bpy.ops.nanosynth.create_environment.poll()
        with pytest.raises(RuntimeError, match="online access is off"):
            bpy.ops.nanosynth.create_environment(directory=str(tmp_path / "env"))
    finally:
        system.use_online_access = before
    assert not (tmp_path / "env").exists()


def test_an_environment_that_cannot_be_fetched_is_told_and_leaves_nothing(project, online, tmp_path, monkeypatch):
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match="package index does not answer"):
        bpy.ops.nanosynth.create_environment(directory=str(tmp_path / "env"))
    assert not list(tmp_path.glob("env*"))


@pytest.mark.operator("create_environment")
@pytest.mark.skipif(bpy.app.version >= (4, 3), reason="made outside Blender, whatever its version: tried with the oldest")
def test_the_environment_is_that_of_the_call(project, online, tmp_path, monkeypatch):
    """With empty packages of the pinned names, so that nothing is fetched."""
    (tmp_path / "wheels").mkdir()
    for name, version in (line.split("==") for line in environment.pinned()):
        stem = f"{re.sub('[-.]', '_', name)}-{version}"
        with zipfile.ZipFile(tmp_path / "wheels" / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    assert bpy.ops.nanosynth.create_environment(directory=str(tmp_path / "made")) == {"FINISHED"}
    environment.make(tmp_path / "called", Reporter())

    def packages(folder):
        return sorted(path.name for path in folder.glob("lib/python*/site-packages/*.dist-info"))

    assert packages(tmp_path / "made") == packages(tmp_path / "called") and len(packages(tmp_path / "made")) > len(environment.pinned())
    assert (tmp_path / "made" / "requirements.txt").read_bytes() == (tmp_path / "called" / "requirements.txt").read_bytes()


@pytest.mark.operator("check_environment")
def test_an_environment_is_checked(project, tmp_path, monkeypatch):
    answer = {
        "kind": "done",
        "ok": True,
        "python": "3.11.2 (x)",
        "versions": {"tensorflow": "2.21.0", "keras": None},
        "devices": {"TensorFlow": ["CPU:0"]},
        "problems": [],
    }
    python = tmp_path / "python"
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(python))
    for ok, problems in ((True, []), (False, [{"message": "Training and segmenting need tensorflow.", "remedy": "Install it."}])):
        python.write_text(f"#!/bin/sh\ntest \"$3\" = doctor && echo '{json.dumps({**answer, 'ok': ok, 'problems': problems})}'\n")
        python.chmod(0o755)
        if ok:
            assert bpy.ops.nanosynth.check_environment() == {"FINISHED"}
            assert jobs.RUNNING["environment"].result == {**answer, "ok": True, "problems": []}
        else:
            with pytest.raises(RuntimeError, match="need tensorflow. Install it"):
                bpy.ops.nanosynth.check_environment()


def test_following_reads_what_was_said_before(project):
    folder = job_folder(project / "nanosynth" / "run")
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"kind": "train"}))
    for message in (
        {"kind": "started", "task": "train"},
        {"kind": "progress", "done": 3, "total": 4, "text": "epoch 3 of 4", "seconds_left": 9},
        {"kind": "warning", "message": "The disk is nearly full.", "remedy": ""},
    ):
        append_line(folder / "events.jsonl", message)
    (folder / "heartbeat").touch()
    assert jobs.attach(bpy.context)
    job = jobs.RUNNING["train"]
    assert (job.state, job.share, job.text, job.seconds_left, job.warnings) == (
        "running",
        0.75,
        "epoch 3 of 4",
        9,
        ["The disk is nearly full."],
    )
    append_line(folder / "events.jsonl", {"kind": "done"})
    (folder / "heartbeat").unlink()
    assert job.listen() and job.state == "done" and not folder.exists()


def test_a_job_that_cannot_be_heard_leaves_the_others_their_timer(project):
    """Blender drops a timer's function that raises."""
    folders = {kind: job_folder(project / "nanosynth" / name) for kind, name in (("generate", "dataset"), ("train", "run"))}
    for kind, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"kind": kind}))
        (folder / "heartbeat").touch()
    assert jobs.tick() == jobs.TICK_S and set(jobs.RUNNING) == set(folders)
    (folders["generate"] / "events.jsonl").write_text('{"kind": "progress"}\n')  # less than such a message says
    (folders["train"] / "events.jsonl").write_bytes(b'garbage\n[1]\n\0\0{"kin\n\xff\n{"kind": "started", "task": "train"}\n')
    assert jobs.tick() == jobs.TICK_S
    deaf, heard = jobs.RUNNING["generate"], jobs.RUNNING["train"]
    assert "KeyError" in deaf.error and deaf.text == deaf.error and deaf.state == "running"
    assert (heard.text, heard.error) == ("begun", "")
    append_line(folders["generate"] / "events.jsonl", {"kind": "done"})
    (folders["generate"] / "heartbeat").unlink()
    jobs.tick()
    assert deaf.state == "done" and "KeyError" in deaf.error


def test_a_damaged_job_does_not_hide_the_next(project):
    for name, facts in (("dataset", "["), ("run", '{"kind": "train"}')):
        folder = job_folder(project / "nanosynth" / name)
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(facts)
        (folder / "heartbeat").touch()
    assert jobs.tick() == jobs.TICK_S and set(jobs.RUNNING) == {"train"}
    with pytest.raises(RuntimeError, match="not valid JSON"):
        bpy.ops.nanosynth.follow_job(kind="generate")


@pytest.mark.operator("cancel_job")
def test_work_that_cannot_be_cancelled_is_told_and_can_be_again(project):
    folder = job_folder(project / "nanosynth" / "run")
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"kind": "train"}))
    (folder / "heartbeat").touch()
    assert jobs.attach(bpy.context)
    folder.rename(folder.with_suffix(".away"))
    with pytest.raises(RuntimeError, match="run.job: no such file or folder") as refused:
        bpy.ops.nanosynth.cancel_job(kind="train")
    assert "Traceback" not in str(refused.value) and not jobs.RUNNING["train"].cancelling
    folder.with_suffix(".away").rename(folder)
    jobs.RUNNING["train"].cancel()
    assert jobs.RUNNING["train"].cancelling and (folder / "cancel").exists()
