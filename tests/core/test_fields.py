import dataclasses
import tomllib
from dataclasses import dataclass

import numpy as np
import pytest

from nanosynth import fields
from nanosynth.errors import NanosynthError
from nanosynth.fields import Range, chosen, flag, from_dict, number, section, span, table, text, to_dict, to_toml


@dataclass
class Part:
    size: float = number(1.5, "Its size.", unit="nm", low=0.1, high=10.0)
    kind: str = text("round", "Its kind.", choices=("round", "square"))

    def check(self):
        if self.kind == "square" and self.size > 5:
            yield "size", "is too large for a square.", "Make it smaller."


@dataclass
class Tree:
    count: int = number(3, "How many.", low=1, high=9)
    spread: Range = span(0.1, 0.3, "From, to.", unit="px", low=0.0, high=1.0)
    name: str = text("x", "Free text.")
    on: bool = flag(True, "Switch.")
    part: Part = section(Part, "One part.")
    parts: list[Part] = table(lambda: [Part()], "All parts.")


def refused(data, *words):
    with pytest.raises(NanosynthError) as error:
        from_dict(Tree, data, source="r.toml")
    for word in ("r.toml", *words):
        assert word in str(error.value), (word, str(error.value))
    assert error.value.remedy


def test_defaults():
    assert from_dict(Tree, {}) == Tree()
    assert Tree().parts is not Tree().parts


def test_round_trip():
    tree = from_dict(Tree, {"count": 7, "spread": [0.2, 0.25], "name": 'a "quoted" é', "on": False, "parts": [{"size": 3}, {"kind": "square"}]})
    again = from_dict(Tree, tomllib.loads(to_toml(tree)))
    assert again == tree and to_toml(again) == to_toml(tree)
    assert to_dict(tree)["parts"][0] == {"size": 3.0, "kind": "round"}
    assert tree.spread == (0.2, 0.25) and isinstance(tree.parts[0].size, float)


def test_floats_survive_single_precision():
    rng = np.random.default_rng(0)
    for value in [0.1, 1 / 3, 1e-7, 123456.789, *rng.normal(0, 1e3, 500)]:
        canonical = fields.canonical(value)
        assert np.float32(canonical) == np.float32(value)
        assert fields.canonical(float(np.float32(canonical))) == canonical == fields.canonical(canonical)
    assert from_dict(Part, {"size": float(np.float32(0.7))}).size == 0.7
    assert fields.canonical(0.1) == 0.1


@pytest.mark.parametrize(
    "data, words",
    [
        ({"count": 10}, ["count = 10", "highest value 9"]),
        ({"count": 0}, ["count = 0", "lowest value 1"]),
        ({"count": 2.5}, ["count = 2.5", "whole number"]),
        ({"count": "3"}, ["count = '3'", "number"]),
        ({"count": True}, ["count = True", "number"]),
        ({"count": 10**400}, ["count = 1000", "number"]),
        ({"part": {"size": 10**400}}, ["part.size = 1000", "number"]),
        ({"part": {"size": 1e300}}, ["part.size = 1e+300", "number"]),
        ({"part": {"size": 11.0}}, ["part.size = 11.0 nm", "10.0 nm"]),
        ({"part": {"size": float("nan")}}, ["part.size = nan", "number"]),
        ({"part": {"size": float("inf")}}, ["part.size = inf", "number"]),
        ({"parts": [{}, {"size": -1}]}, ["parts[1].size = -1.0 nm", "0.1 nm"]),
        ({"parts": {}}, ["parts", "list"]),
        ({"parts": [3]}, ["parts[0]", "section"]),
        ({"part": 3}, ["part", "section"]),
        ({"spread": [0.3, 0.2]}, ["spread", "[0.2, 0.3]"]),
        ({"spread": 0.3}, ["spread", "pair"]),
        ({"spread": [0.1, 0.2, 0.3]}, ["spread", "pair"]),
        ({"spread": [0.1, 2]}, ["spread", "2.0 px", "1.0 px"]),
        ({"on": 1}, ["on = 1", "true or false"]),
        ({"name": 3}, ["name = 3", "text"]),
        ({"part": {"kind": "rund"}}, ["part.kind", "'round'"]),
        ({"cuont": 3}, ["cuont", "Did you mean count"]),
        ({"part": {"sizes": 3}}, ["part.sizes", "Did you mean part.size"]),
        ({"part": {"kind": "square", "size": 6}}, ["part.size", "too large for a square", "smaller"]),
    ],
)
def test_a_wrong_value_is_named_with_its_bound_and_unit(data, words):
    refused(data, *words)


def test_whole_floats_are_whole_numbers():
    assert from_dict(Tree, {"count": 4.0}).count == 4


def test_files(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(to_toml(Tree(count=5)), encoding="utf-8")
    assert fields.read_toml(Tree, path).count == 5
    for data in (b"count = ", b"count = 1\ncount = 2", b'name = "\xff"'):
        path.write_bytes(data)
        with pytest.raises(NanosynthError, match="not valid TOML"):
            fields.read_toml(Tree, path)
    with pytest.raises(NanosynthError, match="no such file"):
        fields.read_toml(Tree, tmp_path / "none.toml")


def test_the_reference_lists_every_field():
    rows = fields.reference(Tree).splitlines()
    assert "| `part.size` | 1.5 | 0.1 to 10.0 | nm | Its size. |" in rows
    assert "| `parts[].kind` | round | round, square |  | Its kind. |" in rows
    assert "| `spread` | [0.1, 0.3] | 0.0 to 1.0 | px | From, to. |" in rows
    assert len(rows) == 2 + 4 + 2 + 2


def test_every_field_of_the_recipe_is_described_and_its_default_valid():
    from nanosynth.synth.recipe import Recipe

    for name, _, spec, _ in fields.walk(Recipe):
        assert spec.doc.endswith("."), name
    assert from_dict(Recipe, to_dict(Recipe())) == Recipe()
    assert dataclasses.is_dataclass(Recipe)


def test_a_field_added_later_is_not_among_what_was_chosen():
    @dataclass
    class Larger(Tree):
        added: Range = span(0.0, 0.0, "A later addition.", low=0.0, high=1.0)

    values = {"count": 5, "part": {"size": 2.0}, "parts": [{}, {"kind": "square"}]}
    assert chosen(from_dict(Larger, values)) == chosen(from_dict(Tree, values)) == values
    assert chosen(from_dict(Larger, {**values, "added": [0.0, 0.5]}))["added"] == [0.0, 0.5]
