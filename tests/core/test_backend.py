"""Keras is looked for, and what hinders it is told."""

import sys

import pytest

from nanosynth.errors import NanosynthError
from nanosynth.learn.backend import load_keras

STOPPED = """
class Field:
    def __set_name__(self, owner, name):
        raise KeyboardInterrupt


class Layer:
    field = Field()
"""


@pytest.fixture
def keras(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return (tmp_path / "keras.py").write_text


def test_a_damaged_keras_is_told(keras):
    keras("raise RuntimeError('no such symbol')")
    with pytest.raises(NanosynthError, match=r"tensorflow backend.*no such symbol.*doctor"):
        load_keras()


def test_a_cancel_while_it_is_imported_is_a_cancel(keras):
    keras(STOPPED)
    with pytest.raises(KeyboardInterrupt):
        load_keras()
