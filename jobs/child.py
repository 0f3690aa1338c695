"""The child's side of a child process: messages out, orders in, an end with its parent."""

from __future__ import annotations

import _thread
import json
import os
import queue
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import NanosynthError
from ..reporting import EventFile, Reporter

EXIT_UNTETHERED = 3
EVENTS, HEARTBEAT, CANCEL = "events.jsonl", "heartbeat", "cancel"
HEARTBEAT_S = 1.0
LOOK_S = 0.2
"""How often a detached process looks for the cancel file."""


AT_END: list = []
"""What a tethered process calls before it ends with its parent: to take its own children along."""


def private_stdout():
    """Keep stdout for messages alone.

    Returns
    -------
    text stream
        The process's stdout. Whatever else writes to file descriptor 1 from now
        on, Blender's own prints included, goes to stderr.
    """
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def tether() -> queue.SimpleQueue:
    """End this process as soon as its stdin closes, which it does however the parent ends.

    Returns
    -------
    queue.SimpleQueue
        The orders that come in: each line of stdin, read as JSON.
    """
    orders = queue.SimpleQueue()

    def listen():
        rest = b""
        # os.read, because a thread inside a buffered stdin spoils the interpreter's orderly end
        while data := os.read(0, 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                orders.put(json.loads(line))
        for call in AT_END:
            call()
        os._exit(EXIT_UNTETHERED)

    threading.Thread(target=listen, name="tether", daemon=True).start()
    return orders


@contextmanager
def interruptible():
    """Let every polite request to end raise KeyboardInterrupt, as Ctrl-C does. Main thread only."""
    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []
    before = {getattr(signal, name): signal.signal(getattr(signal, name), signal.default_int_handler) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def detached(folder, reporter: Reporter, grace_s: float = 0.8):
    """Live without a parent: leave messages and a heartbeat in files, and obey a cancel file.

    The last message in the file is `done` (with `cancelled` true after a
    cancel), or `error`; where neither is there, the process was ended by force.

    Parameters
    ----------
    folder : path-like
        Where `jobs.detached.Detached` finds the files.
    reporter : Reporter
        Gets the messages as well.
    grace_s : float
        A cancelled process that has not ended by itself after this time ends at
        once. What it makes is written whole, so nothing is lost but a step.

    Yields
    ------
    Reporter
        To be used inside the block; being cancelled raises KeyboardInterrupt there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CANCEL).unlink(missing_ok=True)
    events = EventFile(folder / EVENTS, reporter)
    over = threading.Event()

    def leave():
        for name in (HEARTBEAT, CANCEL):
            (folder / name).unlink(missing_ok=True)

    def live():
        looks = 0
        while not (folder / CANCEL).exists():
            if looks % round(HEARTBEAT_S / LOOK_S) == 0:
                with suppress(OSError):
                    (folder / HEARTBEAT).touch()
            looks += 1
            if over.wait(LOOK_S):
                return
        _thread.interrupt_main()
        if not over.wait(grace_s):
            events.done(cancelled=True)
            leave()
            os._exit(EXIT_UNTETHERED)

    (folder / HEARTBEAT).touch()
    thread = threading.Thread(target=live, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield events
    except NanosynthError as error:
        events.error(error.message, error.remedy)
        raise
    except KeyboardInterrupt:
        events.done(cancelled=True)
        raise
    finally:
        over.set()
        thread.join()
        leave()
