"""Keras, imported in one place: the backend is chosen and its absence explained here."""

from __future__ import annotations

import os
from contextlib import contextmanager

from ..errors import NanosynthError


def load_keras():
    """Import Keras 3 and return the module. `KERAS_BACKEND` chooses the backend, TensorFlow by default.

    Raises
    ------
    NanosynthError
        If Keras or its backend is not installed or does not load.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with without_native_chatter():
            import keras
    except Exception as error:  # a damaged TensorFlow raises nearly anything
        if interrupted(error):
            raise KeyboardInterrupt from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NanosynthError(
            f"The {os.environ['KERAS_BACKEND']} backend of Keras does not load in this Python ({reason}).",
            "Run './nanosynth doctor', which says what is missing and how to install it.",
        ) from error
    return keras


def interrupted(error: BaseException | None) -> bool:
    """Whether an error comes of Ctrl-C or a cancel: Python wraps what is raised while a class is made."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def without_native_chatter():
    """Drop what compiled code writes to stderr: TensorFlow greets before any of its log settings can stop it."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def versions(keras) -> dict:
    """Versions of Python, Keras, its backend and NumPy."""
    import importlib
    import platform

    import numpy

    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
        "numpy": numpy.__version__,
    }
