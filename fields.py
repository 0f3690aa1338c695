"""Described parameters: default, bounds, unit and meaning, stated once.

A settings tree is made of dataclasses whose fields are declared with the
functions below. Validation, TOML in and out, the reference pages, Blender's
property groups and command-line flags are all derived from these declarations.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import tomllib
import typing
from dataclasses import MISSING, dataclass
from pathlib import Path

import numpy as np

from .errors import NanosynthError, explained


@dataclass(frozen=True)
class Spec:
    """What is known of a field beside its type."""

    doc: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


Range = tuple[float, float]
"""A pair (lowest, highest) from which a value is drawn for each scene."""


def number(default, doc, *, unit="", low=None, high=None):
    """A float or int field with inclusive bounds."""
    return dataclasses.field(default=default, metadata={"spec": Spec(doc, unit, low, high)})


def span(low_default, high_default, doc, *, unit="", low=None, high=None):
    """A `Range` field; both ends lie within the bounds and are in order."""
    default = (canonical(low_default), canonical(high_default))
    return dataclasses.field(default=default, metadata={"spec": Spec(doc, unit, low, high)})


def text(default, doc, *, choices=()):
    return dataclasses.field(default=default, metadata={"spec": Spec(doc, choices=tuple(choices))})


def flag(default, doc):
    return dataclasses.field(default=default, metadata={"spec": Spec(doc)})


def section(kind, doc):
    return dataclasses.field(default_factory=kind, metadata={"spec": Spec(doc)})


def table(default_factory, doc):
    """A list of sections."""
    return dataclasses.field(default_factory=default_factory, metadata={"spec": Spec(doc)})


def canonical(value: float) -> float:
    """The shortest decimal number that single precision cannot tell from `value`.

    Blender's float properties are single precision. Every float of a settings
    tree goes through here once, so TOML -> properties -> TOML changes nothing.
    """
    return float(str(np.float32(value)))


@functools.cache
def specs(kind):
    """(name, type, Spec) of each field of a settings dataclass, in order."""
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name], field.metadata["spec"]) for field in dataclasses.fields(kind))


def default_of(kind, name):
    field = kind.__dataclass_fields__[name]
    return field.default if field.default is not MISSING else field.default_factory()


def from_dict(kind, data: dict, where: str = "", source: str = ""):
    """Build and validate a settings tree from plain dictionaries.

    Parameters
    ----------
    kind : dataclass type
    data : dict
        As read from TOML. Missing keys take their defaults.
    where : str
        Dotted name of this section, for messages.
    source : str
        File name, for messages.

    Raises
    ------
    NanosynthError
        Naming field, value, bound and unit; an unknown key with the nearest known one.
    """
    known = {name: (hint, spec) for name, hint, spec in specs(kind)}
    label = f"{source}: " if source else ""
    prefix = f"{where}." if where else ""
    if not isinstance(data, dict):
        raise NanosynthError(f"{label}{where} must be a section, not {data!r}.", f"Write it as [{where}].")
    values = {}
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.0)
            raise NanosynthError(f"{label}unknown key {prefix}{key}.", f"Did you mean {prefix}{near[0]}?")
        hint, spec = known[key]
        values[key] = _convert(hint, spec, value, prefix + key, source)
    built = kind(**values)
    check = getattr(built, "check", None)
    if check:
        for name, message, remedy in check():
            raise NanosynthError(f"{label}{prefix}{name} {message}", remedy)
    return built


def _convert(hint, spec, value, name, source):
    label = f"{source}: " if source else ""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, name, source)
    if origin is list:
        if not isinstance(value, list):
            raise NanosynthError(f"{label}{name} must be a list of sections, not {value!r}.", f"Write each as [[{name}]].")
        (item,) = typing.get_args(hint)
        return [from_dict(item, entry, f"{name}[{i}]", source) for i, entry in enumerate(value)]
    if hint == Range:
        if not (isinstance(value, (list, tuple)) and len(value) == 2):
            raise NanosynthError(f"{label}{name} = {value!r} must be a pair [lowest, highest]{_in(spec)}.", f"Write {name.rsplit('.')[-1]} = [a, b].")
        low, high = (_number(float, spec, v, name, source) for v in value)
        if low > high:
            raise NanosynthError(f"{label}{name} = [{low}, {high}] has its ends in the wrong order.", f"Write [{high}, {low}].")
        return (low, high)
    if hint in (float, int):
        return _number(hint, spec, value, name, source)
    if hint is bool:
        if not isinstance(value, bool):
            raise NanosynthError(f"{label}{name} = {value!r} must be true or false.", "Write true or false, without quotes.")
        return value
    if hint is str:
        if not isinstance(value, str):
            raise NanosynthError(f"{label}{name} = {value!r} must be text.", "Put it in quotes.")
        if spec.choices and value not in spec.choices:
            near = difflib.get_close_matches(value, spec.choices, 1, 0.0)
            raise NanosynthError(f"{label}{name} = {value!r} is not one of {', '.join(spec.choices)}.", f"Did you mean {near[0]!r}?")
        return value
    raise TypeError(f"{name}: no rule for {hint}")


_LARGEST = float(np.finfo(np.float32).max)


def _in(spec):
    return f" in {spec.unit}" if spec.unit else ""


def _number(kind, spec, value, name, source):
    label = f"{source}: " if source else ""
    # Not math.isfinite: a whole number of TOML may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise NanosynthError(f"{label}{name} = {value!r} must be a number{_in(spec)}.", "Write a plain number, without quotes or unit.")
    if kind is int and value != int(value):
        raise NanosynthError(f"{label}{name} = {value!r} must be a whole number{_in(spec)}.", f"Write {round(value)}.")
    value = int(value) if kind is int else canonical(value)
    unit = f" {spec.unit}" if spec.unit else ""
    if spec.low is not None and value < spec.low:
        raise NanosynthError(f"{label}{name} = {value}{unit} is below its lowest value {spec.low}{unit}.", f"Raise it to {spec.low}{unit} or more.")
    if spec.high is not None and value > spec.high:
        raise NanosynthError(f"{label}{name} = {value}{unit} is above its highest value {spec.high}{unit}.", f"Lower it to {spec.high}{unit} or less.")
    return value


def to_dict(tree) -> dict:
    """The plain dictionaries of a settings tree; `from_dict` gives the same tree back."""
    plain = {}
    for name, hint, _ in specs(type(tree)):
        value = getattr(tree, name)
        if dataclasses.is_dataclass(hint):
            value = to_dict(value)
        elif typing.get_origin(hint) is list:
            value = [to_dict(item) for item in value]
        elif hint == Range:
            value = list(value)
        plain[name] = value
    return plain


def chosen(tree) -> dict:
    """As `to_dict`, without the values that are the defaults: a field that is added later changes nothing in it."""
    plain = {}
    for name, hint, _ in specs(type(tree)):
        value = getattr(tree, name)
        if dataclasses.is_dataclass(hint):
            plain[name] = chosen(value)
        elif typing.get_origin(hint) is list:
            plain[name] = [chosen(item) for item in value]
        elif value != default_of(type(tree), name):
            plain[name] = list(value) if hint == Range else value
    return plain


def read_toml(kind, path):
    """Read and validate a settings tree from a TOML file."""
    with explained(path):
        data = Path(path).read_bytes()
    try:
        plain = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NanosynthError(f"{path}: not valid TOML ({error}).", "Mend that line; see docs/recipe.md for an example.") from error
    return from_dict(kind, plain, source=str(path))


def to_toml(tree) -> str:
    """The TOML text of a settings tree. Every value is written, defaults too."""
    import tomli_w

    return compact(tomli_w.dumps(to_dict(tree)))


def compact(toml: str) -> str:
    """TOML with the lists of numbers on one line each."""
    return re.sub(r"\[\n([^\[\]{}\"']*?),?\n *\]", lambda found: "[" + " ".join(found[1].split()) + "]", toml)


def walk(kind, prefix=""):
    """Yield (dotted name, type, Spec, default) of every leaf field of a tree."""
    for name, hint, spec in specs(kind):
        if dataclasses.is_dataclass(hint):
            yield from walk(hint, f"{prefix}{name}.")
        elif typing.get_origin(hint) is list:
            yield from walk(typing.get_args(hint)[0], f"{prefix}{name}[].")
        else:
            yield f"{prefix}{name}", hint, spec, default_of(kind, name)


def reference(kind) -> str:
    """A Markdown table of every field: default, bounds, unit and meaning."""
    rows = ["| Field | Default | Bounds | Unit | Meaning |", "|---|---|---|---|---|"]
    for name, hint, spec, default in walk(kind):
        if isinstance(default, tuple):
            default = f"[{default[0]}, {default[1]}]"
        bounds = ", ".join(spec.choices) or (f"{_end(spec.low)} to {_end(spec.high)}" if hint in (float, int, Range) else "")
        rows.append(f"| `{name}` | {default} | {bounds} | {spec.unit} | {spec.doc} |")
    return "\n".join(rows) + "\n"


def _end(bound):
    return "any" if bound is None else f"{bound}"
