"""JSON text, and readers and writers of single JSON values: scalars, enums, lists, maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, NoReturn

from bbs.models.invalid import InvalidDocument, mismatch
from bbs.models.meta import Json, Width
from bbs.models.text import well_formed

Read = Callable[[Any], Any]
Write = Callable[[Any], Any]


def compact(value: object) -> str:
    """JSON text without whitespace. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse(text: str | bytes) -> Any:
    """Parse JSON strictly. Raises InvalidDocument."""
    try:
        return json.loads(text, parse_constant=no_constant)
    except RecursionError:
        raise InvalidDocument("$", "a document of sane depth", "one nested too deeply") from None
    except ValueError as error:
        raise InvalidDocument("$", "JSON", f"text that is not ({error})") from None


def no_constant(name: str) -> NoReturn:
    """Refuses ``NaN`` and infinities, which JSON does not have."""
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class Value:
    """Reader and writer of one kind of value."""

    read: Read
    write: Write


def as_is(value: Any) -> Any:
    return value


def read_str(value: object) -> str:
    if type(value) is not str:
        mismatch("a string", value)
    return well_formed(value)


def read_bool(value: object) -> bool:
    if type(value) is not bool:
        mismatch("true or false", value)
    return value


def int_reader(width: Width) -> Read:
    low, high = width.low, width.high

    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            mismatch(f"a whole number from {low} to {high}", value)
        return value

    return read


def enum_value(enum: type[IntEnum], mark: Json) -> Value:
    if mark.number:
        numbers = {member.value: member for member in enum}

        def read_number(value: object) -> IntEnum:
            if type(value) is not int or value not in numbers:
                mismatch("one of the numbers " + ", ".join(str(n) for n in numbers), value)
            return numbers[value]

        return Value(read_number, int)

    names = {member.name: member for member in enum}

    def read_name(value: object) -> IntEnum:
        if type(value) is str and (value in names or mark.lenient):
            return names.get(value, enum(0))
        return mismatch("one of " + ", ".join(json.dumps(name) for name in names), value)

    return Value(read_name, lambda member: member.name)


def text_enum_value(enum: type[Enum]) -> Value:
    values = {member.value: member for member in enum}

    def read(value: object) -> Enum:
        if type(value) is str and value in values:
            return values[value]
        return mismatch("one of " + ", ".join(json.dumps(name) for name in values), value)

    return Value(read, lambda member: member.value)


def list_value(item: Value, length: int | None = None) -> Value:
    expected = "a list" if length is None else f"a list of {length}"

    def read(value: object) -> tuple[Any, ...]:
        if type(value) is not list or length not in (None, len(value)):
            mismatch(expected, value)
        items = []
        for index, element in enumerate(value):
            try:
                items.append(item.read(element))
            except InvalidDocument as error:
                raise error.within(f"[{index}]") from None
        return tuple(items)

    return Value(read, lambda values: [item.write(value) for value in values])


def map_value(item: Value) -> Value:
    def read(value: object) -> dict[str, Any]:
        if type(value) is not dict:
            mismatch("an object", value)
        members = {}
        for key, element in value.items():
            try:
                members[read_str(key)] = item.read(element)
            except InvalidDocument as error:
                raise error.within(f".{key}") from None
        return members

    return Value(read, lambda values: {key: item.write(value) for key, value in values.items()})


def read_raw(value: object) -> bytes:
    if value is None:
        mismatch("any JSON value but null", value)
    try:
        return compact(value).encode()
    except ValueError:
        mismatch("a value JSON can hold", value)
