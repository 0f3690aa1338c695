"""The training environment is made whole or not at all. With a real venv and pip, and a wheel made here."""

import os
import subprocess
import sys
import zipfile

import pytest

from nanosynth.errors import NanosynthError
from nanosynth.jobs import environment
from nanosynth.reporting import Reporter


class Recorder(Reporter):
    def __init__(self, stop_at=None):
        self.sent, self.stop_at = [], stop_at

    def send(self, kind, **values):
        self.sent.append((kind, values))
        if self.stop_at and self.stop_at in str(values.get("text")):
            raise KeyboardInterrupt


@pytest.fixture
def wheel(tmp_path):
    """A package `tiny` as the requirement that names its wheel."""
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "VALUE = 7\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            "tiny-1.0.dist-info/RECORD",
            "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n",
        )
    return [str(path)]


def value(folder):
    return subprocess.run(
        [environment.interpreter(folder), "-c", "import tiny; print(tiny.VALUE)"], capture_output=True, text=True
    ).stdout.strip()


def test_made_cancelled_and_made_again(tmp_path, wheel):
    folder = tmp_path / "dàta" / "training"
    told = Recorder()
    environment.make(folder, told, requirements=wheel)
    assert value(folder) == "7" and [p.name for p in folder.parent.iterdir()] == ["training"]
    assert [kind for kind, _ in told.sent][0] == "started" and told.sent[-1][0] == "done"
    (folder / "former").touch()
    with pytest.raises(KeyboardInterrupt):
        environment.make(folder, Recorder("installing"), requirements=wheel)
    assert value(folder) == "7" and (folder / "former").exists() and [p.name for p in folder.parent.iterdir()] == ["training"]
    (folder.parent / "training.part").mkdir()  # of a process that was killed
    environment.make(folder, Recorder(), requirements=wheel)
    assert value(folder) == "7" and not (folder / "former").exists() and [p.name for p in folder.parent.iterdir()] == ["training"]


def test_the_users_settings_of_pip_hold(tmp_path, wheel, monkeypatch):
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {tmp_path}\n", encoding="utf-8")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)  # it would go before the file
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    environment.make(tmp_path / "training", Recorder(), requirements=["tiny==1.0"])
    assert value(tmp_path / "training") == "7"


def test_a_package_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NanosynthError, match="could not be installed") as caught:
        environment.make(tmp_path / "e", Recorder(), requirements=[str(tmp_path / "missing-1.0-py3-none-any.whl")])
    assert "missing" in caught.value.remedy and not list(tmp_path.iterdir())


def test_an_unfit_python_is_refused(tmp_path):
    for version, words in (("3 9", "is Python 3.9"), ("3 14", "is Python 3.14")):
        fake = tmp_path / "python"
        fake.write_text(f"#!/bin/sh\necho {version}\n")
        fake.chmod(0o755)
        with pytest.raises(NanosynthError, match=words):
            environment.make(tmp_path / "e", Recorder(), python=str(fake))
    fake.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(NanosynthError, match="lacks venv"):
        environment.make(tmp_path / "e", Recorder(), python=str(fake))
    with pytest.raises(NanosynthError, match="does not run"):
        environment.make(tmp_path / "e", Recorder(), python=str(tmp_path / "nowhere"))
    assert not (tmp_path / "e").exists()


def test_the_packages_are_those_of_the_checkout_without_test_tools():
    names = {line.split("==")[0].lower() for line in environment.pinned("linux")}
    assert {"tensorflow_cpu", "keras", "numpy", "scikit-image", "matplotlib"} <= names
    assert not names & environment.TEST_TOOLS
    assert "tensorflow" in {line.split("==")[0] for line in environment.pinned("darwin")}


@pytest.mark.skipif(os.name == "nt", reason="POSIX processes")
def test_what_it_runs_ends_with_its_parent(tmp_path):
    """The verb's own child is killed when the parent's end of stdin closes."""
    program = (
        f"import sys; sys.path.insert(0, {str(environment.REQUIREMENTS.parents[1])!r}); import launch; sys.path.pop(0); launch.load_package()\n"
        "from nanosynth.jobs import child, environment\nchild.tether()\n"
        "environment._run([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'], 'x', lambda line: print(line, flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    grandchild = int(process.stdout.readline())
    process.stdin.close()
    process.wait()
    process.stdout.close()
    for _ in range(200):
        try:
            state = open(f"/proc/{grandchild}/stat").read().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        import time

        time.sleep(0.05)
    raise AssertionError("the grandchild lives on")
