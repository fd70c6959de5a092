"""Conversion between wire messages and the values of ``bbs.models``, both ways.

A model class and its message have the same name and fields. The differences follow from the types on both
sides, so the mapping is one plan per class, built at first use from the dataclass annotations and the message
descriptor:

* ``from_`` is ``from``; ``placement_tags`` and ``routable`` are capitalised in some messages;
* text from user processes is ``bytes`` on the wire; it is decoded with replacement characters, so that one
  bad byte does not make a whole message unreadable;
* ``routes`` is a plain mapping in the model and a separate message on the wire;
* an :data:`~bbs.models.actions.Action` is one value in the model and a wrapper with nine members on the wire;
* a sub-message that cannot be ``None`` in the model is always written, even if empty, as the Go programs do;
  so are the routes of a DesiredLRP, which a Go cell dereferences without a check;
* an unknown enum number is read as the zero value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import cache, partial
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints, overload

from google.protobuf.message import DecodeError, EncodeError, Message

from bbs.models import actions, actual_lrp, cell, common, desired_lrp, events, task, workload
from bbs.models.actions import Action, EmptyAction
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.messages import Field, fields, message_class
from bbs.wire.proto import actions_pb2, common_pb2, error_pb2

_LENGTH_DELIMITED = 2
"""Wire type of strings, bytes and messages."""

Model = Any
"""An instance of any dataclass of ``bbs.models`` that has a message of the same name."""

Convert = Callable[[Any], Any]
"""Converts the value of a field to the value of an attribute."""

Put = Callable[[Any, Any], None]
"""Puts a value (second) into a message (first)."""

E = TypeVar("E", bound=IntEnum)
M = TypeVar("M")
W = TypeVar("W", bound=Message)

_MODELS: dict[str, type[Model]] = {
    name: value
    for module in (actions, actual_lrp, cell, common, desired_lrp, events, task, workload)
    for name, value in vars(module).items()
    if isinstance(value, type)
    and dataclasses.is_dataclass(value)
    and value.__module__ == module.__name__
    and value is not EmptyAction
}

_ALWAYS_WRITTEN = frozenset(
    {(desired_lrp.DesiredLRP, "routes"), (desired_lrp.DesiredLRPSchedulingInfo, "routes")}
)

_ROUTES = common_pb2.ProtoRoutes.__name__
_ACTION = actions_pb2.Action.__name__
_ACTION_MEMBERS = {field.message: field.name for field in fields(actions_pb2.Action)}


@overload
def to_wire(model: Model) -> Any: ...


@overload
def to_wire(model: Model, cls: type[W]) -> W: ...


def to_wire(model: Model, cls: type[Message] | None = None) -> Any:
    """The message of a model.

    cls: the message class, for the type checker; required only to get an action in its wrapper.

    Raises :class:`TypeError` if the class of ``model`` has no such message.
    """
    if cls is actions_pb2.Action:
        wrapper = actions_pb2.Action()
        _write_action(wrapper, model)
        return wrapper
    writer = _writer(type(model).__name__)
    if cls is not None and cls is not writer.message:
        raise TypeError(f"{type(model).__name__} is not written as {cls.__name__}")
    message = writer.message()
    _write(writer, message, model)
    return message


@overload
def to_model(message: Message) -> Any: ...


@overload
def to_model(message: Message, cls: type[M]) -> M: ...


def to_model(message: Message, cls: type[Any] | None = None) -> Any:
    """The model of a message.

    cls: the expected class, for the type checker.

    Raises :class:`TypeError` if the message has no model, or another one.
    """
    if isinstance(message, actions_pb2.Action):
        return _read_action(message)
    reader = _reader(type(message).__name__)
    if cls is not None and cls is not reader.model:
        raise TypeError(f"{type(message).__name__} is not read as {cls.__name__}")
    return _read(reader, message)


def text_to_wire(text: str) -> bytes:
    """Encode text for a ``bytes`` field; characters that cannot be encoded become ``?``."""
    return text.encode("utf-8", "replace")


def text_from_wire(data: bytes) -> str:
    """Decode the text of a ``bytes`` field; bytes that are not UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def error_to_wire(error: BBSError) -> error_pb2.Error:
    """The error envelope."""
    return error_pb2.Error(type=error.type.name, message=error.message)


def error_to_model(message: error_pb2.Error) -> BBSError:
    """The exception of an error envelope; an unknown type becomes ``UnknownError``."""
    return BBSError(_enum_reader(ErrorType)(message.type), message.message)


def encode(message: Message) -> bytes:
    """The bytes of a message, equal for equal messages (map entries in key order).

    Raises :class:`BBSError` ``InvalidRequest`` for a message that cannot be encoded.
    """
    try:
        return message.SerializeToString(deterministic=True)
    except EncodeError as error:
        raise BBSError(
            ErrorType.InvalidRequest, f"{type(message).__name__} cannot be encoded: {error}"
        ) from error


def decode(cls: type[W], data: bytes) -> W:
    """The message in ``data``; raises :class:`BBSError` ``InvalidRequest`` if it cannot be decoded."""
    try:
        return cls.FromString(data)
    except DecodeError as error:
        raise BBSError(ErrorType.InvalidRequest) from error


# Reading: only set fields are sent; the others get the dataclass defaults.


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    """model: the class to build. fields: attribute name and optional conversion of each field, by number."""

    model: type[Model]
    fields: Mapping[int, tuple[str, Convert | None]]


def _read(reader: _Reader, message: Message) -> Model:
    known = reader.fields
    values = {}
    for descriptor, value in message.ListFields():
        name, convert = known[descriptor.number]
        values[name] = value if convert is None else convert(value)
    return reader.model(**values)


