"""The form of JSON documents, from the same annotations as the codec: which keys an object may have.

The codec ignores unknown keys, as its protocols demand. Tools for people use the form to name them.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from bbs.models.actions import EmptyAction
from bbs.models.meta import Json


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string, number, boolean or any value: nothing below it has a form."""


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object with the members of a model class."""

    cls: type


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with any keys."""

    value: Shape


@dataclass(frozen=True, slots=True)
class OneAction:
    """An action in its wrapper: an object with the kind as its only key."""


Shape = Leaf | ObjectOf | ListOf | MapOf | OneAction


@cache
def members(cls: type) -> Mapping[str, Shape]:
    """The keys of a model's JSON object, in lower case, with the forms of their values."""
    found: dict[str, Shape] = {}
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        hint = hints[field.name]
        mark = next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Json)), Json())
        shape = _shape(hint, mark)
        if mark.flatten and isinstance(shape, ObjectOf):
            found.update(members(shape.cls))
            continue
        key, _, member = (mark.key or field.name).partition(".")
        found[key.lower()] = MapOf(Leaf()) if member else shape
    return found


def _shape(hint: Any, mark: Json) -> Shape:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not types.NoneType]
        return OneAction() if EmptyAction in rest else _shape(rest[0], mark)
    if origin is tuple:
        return ListOf(_shape(arguments[0], mark))
    if origin is not None and issubclass(origin, Mapping):
        return MapOf(Leaf() if mark.raw else _shape(arguments[1], mark))
    if isinstance(hint, type) and is_dataclass(hint):
        return ObjectOf(hint)
    return Leaf()
