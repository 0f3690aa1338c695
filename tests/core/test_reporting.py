import io
import json

import pytest

from nanosynth import reporting
from nanosynth.reporting import Clock, ConsoleReporter, EventFile, JsonReporter, Reporter, human_time


class Terminal(io.StringIO):
    def isatty(self):
        return True


def say_everything(reporter):
    reporter.started("task", text="Doing it")
    reporter.progress(1, 4, "one", seconds_left=75, extra=[1])
    reporter.artifact("dir/ö.png", "pair", index=3)
    reporter.warning("careful", "do this")
    reporter.error("broken", "do that", scene=1)
    reporter.progress(4, 4, "four", seconds_left=0)
    reporter.done(made=4)


KINDS = ["started", "progress", "artifact", "warning", "error", "progress", "done"]


def test_every_message_is_one_json_line():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    say_everything(JsonReporter(stream))
    lines = stream.buffer.getvalue().decode().splitlines()
    messages = [json.loads(line) for line in lines]
    assert [m["kind"] for m in messages] == KINDS
    assert messages[1] == {"kind": "progress", "done": 1, "total": 4, "text": "one", "seconds_left": 75, "extra": [1]}
    assert messages[2]["path"] == "dir/ö.png"
    assert messages[3] == {"kind": "warning", "message": "careful", "remedy": "do this"}
    assert messages[4] == {"kind": "error", "message": "broken", "remedy": "do that", "scene": 1}


def test_an_event_file_keeps_messages_and_passes_them_on(tmp_path):
    stream = io.StringIO()
    say_everything(EventFile(tmp_path / "events.jsonl", JsonReporter(stream)))
    kept = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    passed = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(m.pop("time") > 0 for m in kept)
    assert kept == passed and [m["kind"] for m in kept] == KINDS


def test_a_silent_reporter_takes_everything():
    say_everything(Reporter())


def test_on_a_terminal_the_progress_line_overwrites_itself():
    stream = Terminal()
    say_everything(ConsoleReporter(stream))
    assert stream.getvalue().startswith("Doing it\n 25%  one  1 min 15 s left\r")
    assert "Warning: careful do this\n" in stream.getvalue() and "Error: broken do that\n" in stream.getvalue()
    assert stream.getvalue().endswith("100%  four\n")


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    reporter = ConsoleReporter(stream)
    for done in range(1, 31):
        now[0] += 1
        reporter.progress(done, 30, f"number {done}")
    assert stream.getvalue() == "".join(f"{n / 30:4.0%}  number {n}\n" for n in (1, 11, 21, 30))


def test_the_clock_counts_what_was_gained(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    clock = Clock(100, done=40)
    assert clock.seconds_left(40) is None
    now[0] += 0.1
    assert clock.seconds_left(41) is None  # of so short a time the pace is a guess
    now[0] += 9.9
    assert clock.seconds_left(60) == pytest.approx(20)
    assert clock.seconds_left(100) == 0


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599.7, "1 h 00 min"), (7384, "2 h 03 min")])
def test_times_are_readable(seconds, text):
    assert human_time(seconds) == text
