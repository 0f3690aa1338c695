"""Child processes and data set generation, with a worker that needs no Blender."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nanosynth.errors import NanosynthError
from nanosynth.files import locked
from nanosynth.jobs import process
from nanosynth.jobs.detached import Detached
from nanosynth.jobs.generate import LOCK, generate
from nanosynth.jobs.process import Child, host_command
from nanosynth.reporting import Clock, Reporter
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake_worker.py")
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

LOAD = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import launch; sys.path.pop(0); launch.load_package()\n"

GENERATE = (
    LOAD
    + """
import json
from nanosynth.errors import NanosynthError
from nanosynth.jobs.generate import generate
from nanosynth.reporting import JsonReporter
from nanosynth.synth.recipe import Recipe
out, count, fake, *trouble = sys.argv[1:]
recipe = Recipe(count=int(count))
recipe.camera.image_px = 48
try:
    generate(recipe, out, workers=2, renew_after=4, reporter=JsonReporter(), command=[sys.executable, fake, out, *trouble])
except NanosynthError as error:
    JsonReporter().error(error.message, error.remedy)
    sys.exit(2)
except KeyboardInterrupt:
    sys.exit(130)
"""
)


class Recorder(Reporter):
    def __init__(self, then=None):
        self.sent, self.then = [], then

    def send(self, kind, **values):
        self.sent.append((kind, values))
        if self.then:
            self.then(kind, values)

    def of(self, kind):
        return [values for k, values in self.sent if k == kind]


@pytest.fixture
def recipe():
    recipe = Recipe(count=10)
    recipe.camera.image_px = 48
    return recipe


@pytest.fixture
def out(tmp_path):
    return tmp_path / "date sét"


def fake(out, *trouble):
    return [sys.executable, str(FAKE), str(out), *trouble]


def make(recipe, out, *trouble, workers=2, reporter=None, **options):
    return generate(recipe, out, workers=workers, reporter=reporter, command=fake(out, *trouble), **options)


def content(out):
    """The hash of every file that is not hidden; hidden ones are asserted to be the lock alone."""
    files = [path for path in Path(out).rglob("*") if path.is_file()]
    assert [path.name for path in files if path.name.startswith(".") and path.name != ".stumbled"] == [LOCK]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name[0] != "."}


def alive_with(word):
    """Process ids whose command line holds a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def wait_until(condition, limit_s=20.0):
    """Generous, for busy machines; what it takes is measured in `benchmarks/generate.py`."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def reference(recipe, tmp_path):
    """What ten scenes look like when nothing happens."""
    make(recipe, tmp_path / "reference", workers=1)
    return content(tmp_path / "reference")


# --- the result ---------------------------------------------------------------


def test_pairs_without_particles_are_told(recipe, out):
    recorder = Recorder()
    make(recipe, out, "bare=3", workers=1, reporter=recorder)
    (warning,) = recorder.of("warning")
    assert warning["message"] == "1 of 10 pairs made shows no particle, such as 000003.png."


def test_the_data_set_does_not_depend_on_the_workers(recipe, out, reference, monkeypatch):
    monkeypatch.setattr(Clock, "LEAST_S", 0.0)
    recorder = Recorder()
    dataset = make(recipe, out, "chatty", workers=3, renew_after=2, reporter=recorder)
    assert content(out) == reference and len([name for name in reference if name.endswith(".png")]) == 30
    assert dataset.finished() == set(range(10)) and not Dataset.open(out).check(deep=True)
    assert [kind for kind, _ in recorder.sent][0] == "started" and recorder.sent[-1][0] == "done"
    assert [p["done"] for p in recorder.of("progress")] == list(range(11))
    assert all(p["total"] == 10 for p in recorder.of("progress"))
    assert all(p["seconds_left"] is not None for p in recorder.of("progress")[1:])
    assert sorted(a["index"] for a in recorder.of("artifact")) == list(range(10))


def test_finished_pairs_are_skipped_and_missing_ones_made(recipe, out, reference):
    make(recipe, out, count=4)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    make(recipe, out)
    assert content(out) == reference
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    (out / "labels" / "000003.png").write_bytes(b"")
    recorder = Recorder()
    make(recipe, out, reporter=recorder)
    assert content(out) == reference
    assert "000003.png" in recorder.of("warning")[0]["message"]
    assert [a["index"] for a in recorder.of("artifact")] == [3]


def test_seed_and_count_override_the_recipe_and_are_checked(recipe, out, tmp_path):
    dataset = make(recipe, out, seed=5, count=2)
    assert dataset.recipe.seed == 5 and Dataset.open(out).finished() == {0, 1}
    assert recipe.seed == 1
    for bad in ({"count": 0}, {"seed": -1}, {"workers": 0}):
        with pytest.raises(NanosynthError, match=next(iter(bad))):
            make(recipe, tmp_path / "bad", **bad)
    assert not (tmp_path / "bad").exists()


# --- trouble in workers --------------------------------------------------------


def test_a_scene_that_crashes_twice_is_told_and_the_others_are_made(recipe, out, reference):
    recorder = Recorder()
    with pytest.raises(NanosynthError, match="scenes failed .3.") as failed:
        make(recipe, out, "crash=3", reporter=recorder)
    assert "the scene exploded" in failed.value.remedy
    assert [e["scene"] for e in recorder.of("error")] == [3]
    assert Dataset.open(out).finished() == set(range(10)) - {3}
    make(recipe, out)
    assert content(out) == reference


def test_a_scene_that_crashes_once_is_made(recipe, out, reference):
    make(recipe, out, "stumble=6")
    assert (out / ".stumbled").exists() and content(out) == reference


def test_a_users_error_in_a_worker_ends_all(recipe, out):
    with pytest.raises(NanosynthError, match="no such mesh") as refused:
        make(recipe, out, "refuse")
    assert refused.value.remedy == "Correct it."


def test_a_worker_that_cannot_run_is_told_with_its_log(recipe, out):
    with pytest.raises(NanosynthError, match="exit code") as failed:
        generate(recipe, out, command=[sys.executable, "-c", "import no_such_module"])
    assert "no_such_module" in failed.value.remedy
    with pytest.raises(NanosynthError, match="no such file"):
        generate(recipe, out, command=["/no/such/python"])


def test_a_worker_that_never_starts_is_given_up(tmp_path):
    child = Child([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log", handshake_s=0.3)
    assert child.inbox.get(timeout=30) == (child, None)
    assert "did not start within 0.3 s" in child.failure("it").message


@pytest.mark.parametrize("trouble, options", [("big", {}), ("chatty", {"renew_after": 1})])
def test_workers_are_renewed(recipe, out, reference, monkeypatch, trouble, options):
    started = []

    class Counted(Child):
        def __init__(self, *arguments, **named):
            started.append(self)
            super().__init__(*arguments, **named)

    monkeypatch.setattr("nanosynth.jobs.generate.Child", Counted)
    make(recipe, out, trouble, workers=1, **options)
    assert len(started) == 10 and content(out) == reference


# --- interruptions ---------------------------------------------------------------


def start_generate(out, count, *trouble):
    return subprocess.Popen([sys.executable, "-c", GENERATE, str(out), str(count), str(FAKE), *trouble], stdout=subprocess.PIPE)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ends_at_once_with_its_workers_and_goes_on_later(recipe, out, reference, number):
    parent = start_generate(out, 10, "slow=0.3")
    while json.loads(parent.stdout.readline())["kind"] != "artifact":
        pass
    assert len(alive_with(str(out))) == 3
    parent.send_signal(number)
    wait_until(lambda: parent.poll() is not None and not alive_with(str(out)))
    assert parent.wait() == (130 if number != signal.SIGKILL else -number)
    parent.stdout.close()
    assert 0 < len(Dataset.open(out).finished()) < 10
    if number != signal.SIGKILL:
        assert not (out / ".work").exists()
    make(recipe, out)
    assert content(out) == reference


@posix
def test_a_storm_of_kills_changes_nothing(recipe, out, tmp_path):
    """Fifty SIGKILLs at random moments, of the parent or of a worker."""
    count = 40
    make(recipe, tmp_path / "calm", count=count)
    rng = np.random.default_rng(11)
    kills = 0
    while kills < 50:
        parent = start_generate(out, count, "slow=0.02")
        while kills < 50:
            time.sleep(rng.uniform(0, 0.5))
            alive = alive_with(str(out))
            if parent.poll() is not None:
                break
            if not alive:  # forked, not yet what it will be
                continue
            victim = alive[rng.integers(len(alive))]
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
            if victim == parent.pid:
                wait_until(lambda: not alive_with(str(out)))
                break
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_until(lambda: not alive_with(str(out)))
        if (out / "dataset.json").exists():
            kept = Dataset.open(out)  # whatever is finished is whole
            assert not kept.check(deep=True)
            if len(kept.finished()) == count:
                for line in out.glob("manifest.jsonl"):
                    line.unlink()
    make(recipe, out, count=count)
    assert content(out) == content(tmp_path / "calm")


def test_two_at_once_are_refused_and_a_dead_one_is_forgotten(recipe, out):
    refused = []

    def second(kind, values):
        if kind == "artifact" and not refused:
            try:
                make(recipe, out)
            except NanosynthError as error:
                refused.append(error)

    make(recipe, out, reporter=Recorder(second))
    assert "another process is generating" in refused[0].message
    assert (out / LOCK).exists()
    make(recipe, out)


def test_a_lock_ends_with_its_process(tmp_path):
    code = LOAD + f"from nanosynth.files import locked\nwith locked({str(tmp_path / 'l')!r}, 'x'): print(flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(NanosynthError, match="another process"), locked(tmp_path / "l", "using"):
        pass
    holder.kill()
    holder.communicate()
    with locked(tmp_path / "l", "using"):
        pass


# --- disks ------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts")
def test_a_full_disk_keeps_what_is_made(recipe, small_disk):
    with pytest.raises(NanosynthError, match="disk is full") as full:
        make(recipe, small_disk / "d", count=200)
    assert "kept" in full.value.remedy
    kept = Dataset.open(small_disk / "d")
    assert kept.finished() and not kept.check(deep=True)
    assert not list(kept.path.rglob("*.part*"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts")
def test_a_read_only_folder_is_told(recipe, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(NanosynthError, match="read-only") as refused:
        make(recipe, small_disk / "d")
    assert "folder you can write to" in refused.value.remedy


# --- the child process itself --------------------------------------------------------


def test_the_host_is_this_python_or_this_blender(monkeypatch):
    class Application:
        binary_path = ""

    class Bpy:
        app = Application

    monkeypatch.setitem(sys.modules, "bpy", Bpy)
    assert host_command("worker", "--out", Path("a b")) == [sys.executable, str(Path(process.__file__).parents[1] / "launch.py"), "worker", "--out", "a b"]
    Application.binary_path = "/opt/blender"
    assert host_command("worker") == ["/opt/blender", "--background", "--addons", "nanosynth", "--command", "nanosynth", "worker"]


@posix
def test_an_interrupted_child_ends_by_itself_or_by_force(tmp_path):
    for code, expected in (("", 0), ("signal.signal(signal.SIGINT, signal.SIG_IGN)", -signal.SIGKILL)):
        program = f"import signal, time\n{code}\ntry:\n    print('{{\"kind\": \"started\"}}', flush=True)\n"
        program += "    time.sleep(60)\nexcept KeyboardInterrupt: pass"
        child = Child([sys.executable, "-c", program], log=tmp_path / "log")
        assert child.inbox.get(timeout=30)[1] == {"kind": "started"}
        child.interrupt(grace_s=0.5)
        assert child.inbox.get(timeout=30) == (child, None)
        assert child.process.returncode == expected
        child.untether()


def test_an_untethered_child_ends_while_it_works(tmp_path):
    program = LOAD + "from nanosynth.jobs.child import tether\ntether()\nprint('{\"kind\": \"started\"}', flush=True)\nwhile True: pass"
    child = Child([sys.executable, "-c", program], log=tmp_path / "log")
    assert child.inbox.get(timeout=30)[1] == {"kind": "started"}
    child.end(grace_s=30)
    assert child.process.returncode == 3


def test_a_detached_job_is_followed_attached_to_and_cancelled(tmp_path):
    program = LOAD + (
        "import time\nfrom nanosynth.jobs.child import detached\nfrom nanosynth.reporting import Reporter\n"
        "with detached(sys.argv[1], Reporter()) as reporter:\n"
        "    reporter.started('job')\n"
        "    try:\n"
        "        while True: time.sleep(0.05)\n"
        "    except KeyboardInterrupt: reporter.done(cancelled=True)\n"
    )
    folder = tmp_path / "jöb"
    job = Detached.start([sys.executable, "-c", program, str(folder)], folder)
    wait_until(job.alive)
    seen = []
    wait_until(lambda: seen.extend(job.messages()) or seen)
    assert [m["kind"] for m in seen] == ["started"] and job.messages() == []
    later = Detached(folder)
    assert later.alive() and [m["kind"] for m in later.messages()] == ["started"]
    later.cancel()
    wait_until(lambda: not later.alive())
    assert [m["kind"] for m in later.messages()] == ["done"]


def test_lines_that_hold_no_message_are_passed_over(tmp_path):
    lines = b'{"kind": "started"}\ngarbage\n\0\0{"kin\n\xff\n\n[1]\n3\n{"name": 1}\n{"kind": "done"}\n{"kind"'
    (tmp_path / "events.jsonl").write_bytes(lines)
    job = Detached(tmp_path)
    assert [message["kind"] for message in job.messages()] == ["started", "done"] and job.messages() == []


def test_generate_works_in_a_thread(recipe, out, reference):
    """Signal handlers belong to the main thread; elsewhere there are none."""
    thread = threading.Thread(target=make, args=(recipe, out))
    thread.start()
    thread.join()
    assert content(out) == reference


def test_a_manifest_left_unsorted_is_sorted_by_the_next_call(recipe, out, tmp_path):
    """A kill between the last pair and the sorting leaves the lines in the order in which they came."""
    make(recipe, out, count=4)
    whole = content(out)
    manifest = out / "manifest.jsonl"
    manifest.write_bytes(b"".join(reversed(manifest.read_bytes().splitlines(keepends=True))))
    assert content(out) != whole
    make(recipe, out, count=4)
    assert content(out) == whole
