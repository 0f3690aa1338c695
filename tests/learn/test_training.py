"""The training loop: what it writes, and that nothing short of another command changes what comes of it."""

import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nanosynth.cli import main
from nanosynth.errors import NanosynthError
from nanosynth.fields import reference, to_toml
from nanosynth.files import append_line, locked, read_lines
from nanosynth.learn import training
from nanosynth.learn.run import Run
from nanosynth.learn.settings import TrainingSettings, read_settings
from nanosynth.learn.unet import build_unet
from nanosynth.reporting import Reporter
from nanosynth.synth.dataset import Dataset

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("NANOSYNTH_KILLS", "12"))
"""How often the storm below kills a training; 50 take about four times as long as the default."""
PATIENCE_S = 600
"""Nothing here is expected to take so long, even on a machine that is busy with other work."""
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")


class Recorder(Reporter):
    def __init__(self, then=None):
        self.sent, self.then = [], then

    def send(self, kind, **values):
        self.sent.append((kind, values))
        if self.then:
            self.then(kind, values)

    def of(self, kind):
        return [values for k, values in self.sent if k == kind]


def train(dataset, settings, out, real=None, **options):
    if real is not None:
        options.update(validation=real[:1], truth=real[1:])
    return training.train(dataset, settings, out, **options)


def assert_same_history(run, reference):
    """Equal but for the time it took, within float tolerance."""
    lines, wanted = run.history(), reference.history()
    assert [line["epoch"] for line in lines] == [line["epoch"] for line in wanted]
    for line, other in zip(lines, wanted, strict=True):
        assert line["lr"] == other["lr"]
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
        for name in ("f1", "instance_f1"):
            assert line[name] == pytest.approx(other[name], abs=0.01)
        assert line["validation"].keys() == other["validation"].keys()


# What a run writes


def test_history(trained, tiny):
    lines = trained.history()
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert math.isfinite(line["loss"]) and line["seconds"] > 0
        assert 0 <= line["data_wait_share"] <= 1
        assert line["lr"] == pytest.approx(tiny.learning_rate_at(3 * line["epoch"] - 1))
        scores = line["validation"]["réal"]
        assert set(scores) == {"precision", "recall", "accuracy", "f1", "iou", "instance_f1"}
        assert all(0 <= score <= 1 for score in scores.values())
        assert (line["f1"], line["instance_f1"]) == (scores["f1"], scores["instance_f1"])
    assert trained.kept() == [1, 2, 3, 4, 5]
    assert len({line["loss"] for line in lines}) == 5


def test_the_loss_of_an_epoch_is_the_mean_over_its_steps(dataset_path, tiny, tmp_path, monkeypatch):
    def start(self):
        losses = iter([5.0, 1.0, 3.0])
        self.trainer.train_on_batch = lambda *arguments, **options: next(losses)
        self.one_epoch(1)

    monkeypatch.setattr(training._Training, "go", start)
    assert train(dataset_path, tiny, tmp_path / "run").history()[0]["loss"] == 3.0


def test_pictures(trained):
    pictures = sorted(path.name for path in (trained.path / "validation").iterdir())
    assert pictures == [f"{epoch:04d}_réal.png" for epoch in range(1, 6)]
    assert Image.open(trained.path / "validation" / pictures[0]).size == (488, 160)


