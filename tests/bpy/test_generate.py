"""Data sets made by real workers: the same whatever happens to them."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nanosynth.fields import to_toml
from nanosynth.jobs.generate import generate
from nanosynth.reporting import Reporter
from nanosynth.synth.dataset import Dataset
from nanosynth.synth.recipe import read_recipe
from nanosynth.synth.render import make_pair

LAUNCH = Path(__file__).resolve().parents[2] / "launch.py"
COUNT = 6


@pytest.fixture(scope="module")
def recipe():
    recipe = read_recipe("sio2")
    recipe.count, recipe.camera.render_px, recipe.camera.image_px, recipe.camera.samples = COUNT, 48, 120, 1
    recipe.arrangement.coverage = (0.1, 0.3)
    recipe.camera.field_of_view = (800.0, 800.0)
    return recipe


def content(out):
    files = sorted(path for path in Path(out).rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def reference(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference") / "d"
    generate(recipe, out)
    assert len(content(out)) == 3 + 3 * COUNT
    return out


def test_two_workers_and_renewal_give_the_same_files(recipe, reference, tmp_path):
    generate(recipe, tmp_path / "d", workers=2, renew_after=2)
    assert content(tmp_path / "d") == content(reference)


def test_a_pair_is_the_same_made_alone_and_first(recipe, reference):
    """No scene leaves anything behind that the next one shows."""
    alone = make_pair(recipe, COUNT - 1)
    image, label, instances = Dataset.open(reference).read(COUNT - 1)
    np.testing.assert_array_equal(alone.instances, instances)
    np.testing.assert_array_equal(alone.label, label)
    np.testing.assert_array_equal(alone.image, image)
    assert instances.max() > 0 and set(np.unique(label)) == {0, 255} and image.std() > 1


def test_progress_is_told_from_blenders_workers(recipe, tmp_path):
    sent = []

    class Recorder(Reporter):
        def send(self, kind, **values):
            sent.append(kind)

    dataset = generate(recipe, tmp_path / "d", count=2, reporter=Recorder())
    assert sent == ["started", "progress", *["artifact", "progress"] * 2, "done"]
    import bpy

    assert dataset.info["blender"] == bpy.app.version_string


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_kills_while_rendering_change_nothing(recipe, reference, tmp_path):
    """SIGKILL and Ctrl-C to the parent, SIGKILL to a worker, at random moments."""
    out, file = tmp_path / "d", tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe))
    command = [sys.executable, str(LAUNCH), "generate", "--recipe", str(file), "--workers", "2", "--out", str(out)]

    def alive():
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if str(out).encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                pass
        return found

    rng = np.random.default_rng(3)
    for blow in (signal.SIGKILL, signal.SIGINT, "worker", signal.SIGKILL):
        parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(1, 5))
        workers = [pid for pid in alive() if pid != parent.pid]
        if blow != "worker":
            parent.send_signal(blow)
        elif workers:
            os.kill(workers[0], signal.SIGKILL)
        code = parent.wait()
        assert code in {signal.SIGKILL: (-9, 0), signal.SIGINT: (130, -2, 0), "worker": (0,)}[blow]
        limit = time.monotonic() + 20
        while alive():
            assert time.monotonic() < limit, "a worker outlives its parent"
            time.sleep(0.05)
    generate(recipe, out, workers=2)
    assert content(out) == content(reference)
    assert not list(out.rglob("*.part*")) and not (out / ".work").exists()
