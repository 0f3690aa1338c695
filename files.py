"""Files that are either whole or not there: write beside, then rename."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import contextmanager
from pathlib import Path

from .errors import NanosynthError, explained


@contextmanager
def written_whole(path):
    """Give a temporary path beside `path`; rename it there if the block succeeds.

    Parameters
    ----------
    path : path-like
        The file to be written. Its folder is made if it is missing.

    Yields
    ------
    pathlib.Path
        A path in the same folder with the same suffix, to be written to.

    Raises
    ------
    NanosynthError
        If the disk is full, the folder read-only and the like. Nothing is left
        behind then, and an older `path` stays as it was.
    """
    path = Path(path)
    # A name may have 255 bytes, and a letter up to four.
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder):
    """Delete the temporary files that a killed process has left in `folder`."""
    for leftover in Path(folder).glob(".*.part*"):
        leftover.unlink(missing_ok=True)


def write_bytes(path, data: bytes):
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def write_text(path, text: str):
    write_bytes(path, text.encode("utf-8"))


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path):
    """Read a JSON file; a damaged one is named."""
    with explained(path):
        data = Path(path).read_bytes()
    try:
        return json.loads(data)
    except ValueError as error:
        raise NanosynthError(f"{path}: not valid JSON ({error}).", "Restore the file or make its folder again.") from error


def append_line(path, value):
    """Append one JSON object as a line and push it to the disk."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    with explained(path), open(path, "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path) -> list:
    """Read a file of JSON lines; a last line torn by a crash is left out.

    Raises
    ------
    NanosynthError
        If a line before the last cannot be read.
    """
    path = Path(path)
    if not path.exists():
        return []
    with explained(path):
        lines = path.read_bytes().split(b"\n")
    values = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):  # no newline at its end: torn
                break
            raise NanosynthError(f"{path}: line {number} is damaged.", "Restore the file from a copy, or delete that line.") from error
    return values


def write_lines(path, values):
    write_text(path, "".join(json.dumps(v, ensure_ascii=False, allow_nan=False) + "\n" for v in values))


def mend_lines(path):
    """Cut off a last line torn by a crash, so that appending is safe again."""
    path = Path(path)
    if path.exists():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            write_bytes(path, whole)


def sha256(path) -> str:
    with explained(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Locked(NanosynthError):
    """A lock file that another process holds."""


@contextmanager
def locked(path, doing: str):
    """Hold a lock file, which only one process at a time can.

    The operating system releases the lock however the process ends, so the
    file itself may stay.

    Parameters
    ----------
    path : path-like
        The lock file; its folder is made if it is missing.
    doing : str
        What the holder does, for the message: "generating into", ...

    Raises
    ------
    Locked
        If another process holds it.
    """
    path = Path(path)
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")
    with file:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Locked(f"{path.parent}: another process is {doing} this folder.", "Wait for it to end, or stop it.") from error
        yield
