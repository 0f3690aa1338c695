import errno
import json
import os

import pytest

from nanosynth import files
from nanosynth.errors import NanosynthError, explained


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "new folder" / "é.txt"
    files.write_text(path, "öne")
    assert path.read_bytes() == "öne".encode()
    with pytest.raises(KeyError), files.written_whole(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent and temporary.suffix == path.suffix
        raise KeyError
    assert path.read_text(encoding="utf-8") == "öne" and names(path.parent) == ["é.txt"]


def test_the_longest_names_that_a_file_may_have(tmp_path):
    for name in ("粒" * 83 + ".png", "a" * 251 + ".png"):
        files.write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize("code, word", [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EACCES, "denied")])
def test_a_failing_disk_is_explained(tmp_path, monkeypatch, code, word):
    def fail(source, target):
        raise OSError(code, "x")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(NanosynthError, match=word) as failure:
        files.write_text(tmp_path / "a.txt", "b")
    assert "a.txt" in failure.value.message and failure.value.remedy and names(tmp_path) == []


def test_an_unknown_system_error_stays_a_bug():
    with pytest.raises(ChildProcessError), explained("x"):
        raise ChildProcessError(errno.ECHILD, "x")


def test_sweeping_removes_leftovers_alone(tmp_path):
    with pytest.raises(KeyError), files.written_whole(tmp_path / "a.png") as temporary:
        leftover = temporary.name
        raise KeyError
    for name in (leftover, "a.png", ".hidden", "b.part.png"):
        (tmp_path / name).touch()
    files.sweep(tmp_path)
    assert names(tmp_path) == [".hidden", "a.png", "b.part.png"]


def test_lines(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert files.read_lines(path) == []
    for value in ({"é": 1}, [2.5], "three"):
        files.append_line(path, value)
    assert files.read_lines(path) == [{"é": 1}, [2.5], "three"]
    whole = path.read_bytes()
    for torn in (b'{"a"', b"1", b"\xc3"):  # even if what is left would read as a value
        path.write_bytes(whole + torn)
        files.mend_lines(path)
        assert path.read_bytes() == whole
    files.mend_lines(tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()
    path.write_bytes(b"{}\n{\n{}\n")
    with pytest.raises(NanosynthError, match="line 2"):
        files.read_lines(path)


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    assert files.read_lines(path) == [{"a": 1}]


def test_numbers_that_json_lacks_are_refused(tmp_path):
    for write in (files.write_json, files.append_line, lambda path, value: files.write_lines(path, [value])):
        with pytest.raises(ValueError):
            write(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": [1, "é"]})
    assert files.read_json(path) == json.loads(path.read_text(encoding="utf-8")) == {"a": [1, "é"]}
    for damaged in (b"{", b'{"a": "\xff\xfe"}', b"\x00\xff" * 40):
        path.write_bytes(damaged)
        with pytest.raises(NanosynthError, match="x.json"):
            files.read_json(path)
    with pytest.raises(NanosynthError, match="no such file"):
        files.read_json(tmp_path / "y.json")


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