@cache
def _reader(name: str) -> _Reader:
    model = _MODELS.get(name)
    if model is None:
        raise TypeError(f"message {name} has no model")
    return _Reader(
        model,
        {field.number: (attribute, _value_reader(field, hint)) for attribute, hint, field in _pairs(model)},
    )


def _value_reader(field: Field, hint: Any) -> Convert | None:
    if field.map_value is not None:
        if not field.map_value.message:
            return dict
        read = _message_reader(field.map_value.message)
        return lambda entries: {key: read(value) for key, value in entries.items()}
    if field.is_repeated:
        if not field.message:
            return tuple
        read = _message_reader(field.message)
        return lambda items: tuple([read(item) for item in items])
    if field.message:
        return _message_reader(field.message)
    if field.is_enum:
        return _enum_reader(hint)
    if field.is_bytes:
        return text_from_wire
    return None


def _message_reader(name: str) -> Convert:
    if name == _ROUTES:
        return lambda message: dict(message.routes)
    if name == _ACTION:
        return _read_action
    return partial(_read, _reader(name))


def _read_action(wrapper: actions_pb2.Action) -> Action:
    for _, member in wrapper.ListFields():
        action: Action = _read(_reader(type(member).__name__), member)
        return action
    return EmptyAction()


def _enum_reader(cls: type[E]) -> Callable[[int], E]:
    known = {int(member): member for member in cls}
    zero = cls(0)
    return lambda number: known.get(number, zero)


# Writing fills the message in place, because constructors copy sub-messages.


@dataclasses.dataclass(frozen=True, slots=True)
class _Writer:
    """How to fill a message from a model.

    always: sub-messages to write even if empty.
    explicit: attributes omitted if ``None``; zero and empty values are written.
    implicit: attributes omitted if zero or empty.
    """

    message: type[Message]
    always: tuple[str, ...]
    explicit: tuple[tuple[str, Put], ...]
    implicit: tuple[tuple[str, Put], ...]


def _write(writer: _Writer, message: Message, model: Model) -> None:
    for name in writer.always:
        getattr(message, name).SetInParent()
    for attribute, put in writer.explicit:
        value = getattr(model, attribute)
        if value is not None:
            put(message, value)
    for attribute, put in writer.implicit:
        value = getattr(model, attribute)
        if value:
            put(message, value)


@cache
def _writer(name: str) -> _Writer:
    model = _MODELS.get(name)
    if model is None:
        raise TypeError(f"model {name} has no message")
    always, explicit, implicit = [], [], []
    for attribute, hint, field in _pairs(model):
        item = (attribute, _put(field))
        if field.has_presence:
            explicit.append(item)
            if field.message and (not _is_optional(hint) or (model, attribute) in _ALWAYS_WRITTEN):
                always.append(field.name)
        else:
            implicit.append(item)
    return _Writer(message_class(name), tuple(always), tuple(explicit), tuple(implicit))


def _put(field: Field) -> Put:
    name = field.name
    if field.map_value is not None:
        if not field.map_value.message:
            return lambda message, value: getattr(message, name).update(value)
        return partial(_put_message_map, name, _fill_of(field.map_value))
    if field.is_repeated:
        if not field.message:
            return lambda message, value: getattr(message, name).extend(value)
        return partial(_put_messages, name, _fill_of(field))
    if field.message:
        return partial(_put_message, name, _fill_of(field))
    if field.is_bytes:
        return lambda message, value: setattr(message, name, text_to_wire(value))
    return lambda message, value: setattr(message, name, value)


def _put_message(name: str, fill: Put, message: Message, value: Any) -> None:
    target = getattr(message, name)
    target.SetInParent()
    fill(target, value)


def _put_messages(name: str, fill: Put, message: Message, values: Any) -> None:
    items = getattr(message, name)
    for value in values:
        fill(items.add(), value)


def _put_message_map(name: str, fill: Put, message: Message, values: Mapping[str, Any]) -> None:
    entries = getattr(message, name)
    for key, value in values.items():
        fill(entries[key], value)


def _fill_of(field: Field) -> Put:
    if field.message == _ROUTES:
        return lambda message, routes: message.routes.update(routes)
    if field.message == _ACTION:
        return _write_action
    return partial(_write, _writer(field.message))


def _write_action(wrapper: actions_pb2.Action, action: Action) -> None:
    if isinstance(action, EmptyAction):
        return
    writer = _writer(type(action).__name__)
    member = getattr(wrapper, _ACTION_MEMBERS[type(action).__name__])
    member.SetInParent()
    _write(writer, member, action)


# Matching of model attributes and wire fields.


def _pairs(model: type) -> list[tuple[str, Any, Field]]:
    """Attribute, type and wire field of each field of a model."""
    on_wire = {_folded(field.name): field for field in fields(message_class(model.__name__))}
    hints = get_type_hints(model)
    return [(item.name, hints[item.name], on_wire[_folded(item.name)]) for item in dataclasses.fields(model)]


def _folded(name: str) -> str:
    """The normalised name: equal for ``from_``/``from`` and for ``placement_tags``/``PlacementTags``."""
    return name.replace("_", "").lower()


def _is_optional(hint: Any) -> bool:
    return NoneType in get_args(hint)


def encode_list(response: type[Message], field: str, records: Iterable[bytes]) -> bytes:
    """The encoded response whose repeated message ``field`` has these encoded messages."""
    number = response.DESCRIPTOR.fields_by_name[field].number
    key = _varint(number << 3 | _LENGTH_DELIMITED)
    return b"".join([part for record in records for part in (key, _varint(len(record)), record)])


def _varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
