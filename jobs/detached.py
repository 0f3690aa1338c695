"""Jobs that outlive the process that started them, followed through files."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from ..errors import NanosynthError, explained
from ..files import read_json, write_json
from .child import CANCEL, EVENTS, HEARTBEAT, HEARTBEAT_S
from .process import last_lines, message_in

JOB, LOG = "job.json", "log.txt"
SILENCE_S = 10 * HEARTBEAT_S
"""A heart that has not beaten for so long has stopped."""
START_S = 300.0
"""The same before the first message: programs take time to load."""


def job_folder(out) -> Path:
    """Where the job that makes the folder `out` keeps its files: beside it, so that whoever finds one finds the other."""
    out = Path(out)
    return out.with_name(out.name + ".job")


class Detached:
    """Follow a detached job (see `jobs.child.detached`) from any process, at any time.

    Parameters
    ----------
    folder : path-like
        The job's folder.

    Attributes
    ----------
    process : subprocess.Popen or None
        Where this object has started the job.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.read_to = 0
        self.process = None

    @classmethod
    def start(cls, argv, folder, **facts) -> Detached:
        """Start a command that will outlive this process; what it prints goes to `log.txt`.

        Parameters
        ----------
        argv : list of str
        folder : path-like
        **facts
            Noted in `job.json` for whoever finds the job; JSON-serialisable.

        Raises
        ------
        NanosynthError
            If a job is at work in that folder, or the program does not exist.
        """
        job = cls(folder)
        if job.alive():
            raise NanosynthError(f"{folder}: a job is at work there already.", "Wait for its end, or cancel it.")
        for name in (EVENTS, HEARTBEAT, CANCEL, LOG):
            (job.folder / name).unlink(missing_ok=True)
        write_json(job.folder / JOB, {"argv": [str(word) for word in argv], "begun": time.time(), "host": platform.node(), **facts})
        if os.name == "nt":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        else:
            apart = {"start_new_session": True}
        with explained(argv[0]), open(job.folder / LOG, "wb") as log:
            job.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **apart)
        (job.folder / HEARTBEAT).touch()  # for those who look before the job itself has started its heart
        return job

    def facts(self) -> dict:
        """What was noted at its start; empty where no job was ever started."""
        return read_json(self.folder / JOB) if (self.folder / JOB).is_file() else {}

    def messages(self) -> list[dict]:
        """The messages since the last call; at the first call of an attached job, all. Lines that hold none are passed over."""
        try:
            with open(self.folder / EVENTS, "rb") as file:
                file.seek(self.read_to)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.read_to += len(whole)
        return [message for line in whole.split(b"\n") if (message := message_in(line)) is not None]

    def alive(self) -> bool:
        """Whether the job's heart has beaten lately."""
        if self.process is not None and self.process.poll() is not None:
            return False
        try:
            age = time.time() - (self.folder / HEARTBEAT).stat().st_mtime
        except FileNotFoundError:
            return False
        return age < (SILENCE_S if (self.folder / EVENTS).exists() else START_S)

    def cancel(self):
        """Ask the job to end. Returns at once."""
        with explained(self.folder):
            (self.folder / CANCEL).touch()

    def kill(self):
        """End a job that this object has started and that does not hear."""
        if self.process is not None:
            self.process.kill()

    def forget(self):
        """Take away the folder of an ended job."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def failure(self, name: str) -> NanosynthError:
        """What to tell the user of a job that has ended without a word."""
        lines = last_lines(self.folder / LOG)
        return NanosynthError(
            f"{name} has ended unexpectedly.",
            "The last lines of its log:\n  " + "\n  ".join(lines) if lines else "It left no log; start it again to go on.",
        )