def test_messages(trained):
    messages = read_lines(trained.path / "events.jsonl")
    assert messages[0]["kind"] == "started" and messages[0]["epochs"] == 5
    assert messages[-1]["kind"] == "done" and messages[-1]["best"] == trained.best()
    roles = [message["role"] for message in messages if message["kind"] == "artifact"]
    assert roles == ["validation", "weights"] * 5
    progress = [message for message in messages if message["kind"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 15


def test_the_run_records_where_it_comes_from(trained, dataset_path):
    assert trained.info["data_set_path"] == str(dataset_path.resolve())
    assert trained.info["command"] == "nanosynth train …"
    assert {"python", "keras", "numpy"} <= set(trained.info["versions"])
    assert trained.info["scales"]["réal"]["source"] == "annotation"
    assert trained.info["identity"]["data_set"]["pairs"] == 4
    assert (trained.path / "recipe.toml").read_text() == (dataset_path / "recipe.toml").read_text()


def test_a_training_on_several_data_sets(dataset_path, second_dataset_path, tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(to_toml(replace(tiny, epochs=1)))
    words = ["--preset", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run")]
    assert main(["train", str(dataset_path), str(second_dataset_path), *words]) == 0
    run = Run.open(tmp_path / "run")
    assert run.info["identity"]["data_set"]["pairs"] == 6 and len(run.history()) == 1
    with pytest.raises(NanosynthError, match="another data set"):
        train(dataset_path, run.settings, tmp_path / "run")


def test_every_setting_is_explained():
    assert reference(TrainingSettings) in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def test_disk_space_is_said_in_advance():
    paper = read_settings("paper")
    weights = 4 * 31_048_257
    # 50 tenth ones, two best, the last, the selected; the state three times over, twice.
    assert training.disk_need(paper, 0) == weights * (54 + 6)
    assert training.disk_need(replace(paper, keep="all"), 0) == weights * (500 + 6)
    assert training.disk_need(replace(paper, epochs=3), 0) == weights * (3 + 6)
    assert training.disk_need(paper, 2) - training.disk_need(paper, 1) == 500 * 2_000_000


class Caught(Exception):
    """Ends a training where a test wants to look at it."""


@pytest.fixture
def caught_at_start(monkeypatch):
    """A training as it is before its first step."""

    def at_start(*arguments, **options):
        def stop(self):
            raise Caught(self)

        with monkeypatch.context() as patch, pytest.raises(Caught) as caught:
            patch.setattr(training._Training, "go", stop)
            train(*arguments, **options)
        return caught.value.args[0]

    return at_start


def test_adam_and_cross_entropy_as_the_settings_say(caught_at_start, dataset_path, tiny, tmp_path):
    begun = caught_at_start(dataset_path, replace(tiny, adam_epsilon=1e-6, learning_rate=0.003), tmp_path / "run")
    optimizer = begun.optimizer
    assert (type(optimizer).__name__, optimizer.epsilon, optimizer.beta_1, optimizer.beta_2) == ("Adam", pytest.approx(1e-6), 0.9, 0.999)
    assert float(optimizer.learning_rate) == pytest.approx(0.003)
    truth, predicted = np.array([[[[1.0], [0.0]]]], np.float32), np.array([[[[0.8], [0.4]]]], np.float32)
    assert float(begun.trainer.compute_loss(y=truth, y_pred=predicted)) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2, rel=1e-5)


def test_warnings_before_a_long_training(caught_at_start, dataset_path, tiny, real, tmp_path, monkeypatch):
    monkeypatch.setattr(training.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    reporter = Recorder()
    caught_at_start(dataset_path, tiny, tmp_path / "run", validation=real[:1], reporter=reporter)
    texts = [values["message"] for values in reporter.of("warning")]
    assert any("0 MB are free" in text for text in texts)
    assert any("réal: its scale is not known" in text for text in texts)


def test_time_left_leaves_the_first_steps_compilation_out(dataset_path, tiny, tmp_path, monkeypatch):
    """The clock of each process starts when its first step is done."""
    started = []

    class Clock:
        def __init__(self, total, done=0.0):
            started.append((total, done))

        def seconds_left(self, done):
            return 1000.0 - done

    monkeypatch.setattr(training, "Clock", Clock)
    monkeypatch.setattr(training, "REPORT_EVERY", 0.0)
    reporter = Recorder()
    train(dataset_path, replace(tiny, epochs=1), tmp_path / "run", reporter=reporter)
    assert started == [(3, 1)]
    by_step = {values["done"]: values["seconds_left"] for values in reporter.of("progress")}
    assert by_step == {0: None, 1: 999.0, 2: 998.0, 3: 997.0}


# Batch normalisation


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_running_statistics_serve_in_short_runs(tiny, steps):
    """After t steps the statistics are the initial ones with weight m^t; while serving, only what was seen counts."""
    network = build_unet(tiny)
    norm, seen_mean, seen_variance = network.get_layer("down1_norm2"), 0.7, 5.0
    left = tiny.batch_norm_momentum**steps
    raw = (np.float32((1 - left) * seen_mean), np.float32(left + (1 - left) * seen_variance))
    for layer in network.layers:
        if hasattr(layer, "moving_mean"):
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, raw[0]))
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, raw[1]))
    with pytest.raises(Caught), training._Training.serving(SimpleNamespace(network=network, settings=tiny), steps):
        np.testing.assert_allclose(norm.moving_mean.numpy(), seen_mean, rtol=1e-4)
        np.testing.assert_allclose(norm.moving_variance.numpy(), seen_variance, rtol=1e-4)
        raise Caught
    np.testing.assert_array_equal(norm.moving_mean.numpy(), raw[0])
    np.testing.assert_array_equal(norm.moving_variance.numpy(), raw[1])


# Refusals


