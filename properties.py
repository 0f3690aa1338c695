"""A settings tree as Blender properties, derived from its declarations.

Names, defaults, bounds, units and tooltips come from `fields`; nothing about a
parameter is stated here a second time.
"""

from __future__ import annotations

import dataclasses
import typing

import bpy

from .fields import Range, canonical, default_of, from_dict, specs
from .learn.segmentation import SegmentationOptions
from .synth.recipe import Recipe

_FLOAT_LIMIT = 3.0e38
_INT_LIMIT = 2**31 - 1


def title(name: str) -> str:
    """The name of a field as people read it."""
    return name.replace("_", " ").capitalize()


def _property(name, hint, spec, default):
    words = {"name": title(name), "description": spec.doc + (f" [{spec.unit}]" if spec.unit else "")}
    if dataclasses.is_dataclass(hint):
        return bpy.props.PointerProperty(type=GROUPS[hint], **words)
    if typing.get_origin(hint) is list:
        return bpy.props.CollectionProperty(type=GROUPS[typing.get_args(hint)[0]], **words)
    if hint is bool:
        return bpy.props.BoolProperty(default=default, **words)
    if hint is str:
        if spec.choices:
            return bpy.props.EnumProperty(items=[(c, title(c), "") for c in spec.choices], default=default, **words)
        return bpy.props.StringProperty(default=default, **words)
    if hint is int:
        low = -_INT_LIMIT if spec.low is None else int(spec.low)
        high = _INT_LIMIT if spec.high is None else int(min(spec.high, _INT_LIMIT))
        return bpy.props.IntProperty(default=default, min=low, max=high, **words)
    low = -_FLOAT_LIMIT if spec.low is None else spec.low
    high = _FLOAT_LIMIT if spec.high is None else spec.high
    digits = 3 if high <= 20 else 2 if high <= 1000 else 1 if high <= 100_000 else 0  # so that both ends of a range find room in a row
    if hint == Range:
        return bpy.props.FloatVectorProperty(size=2, default=default, min=low, max=high, precision=digits, **words)
    # A weight or a factor may be large, and is mostly small.
    return bpy.props.FloatProperty(default=default, min=low, max=high, precision=digits if spec.unit else 3, **words)


GROUPS: dict[type, type] = {}
"""Settings dataclass to property group, parts before wholes: the order of registration."""


def _derive(kind):
    if kind in GROUPS:
        return
    for _, hint, _ in specs(kind):
        part = typing.get_args(hint)[0] if typing.get_origin(hint) is list else hint
        if dataclasses.is_dataclass(part):
            _derive(part)
    annotations = {name: _property(name, hint, spec, default_of(kind, name)) for name, hint, spec in specs(kind)}
    GROUPS[kind] = type(
        f"NANOSYNTH_PG_{kind.__name__.lower()}",
        (bpy.types.PropertyGroup,),
        {"__annotations__": annotations, "__doc__": kind.__doc__, "__module__": __name__},
    )


for _kind in (Recipe, SegmentationOptions):
    _derive(_kind)
CLASSES = tuple(GROUPS.values())


def to_properties(tree, group):
    """Write a settings tree into its property group.

    Parameters
    ----------
    tree : settings dataclass
    group : bpy.types.PropertyGroup
        Of the class `GROUPS[type(tree)]`.
    """
    for name, hint, _ in specs(type(tree)):
        value = getattr(tree, name)
        if dataclasses.is_dataclass(hint):
            to_properties(value, getattr(group, name))
        elif typing.get_origin(hint) is list:
            collection = getattr(group, name)
            collection.clear()
            for item in value:
                to_properties(item, collection.add())
        else:
            setattr(group, name, value)


def from_properties(kind, group):
    """Read a settings tree from its property group, validated like a TOML file.

    Raises
    ------
    NanosynthError
        If the properties break a rule between fields.
    """
    return from_dict(kind, _plain(kind, group), source="recipe")


def _plain(kind, group) -> dict:
    plain = {}
    for name, hint, _ in specs(kind):
        value = getattr(group, name)
        if dataclasses.is_dataclass(hint):
            value = _plain(hint, value)
        elif typing.get_origin(hint) is list:
            value = [_plain(typing.get_args(hint)[0], item) for item in value]
        elif hint == Range:
            value = [canonical(v) for v in value]
        elif hint is float:
            value = canonical(value)
        plain[name] = value
    return plain
