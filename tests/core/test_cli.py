"""The command line: help, exit codes, messages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanosynth import cli, doctor
from nanosynth.errors import NanosynthError

ROOT = Path(__file__).resolve().parents[2]
VERBS = cli.parser().listed


@pytest.fixture
def verb(monkeypatch):
    """Replace what `doctor` does by a function of (arguments, reporter)."""

    def replace(function):
        monkeypatch.setattr(cli, "doctor", function)

    return replace


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_examples(name, capsys):
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    examples = shown.partition("examples:")[2]
    assert f"nanosynth {name}" in examples and "--json" in shown


@pytest.mark.parametrize("name", VERBS)
def test_the_examples_are_valid(name, monkeypatch, capsys):
    cli.main([name, "--help"])
    examples = [line.split()[1:] for line in capsys.readouterr().out.partition("examples:")[2].splitlines() if line.strip()]
    for example in examples:
        assert cli.parser(name).parse_args(example).verb == name


def test_the_doctor_knows_every_verb():
    assert {*doctor.NEEDS, "doctor"} == set(VERBS)


def test_wrong_command_line(capsys):
    assert cli.main(["nonsense"]) == 2
    assert cli.main(["select", "RUN"]) == 2
    assert "--epoch" in capsys.readouterr().err


def test_an_unknown_verb_names_the_nearest_and_no_hidden_one(capsys):
    assert cli.main(["evalute", "A", "B"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean evaluate?" in said and "segment" in said
    assert not [name for name in cli.HIDDEN if name in said]


def test_no_hidden_verb_is_listed(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    listed = cli.parser().listed
    assert all(f"    {name}" in shown for name in listed)
    assert not [name for name in cli.HIDDEN if name in shown or name in listed]


def test_help_tells_bounds_units_and_defaults(capsys):
    assert cli.main(["segment", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(0 to 1; default: 0.1)" in shown and "(0 to 1e+06 nm; default: 0)" in shown and "(default: auto)" in shown and "(default: no)" in shown
    assert cli.main(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "What is not given comes from the preset." in shown and "(16 to 4096 px)" in shown
    assert "default: 400" not in shown  # the tree's own, which no preset has


def test_an_error_is_one_line_with_its_remedy(verb, capsys):
    def fail(arguments, reporter):
        raise NanosynthError("recipe.toml: count = -1 is below 1.", "Raise it.")

    verb(fail)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "nanosynth doctor: recipe.toml: count = -1 is below 1. Raise it.\n"
    assert cli.main(["doctor", "--json"]) == 2
    message = json.loads(capsys.readouterr().out)
    assert message == {"kind": "error", "message": "recipe.toml: count = -1 is below 1.", "remedy": "Raise it."}


def test_interruption(verb, capsys):
    def interrupted(arguments, reporter):
        raise KeyboardInterrupt

    verb(interrupted)
    assert cli.main(["doctor"]) == 130
    assert "interrupted" in (told := capsys.readouterr().err) and "begin anew" in told


def test_a_bug_shows_itself(verb):
    def broken(arguments, reporter):
        raise ZeroDivisionError

    verb(broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["doctor"])


def test_doctor_in_a_bare_python(tmp_path):
    """Without any package doctor still works, and names what is missing and the command that brings it."""
    bare = subprocess.run(
        [sys.executable, "-S", str(ROOT / "launch.py"), "doctor", "--json"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert bare.returncode == 1, bare.stderr
    findings = json.loads(bare.stdout)
    assert not findings["ok"] and findings["versions"]["tensorflow"] is None
    assert any("numpy" in p["message"] and "tools/env.py" in p["remedy"] for p in findings["problems"])


def test_generate_without_blender_names_the_way(tmp_path):
    run = subprocess.run(
        [sys.executable, "-S", str(ROOT / "launch.py"), "generate", "--recipe", "sio2", "--out", str(tmp_path / "D")],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert run.returncode == 2 and "needs Blender" in run.stderr and "./nanosynth generate" in run.stderr
    assert not (tmp_path / "D").exists()


def test_train_goes_to_the_training_environment(tmp_path, monkeypatch, capfd):
    """Where TensorFlow is missing, the verb runs in the Python that is named, and its messages and exit code come through."""
    monkeypatch.setattr(cli, "importable", lambda name: False)
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", "/bin/echo")
    assert cli.main(["train", "DATASET", "--out", "RUN"]) == 0
    assert capfd.readouterr().out.split() == [str(ROOT / "launch.py"), "train", "DATASET", "--out", "RUN", "--tethered"]
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", "/bin/false")
    assert cli.main(["train", "DATASET", "--out", "RUN"]) == 1
    killed = tmp_path / "killed python"
    killed.write_text("#!/bin/sh\nkill -$BLOW $$\n")
    killed.chmod(0o755)
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(killed))
    monkeypatch.setenv("BLOW", "KILL")
    assert cli.main(["train", "DATASET", "--out", "RUN"]) == 2
    told = capfd.readouterr().err
    assert "ended by SIGKILL" in told and "Run the same command again" in told and len(told.splitlines()) == 1
    monkeypatch.setenv("BLOW", "INT")
    assert cli.main(["train", "DATASET", "--out", "RUN"]) == 130
    assert "interrupted" in (told := capfd.readouterr().err) and "go on" in told
    monkeypatch.setenv("NANOSYNTH_LEARN_PYTHON", str(tmp_path / "no python"))
    assert cli.main(["train", "DATASET", "--out", "RUN"]) == 2
    assert "no python" in capfd.readouterr().err


def test_a_training_environment_without_keras_says_so_and_looks_no_further(tmp_path):
    """Else it would start itself, again and again."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho >> {tmp_path / "started"}\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    run = subprocess.run(
        [python, ROOT / "launch.py", "train", "DATASET", "--out", tmp_path / "RUN"],
        capture_output=True, text=True, env={**os.environ, "NANOSYNTH_LEARN_PYTHON": str(python)}, timeout=60,
    )  # fmt: skip
    assert run.returncode == 2 and "the training environment lacks" in run.stderr, run.stderr
    assert len((tmp_path / "started").read_text().splitlines()) == 2


def test_output_into_a_closed_pipe(tmp_path):
    run = subprocess.run(
        f"{sys.executable} {ROOT / 'launch.py'} doctor | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in run.stderr and "BrokenPipe" not in run.stderr
