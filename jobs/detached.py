"""Jobs that outlive the process that started them, followed through files."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from ..errors import explained
from .child import CANCEL, EVENTS, HEARTBEAT, HEARTBEAT_S

LOG = "log.txt"
SILENCE_S = 10 * HEARTBEAT_S


class Detached:
    """Follow a detached job (see `jobs.child.detached`) from any process, at any time.

    Parameters
    ----------
    folder : path-like
        The job's folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.read_to = 0

    @classmethod
    def start(cls, argv, folder) -> Detached:
        """Start a command that will outlive this process; what it prints goes to `log.txt`."""
        folder = Path(folder)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        job = cls(folder)
        events = folder / EVENTS
        job.read_to = events.stat().st_size if events.exists() else 0
        if os.name == "nt":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        else:
            apart = {"start_new_session": True}
        with explained(argv[0]), open(folder / LOG, "ab") as log:
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **apart)
        return job

    def messages(self) -> list[dict]:
        """The messages since the last call; at the first call of an attached job, all."""
        try:
            with open(self.folder / EVENTS, "rb") as file:
                file.seek(self.read_to)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.read_to += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def alive(self) -> bool:
        """Whether the job's heart has beaten lately."""
        try:
            return time.time() - (self.folder / HEARTBEAT).stat().st_mtime < SILENCE_S
        except FileNotFoundError:
            return False

    def cancel(self):
        """Ask the job to end. Returns at once."""
        with explained(self.folder):
            (self.folder / CANCEL).touch()
