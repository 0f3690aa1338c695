"""The messages of every long-running task, for people and for programs.

A task is given a reporter and calls its methods; it never prints. The message
kinds are `started`, `progress`, `artifact`, `warning`, `error`, `done`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from .files import append_line


class Reporter:
    """Takes messages and keeps still. The base of the other reporters."""

    def send(self, kind: str, **values):
        """Deliver one message; `values` must be JSON-serialisable."""

    def started(self, task: str, **values):
        self.send("started", task=task, **values)

    def progress(self, done: float, total: float, text: str = "", seconds_left: float | None = None, **values):
        self.send("progress", done=done, total=total, text=text, seconds_left=seconds_left, **values)

    def artifact(self, path, role: str, **values):
        self.send("artifact", path=str(path), role=role, **values)

    def warning(self, message: str, remedy: str = "", **values):
        self.send("warning", message=message, remedy=remedy, **values)

    def error(self, message: str, remedy: str = "", **values):
        self.send("error", message=message, remedy=remedy, **values)

    def done(self, **values):
        self.send("done", **values)


class JsonReporter(Reporter):
    """One JSON object a line on a stream (stdout by default), flushed at once.

    Non-ASCII text is escaped, so that the stream's encoding does not matter.
    """

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout

    def send(self, kind, **values):
        self.stream.write(json.dumps({"kind": kind, **values}) + "\n")
        self.stream.flush()


class ConsoleReporter(Reporter):
    """For people: a progress line that overwrites itself, warnings and errors below it."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.width = 0
        self.printed = 0.0

    def line(self, text, end="\n"):
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
        self.stream.write(text + end)
        self.stream.flush()
        self.width = len(text) if not end else 0

    def send(self, kind, **values):
        if kind == "progress":
            now = time.monotonic()
            finished = values["done"] >= values["total"]
            # A log file gets a line now and then instead of a line that overwrites itself.
            if not self.live and not finished and now - self.printed < 10:
                return
            self.printed = now
            share = values["done"] / values["total"] if values["total"] else 1.0
            left = values["seconds_left"]
            text = f"{share:4.0%}  {values['text']}" + (f"  {human_time(left)} left" if left and not finished else "")
            self.line(text, end="" if self.live and not finished else "\n")
        elif kind in ("warning", "error"):
            self.line(f"{kind.capitalize()}: {values['message']} {values['remedy']}".rstrip())
        elif kind == "started":
            self.line(values.get("text") or values["task"])
        elif kind == "done" and values.get("text"):
            self.line(values["text"])


class EventFile(Reporter):
    """Append every message to a file and pass it on to another reporter."""

    def __init__(self, path, beyond: Reporter):
        self.path = Path(path)
        self.beyond = beyond

    def send(self, kind, **values):
        append_line(self.path, {"kind": kind, "time": time.time(), **values})
        self.beyond.send(kind, **values)


class Clock:
    """Estimates the time left from the pace since it was started; a pace of less than a second is none."""

    LEAST_S = 1.0

    def __init__(self, total: float, done: float = 0.0):
        self.total, self.done_before, self.start = total, done, time.monotonic()

    def seconds_left(self, done: float) -> float | None:
        gained, taken = done - self.done_before, time.monotonic() - self.start
        if gained <= 0 or (taken < self.LEAST_S and done < self.total):
            return None
        return taken / gained * (self.total - done)


def human_time(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
