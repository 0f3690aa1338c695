"""The one exception that tells a user what is wrong and how to mend it."""

from __future__ import annotations

import errno
from contextlib import contextmanager


class NanosynthError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    message : str
        One line that names the file or parameter.
    remedy : str, optional
        One line that says what to do about it.
    """

    def __init__(self, message: str, remedy: str = ""):
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


_REMEDIES = {
    errno.ENOSPC: ("the disk is full", "Free some space and run the same command again; finished work is kept."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space and run the same command again; finished work is kept."),
    errno.EROFS: ("the folder is read-only", "Choose a folder you can write to."),
    errno.EACCES: ("permission denied", "Choose a folder you can read and write, or change its permissions."),
    errno.EPERM: ("permission denied", "Choose a folder you can read and write, or change its permissions."),
    errno.ENOENT: ("no such file or folder", "Check the path."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Check the path."),
    errno.EEXIST: ("a file stands where a folder is needed", "Choose another folder."),
    errno.EISDIR: ("this is a folder, not a file", "Name a file."),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter path."),
}


@contextmanager
def explained(path):
    """Turn an operating-system error about `path` into a `NanosynthError`."""
    try:
        yield
    except OSError as error:
        known = _REMEDIES.get(error.errno)
        if known is None:
            raise
        raise NanosynthError(f"{path}: {known[0]}.", known[1]) from error
