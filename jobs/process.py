"""The parent's side of a child process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from ..errors import NanosynthError, explained

LOG_LINES = 12


def host_command(*arguments) -> list[str]:
    """The command line that runs a verb in the Python, or the Blender, that runs this.

    Parameters
    ----------
    *arguments : str or path
        The verb and its flags.
    """
    words = [str(argument) for argument in arguments]
    bpy = sys.modules.get("bpy")
    if bpy is not None and bpy.app.binary_path:  # empty in the wheel
        # By its own name, since the preferences that enable it may not be saved yet.
        extension = __package__.rpartition(".")[0]
        return [bpy.app.binary_path, "--background", "--addons", extension, "--command", "nanosynth", *words]
    return [sys.executable, str(Path(__file__).resolve().parent.parent / "launch.py"), *words]


def plain_command(*arguments) -> list[str]:
    """The command line that runs a verb in this Python's own interpreter, without Blender around it."""
    return [sys.executable, str(Path(__file__).resolve().parent.parent / "launch.py"), *map(str, arguments)]


def plain_variables() -> dict[str, str]:
    """The environment variable by which that interpreter finds the packages that this one has, an extension's wheels too."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))}


def message_in(line: bytes) -> dict | None:
    """The message of `reporting.py` that a line holds; None where it holds something else, or a torn one."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "kind" in message else None


class Child:
    """A child process that speaks in messages and ends with this process.

    The child writes one JSON message a line to stdout (see `reporting.py`), and
    its first is `started`. It reads orders, one JSON object a line, from stdin.
    A tethered child (`jobs.child.tether`) ends when its stdin closes.

    Parameters
    ----------
    argv : list of str
    log : path-like
        File for its stderr and for what is no message on its stdout.
    inbox : queue.SimpleQueue, optional
        Where (child, message) pairs are put, from a thread; the last message of
        a child is None. Several children may share one.
    handshake_s : float
        A child that has not said `started` after so many seconds is killed.
    temporary : path-like, optional
        Folder for the child's temporary files, instead of the system's.
    variables : dict of str to str, optional
        Environment variables beside this process's own.

    Attributes
    ----------
    inbox : queue.SimpleQueue
    process : subprocess.Popen
    """

    def __init__(self, argv, *, log, inbox: queue.SimpleQueue | None = None, handshake_s: float = 120.0, temporary=None, variables=None):
        self.argv, self.log, self.handshake_s = argv, Path(log), handshake_s
        self.inbox = queue.SimpleQueue() if inbox is None else inbox
        self.late = False
        # A group of its own: Ctrl-C in the terminal reaches this process alone, which then ends its children.
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        places = {} if temporary is None else dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        environment = {**os.environ, **places, **(variables or {})}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with explained(self.log):
            stderr = open(self.log, "ab")
        with stderr, explained(argv[0]):
            self.process = subprocess.Popen(argv, stderr=stderr, env=environment, **pipes, **group)
        self.handshake = threading.Timer(handshake_s, self._too_late)
        self.handshake.daemon = True
        self.handshake.start()
        threading.Thread(target=self._listen, name=f"child {self.process.pid}", daemon=True).start()

    def _listen(self):
        with self.process.stdout as stream, open(self.log, "ab", buffering=0) as log:
            for line in stream:
                message = message_in(line)
                if message is None:
                    with suppress(OSError):  # a full disk must not silence the child
                        log.write(line)
                    continue
                self.handshake.cancel()
                self.inbox.put((self, message))
        self.process.wait()
        self.handshake.cancel()
        self.inbox.put((self, None))

    def _too_late(self):
        self.late = True
        self.kill()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, **order):
        """Send an order. A child that has ended meanwhile says so in the inbox."""
        with suppress(OSError):
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def interrupt(self, grace_s: float = 10.0):
        """Ask the child to end, as Ctrl-C does; kill it if it still lives after `grace_s`. Returns at once."""
        if self.alive:
            with suppress(OSError):  # on Windows there may be no console to send it through
                self.process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)
            timer = threading.Timer(grace_s, self.kill)
            timer.daemon = True
            timer.start()

    def untether(self):
        """Close the child's stdin, so that it ends by itself. Returns at once."""
        with suppress(OSError):  # it has ended with an order unread
            self.process.stdin.close()

    def end(self, grace_s: float = 1.0):
        """Untether the child, kill it if it still lives after `grace_s`, and wait for its end."""
        self.untether()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()

    def kill(self):
        """Kill the child and what it has started itself."""
        if not self.alive:
            return
        if os.name == "nt":
            self.process.kill()
        else:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def failure(self, name: str) -> NanosynthError:
        """What to tell the user when the child has ended on its own."""
        code = self.process.poll()
        if self.late:
            how = f"did not start within {self.handshake_s:g} s"
        elif code is not None and code < 0:
            how = f"was ended by {signal_name(-code)}"
        else:
            how = f"ended with exit code {code}"
        lines = last_lines(self.log)
        return NanosynthError(f"{name} {how}.", "The last lines of its log:\n  " + "\n  ".join(lines) if lines else "It left no log.")


def last_lines(path: Path) -> list[str]:
    """The last lines of a log; none where there is no log."""
    if not path.exists():
        return []
    with open(path, "rb") as log:
        log.seek(max(path.stat().st_size - 8192, 0))
        return [line.rstrip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()][-LOG_LINES:]


def signal_name(number: int) -> str:
    """SIGKILL and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