@pytest.fixture(scope="module")
def begun(dataset_path, tiny, real, tmp_path_factory):
    """A run that was begun with the annotated image."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Training, "go", lambda self: None)
        train(dataset_path, tiny, folder, real)
    return folder


def test_the_pixel_size_of_a_validation_image_may_be_told(dataset_path, tiny, real, tmp_path, monkeypatch):
    monkeypatch.setattr(training._Training, "go", lambda self: None)
    scales = tmp_path / "scales.csv"
    scales.write_text(f"image,nm_per_px\n{real[0].name},4.0\n")
    run = train(dataset_path, tiny, tmp_path / "run", real[:1], validation_scale_file=scales)
    assert run.info["identity"]["validation_nm_per_px"] == {real[0].name: 4.0}
    assert run.info["scales"][real[0].stem] == {"zoom": pytest.approx(4.0 / run.info["sizes"]["nm_per_px"]), "source": "nm per pixel"}
    with pytest.raises(NanosynthError, match="validation_nm_per_px"):
        train(dataset_path, tiny, tmp_path / "run", real[:1])


def test_other_settings_are_refused(begun, dataset_path, tiny, real):
    with pytest.raises(NanosynthError, match="base_width = 2, not 4"):
        train(dataset_path, replace(tiny, base_width=4), begun, real)


def test_another_validation_image_is_refused(begun, dataset_path, tiny, real, tmp_path):
    with pytest.raises(NanosynthError, match="validation"):
        train(dataset_path, tiny, begun)
    other = tmp_path / real[0].name
    Image.fromarray(255 - np.asarray(Image.open(real[0]))).save(other)
    with pytest.raises(NanosynthError, match="validation"):
        train(dataset_path, tiny, begun, (other, real[1]))


def test_a_changed_data_set_is_refused(begun, dataset_path, tiny, real, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(dataset_path), str(copy)], check=True)
    lines = (copy / "manifest.jsonl").read_text().splitlines()
    (copy / "manifest.jsonl").write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(NanosynthError, match="data_set"):
        train(copy, tiny, begun, real)


def test_a_data_set_with_a_missing_file_is_refused(dataset_path, tiny, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(dataset_path), str(copy)], check=True)
    Dataset.open(copy).paths(2).image.unlink()
    with pytest.raises(NanosynthError, match=r"000002\.png: missing"):
        train(copy, tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_training_at_a_time(begun, dataset_path, tiny, real):
    with locked(begun / training.LOCK, "training into"), pytest.raises(NanosynthError, match="another process is training into"):
        train(dataset_path, tiny, begun, real)


def test_a_damaged_state_is_named(dataset_path, tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "go", lambda self: self.save(0))
        train(dataset_path, tiny, tmp_path / "run")
    state = tmp_path / "run" / "state" / "training.npz"
    data = state.read_bytes()
    for harmed in (data[: len(data) // 2], b"", b"nonsense"):
        state.write_bytes(harmed)
        with pytest.raises(NanosynthError, match=r"training\.npz: damaged"):
            train(dataset_path, tiny, tmp_path / "run")


def test_divergence_ends_the_training_with_a_remedy(dataset_path, tiny, tmp_path, monkeypatch):
    def start(self):
        self.trainer.train_on_batch = lambda *arguments, **options: float("nan")
        self.one_epoch(1)

    monkeypatch.setattr(training._Training, "go", start)
    with pytest.raises(NanosynthError, match="diverged in epoch 1") as caught:
        train(dataset_path, tiny, tmp_path / "run")
    assert "learning_rate" in caught.value.remedy
    assert Run.open(tmp_path / "run").history() == []


def test_without_tensorflow_one_line_says_what_to_do(dataset_path, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libtensorflow.so: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, str(ROOT / "launch.py"), "train", str(dataset_path), "--out", str(tmp_path / "run")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1 and "Traceback" not in ended.stderr
    assert "tensorflow backend of Keras does not load" in ended.stderr and "doctor" in ended.stderr
    assert not (tmp_path / "run").exists()


# Going on


def test_going_on_gives_what_an_uninterrupted_training_gives(dataset_path, tiny, real, trained, tmp_path, monkeypatch):
    """Ended in the middle of epoch 2, and in epoch 4 between its line and its state."""
    monkeypatch.setattr(training, "REPORT_EVERY", 0.0)
    out = tmp_path / "run"

    def end(kind, values):
        if kind == "progress" and values["done"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset_path, tiny, out, real, reporter=Recorder(end))
    assert [line["epoch"] for line in Run.open(out).history()] == [1]
    (out / "validation" / ".0002_real.12345678.part.png").write_bytes(b"left by a crash")

    save = training._Training.save
    with monkeypatch.context() as patch, pytest.raises(Caught):

        def torn(self, epoch):
            if epoch == 4:
                with open(out / "history.jsonl", "ab") as file:
                    file.write(b'{"epoch": 5')
                raise Caught
            save(self, epoch)

        patch.setattr(training._Training, "save", torn)
        train(dataset_path, tiny, out, real)
    reporter = Recorder()
    run = train(dataset_path, tiny, out, real, reporter=reporter)
    assert min(values["done"] for values in reporter.of("progress") if values["done"]) == 10  # from epoch 4 on
    assert_same_history(run, trained)
    with np.load(out / "state" / "training.npz") as state, np.load(trained.path / "state" / "training.npz") as wanted:
        assert set(state.files) == set(wanted.files)
        for name in wanted.files:
            np.testing.assert_allclose(state[name], wanted[name], rtol=1e-3, atol=1e-5)
    assert sorted(path.name for path in (out / "validation").iterdir()) == sorted(path.name for path in (trained.path / "validation").iterdir())


def test_a_finished_run_is_left_as_it_is(trained, dataset_path, tiny, real):
    before = (trained.path / "history.jsonl").read_bytes()
    reporter = Recorder()
    train(dataset_path, tiny, trained.path, real, reporter=reporter)
    assert [values["epochs"] for values in reporter.of("done")] == [5]
    assert (trained.path / "history.jsonl").read_bytes() == before


# Processes: a server that has loaded Keras forks trainings, so that fifty of them need not load it fifty times.

SERVER = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import launch; sys.path.pop(0); launch.load_package()\n" + """
import hashlib, json, os, traceback
from nanosynth.learn import training
from nanosynth.learn.settings import TrainingSettings, read_settings
training.load_keras()
import tensorflow

