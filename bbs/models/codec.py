"""JSON codec of the models, compatible with the Go programs.

This form is used by cfdot, by task callbacks and by presence values in Locket. It is not protobuf's JSON
mapping. One codec serves every model: it converts the annotations and :class:`~bbs.models.meta.Json` marks of
a dataclass into a plan of small functions once (``bbs.models.values``), and then only runs the plan.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum, IntEnum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from bbs.models.actions import ACTION_TYPES, MAX_DEPTH, Action, EmptyAction
from bbs.models.invalid import InvalidDocument, mismatch
from bbs.models.meta import Json, Width
from bbs.models.values import (
    Read,
    Value,
    as_is,
    compact,
    enum_value,
    int_reader,
    list_value,
    map_value,
    parse,
    read_bool,
    read_raw,
    read_str,
    text_enum_value,
)

__all__ = [
    "InvalidDocument",
    "action_from_json",
    "action_to_json",
    "compact",
    "dumps",
    "from_json",
    "loads",
    "mismatch",
    "parse",
    "to_json",
]

T = TypeVar("T")


def to_json(model: object) -> dict[str, Any]:
    """The Go JSON form of a model, as values for ``json.dumps``.

    A bare action gives its own members; :func:`action_to_json` adds the wrapper.
    """
    return _plan(type(model)).write(model)


def from_json(cls: type[T], value: object) -> T:
    """Read a model from parsed JSON.

    Keys match in any case, unknown keys are ignored, and ``null`` counts as absent.

    Raises:
        InvalidDocument: names the path and the expected value.
    """
    try:
        model: T = _plan(cls).read(value)
    except RecursionError:
        raise InvalidDocument("$", "a document of sane depth", "one nested too deeply") from None
    return model


def action_to_json(action: Action) -> dict[str, Any]:
    """An action in its wrapper: ``{"run": {...}}``, or ``{}`` for the empty action."""
    return _write_action(action)


def action_from_json(value: object) -> Action:
    """Read a wrapped action. Raises InvalidDocument."""
    try:
        return _read_action(value)
    except RecursionError:
        raise InvalidDocument("$", "an action tree of sane depth", "one nested too deeply") from None


def dumps(model: object) -> str:
    """The compact JSON text of a model."""
    return compact(to_json(model))


def loads(cls: type[T], text: str | bytes) -> T:
    """Read a model from JSON text. Raises InvalidDocument, also for invalid JSON."""
    return from_json(cls, parse(text))


def _object_value(cls: type) -> Value:
    return Value(lambda value: _plan(cls).read(value), lambda model: _plan(cls).write(model))


def _read_action(value: object) -> Action:
    outside = _depth.set(_depth.get() + 1)
    try:
        if _depth.get() > MAX_DEPTH:
            raise InvalidDocument("$", f"actions nested at most {MAX_DEPTH} deep", "one that is too deep")
        return _read_members(value)
    finally:
        _depth.reset(outside)


def _read_members(value: object) -> Action:
    if type(value) is not dict:
        mismatch('an action such as {"run": {...}}', value)
    members: dict[str, Action] = {}
    for key, body in value.items():
        name = key.lower()
        cls = ACTION_TYPES.get(name)
        if cls is None or body is None:
            continue
        try:
            members[name] = _plan(cls).read(body)
        except InvalidDocument as error:
            raise error.within(f".{key}") from None
    if len(members) == 1:
        return members.popitem()[1]
    return next((members[name] for name in ACTION_TYPES if name in members), EmptyAction())


def _write_action(action: Action) -> dict[str, Any]:
    key = _ACTION_KEYS.get(type(action))
    return {} if key is None else {key: _plan(type(action)).write(action)}


_depth: ContextVar[int] = ContextVar("depth of the action being read", default=0)
_ACTION_KEYS = {cls: key for key, cls in ACTION_TYPES.items()}
_ACTION = Value(_read_action, _write_action)
_RAW_MAP = map_value(Value(read_raw, parse))


def _value(hint: Any, mark: Json) -> tuple[Value, bool]:
    """Reader and writer for an annotation, and whether the value may be None."""
    width: Width | None = None
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        width = next((note for note in notes if isinstance(note, Width)), None)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not types.NoneType]
        if EmptyAction in rest:
            return _ACTION, len(rest) < len(arguments)
        return _value(rest[0], mark)[0], True
    if origin is tuple:
        length = None if arguments[-1] is Ellipsis else len(arguments)
        return list_value(_value(arguments[0], mark)[0], length), False
    if origin is not None and issubclass(origin, Mapping):
        return (_RAW_MAP if mark.raw else map_value(_value(arguments[1], mark)[0])), False
    if hint is object:
        return Value(as_is, as_is), False
    if hint is str:
        return Value(read_str, as_is), False
    if hint is bool:
        return Value(read_bool, as_is), False
    if hint is int and width is not None:
        return Value(int_reader(width), as_is), False
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return enum_value(hint, mark), False
    if isinstance(hint, type) and issubclass(hint, Enum):
        return text_enum_value(hint), False
    if is_dataclass(hint) and isinstance(hint, type):
        return _object_value(hint), False
    raise TypeError(f"no JSON form for {hint!r}")


@dataclass(frozen=True, slots=True)
class _Field:
    """A field with its own key in the object."""

    name: str
    key: str
    optional: bool
    omit: bool
    value: Value

    def write_into(self, out: dict[str, Any], value: Any) -> None:
        if value is None or (not value and not self.optional):
            if self.omit:
                return
            if value is None or isinstance(value, Mapping | tuple):
                out[self.key] = None
                return
        out[self.key] = self.value.write(value)


@dataclass(frozen=True, slots=True)
class _Flat:
    """A sub-message whose keys are in the parent object. An optional one exists if one of its keys does."""

    name: str
    cls: type
    optional: bool

    def write_into(self, out: dict[str, Any], value: Any) -> None:
        if value is not None:
            out.update(_plan(self.cls).write(value))


@dataclass(frozen=True, slots=True)
class _Slot:
    """Target of a key: a field of the object itself or of one of its flattened parts."""

    part: str
    name: str
    read: Read


class _Plan:
    """The JSON plan of one class, built once."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.entries: list[_Field | _Flat] = []
        self.slots: dict[str, _Slot] = {}
        hints = get_type_hints(cls, include_extras=True)
        for field in fields(cls):
            self._add(field.name, hints[field.name])
        self.flats = [entry for entry in self.entries if isinstance(entry, _Flat)]
        self.required = {
            field.name
            for field in fields(cls)
            if field.default is MISSING and field.default_factory is MISSING
        }

    def _add(self, name: str, hint: Any) -> None:
        mark = next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Json)), Json())
        if mark.flatten:
            inner = get_args(hint)[0]
            optional = types.NoneType in get_args(inner)
            part = get_args(inner)[0] if optional else inner
            self.entries.append(_Flat(name, part, optional))
            for key, slot in _plan(part).slots.items():
                self.slots[key] = _Slot(name, slot.name, slot.read)
            return
        value, optional = _value(hint, mark)
        key, _, member = (mark.key or name).partition(".")
        if member:
            value = _wrapped(member, value, omit=mark.omit)
        entry = _Field(name, key, optional, mark.omit and not member, value)
        self.entries.append(entry)
        self.slots[key] = self.slots[key.lower()] = _Slot("", name, value.read)

    def read(self, value: object) -> Any:
        if type(value) is not dict:
            mismatch("an object", value)
        own: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {}
        for key, item in value.items():
            slot = self.slots.get(key) or self.slots.get(key.lower())
            if slot is None or item is None:
                continue
            target = parts.setdefault(slot.part, {}) if slot.part else own
            try:
                target[slot.name] = slot.read(item)
            except InvalidDocument as error:
                raise error.within(f".{key}") from None
        for flat in self.flats:
            if flat.name in parts or not flat.optional:
                own[flat.name] = flat.cls(**parts.get(flat.name, {}))
        if missing := self.required - own.keys():
            mismatch(f"an object with {', '.join(sorted(missing))}", value)
        return self.cls(**own)

    def write(self, model: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for entry in self.entries:
            entry.write_into(out, getattr(model, entry.name))
        return out


def _wrapped(member: str, value: Value, *, omit: bool) -> Value:
    """A value wrapped in a separate object; a missing member is false, the zero value that Go omits."""

    def read(item: object) -> Any:
        if type(item) is not dict:
            mismatch("an object or null", item)
        for key, inner in item.items():
            if key.lower() == member.lower() and inner is not None:
                try:
                    return value.read(inner)
                except InvalidDocument as error:
                    raise error.within(f".{key}") from None
        return False

    def write(item: Any) -> dict[str, Any]:
        return {} if omit and not item else {member: value.write(item)}

    return Value(read, write)


_PLANS: dict[type, _Plan] = {}


def _plan(cls: type) -> _Plan:
    plan = _PLANS.get(cls)
    if plan is None:
        plan = _PLANS[cls] = _Plan(cls)
    return plan