def work(order):
    os.setsid()
    settings = read_settings(order["settings"])
    if order["slow"]:  # a step that holds signals up, as those of large networks do
        training._Training.go = lambda self: (self.reporter.progress(0, 1), hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1))
    training.train(order["dataset"], settings, order["out"], validation=[order["image"]], truth=[order["labels"]])

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(json.loads(line))
            code = 0
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    def __init__(self, process, order):
        self.process, self.order = process, order

    def start(self, out, slow=False) -> int:
        self.process.stdin.write(json.dumps({**self.order, "out": str(out), "slow": slow}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def exit_code(self) -> int:
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server(dataset_path, tiny, real, tmp_path_factory):
    settings = tmp_path_factory.mktemp("server") / "tiny.toml"
    settings.write_text(to_toml(tiny), encoding="utf-8")
    order = {"dataset": str(dataset_path), "settings": str(settings), "image": str(real[0]), "labels": str(real[1])}
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield Server(process, order)
    process.stdin.close()
    process.wait(PATIENCE_S)


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def messages(out, kind):
    return [message for message in read_lines(out / "events.jsonl") if message["kind"] == kind]


def alive(group) -> bool:
    """Does any process of this group live? Those without a parent left are counted, zombies not."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdecimal() and os.getpgid(int(entry.name)) == group:
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    return True
    return False


@posix
def test_killed_at_random_moments_the_history_is_that_of_an_uninterrupted_training(server, trained, tmp_path):
    rng = np.random.default_rng(20)
    begun = time.monotonic()
    server.start(tmp_path / "unharmed")
    assert server.exit_code() == 0
    whole = time.monotonic() - begun
    assert_same_history(Run.open(tmp_path / "unharmed"), trained)

    killed, runs = 0, (tmp_path / f"run {number}" for number in itertools.count())
    while killed < KILLS:
        out = next(runs)
        for attempt in itertools.count():
            pid = server.start(out)
            if attempt < 10 and killed < KILLS:
                time.sleep(rng.uniform(0, 0.8 * whole))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            code = server.exit_code()
            assert code in (0, -signal.SIGKILL)
            wait_for(lambda pid=pid: not alive(pid), "a child of a killed training lives on")
            if code == 0:
                break
            killed += 1
        run = Run.open(out)
        assert_same_history(run, trained)
        assert run.kept() == trained.kept() and run.best() == trained.best()
        leftovers = [path.name for path in out.rglob(".*.part*")]
        assert not leftovers


@posix
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_even_in_a_step_that_takes_minutes(server, tmp_path, number, slow):
    out = tmp_path / "run"
    pid = server.start(out, slow)
    wait_for(lambda: messages(out, "progress"), "no progress")
    os.kill(pid, number)
    assert server.exit_code() == 130
    assert not alive(pid)


@posix
@pytest.mark.parametrize("how", ["its standard input closes", "SIGINT"])
def test_the_verb_ends_when(how, server, tmp_path):
    """In a process of its own, as the extension starts it."""
    out, order = tmp_path / "run", server.order
    command = [sys.executable, str(ROOT / "launch.py"), "train", order["dataset"], "--preset", order["settings"], "--out", str(out), "--json", "--tethered"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    wait_for(lambda: messages(out, "progress") or process.poll() is not None, "no progress")
    if how == "SIGINT":
        process.send_signal(signal.SIGINT)
    else:
        process.stdin.close()
    assert process.wait(PATIENCE_S) == (130 if how == "SIGINT" else 3), (tmp_path / "log").read_text()
    run = Run.open(out)
    assert run.settings == read_settings(order["settings"])
    append_line(out / "events.jsonl", {"kind": "still whole"})
    assert messages(out, "still whole")
