"""JSON codec that matches the platform's components byte for byte.

The encoder writes compact JSON. It escapes ``<``, ``>``, ``&`` and the two line separators, writes numbers in
their shortest form and integers exactly. The decoder refuses ``NaN``, ``Infinity`` and numbers that are too
large.
"""

from __future__ import annotations

import json
from typing import Any

HTML_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
"""Escapes of the characters that Go's encoder makes safe for HTML; for ``str.translate``."""

_KINDS = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}


class JSONError(Exception):
    """Invalid JSON, or a value of the wrong type; ``str()`` is the bare reason."""


def decode(text: str) -> Any:
    """Decode a JSON text; of duplicate members the last counts. Raises JSONError."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_float, parse_int=_integer)
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip():
            raise JSONError("unexpected end of JSON input") from error
        raise JSONError(
            f"invalid character {text[error.pos]!r} at offset {error.pos}: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise JSONError(str(error)) from error


def decode_object(text: str, what: str) -> dict[str, Any]:
    """The members of a JSON object; empty for ``null``. Raises JSONError.

    what: the expected type, for the error text.
    """
    return member({"": decode(text)}, "", dict, what) or {}


def member(holder: dict[str, Any], name: str, kind: type[Any], what: str) -> Any:
    """A member of an object; None if it is absent or null. Names match case-insensitively; of several matches
    the last counts. Raises JSONError if a match has another type.
    """
    found = None
    for spelled, value in holder.items():
        if value is None or (spelled != name and spelled.casefold() != name.casefold()):
            continue
        if type(value) is not kind:
            raise JSONError(
                f"json: cannot unmarshal {_KINDS[type(value)]} into {what} of type {_KINDS[kind]}"
            )
        found = value
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"invalid character {constant[0]!r} looking for beginning of value")


def _integer(text: str) -> int | float:
    """Convert an integer. The platform's numbers are floats, which have a negative zero."""
    return -0.0 if text == "-0" else int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {text} is out of range")
    return value


def encode(value: Any, sort: bool = False) -> str:
    """Compact JSON. Members keep their order, or with ``sort`` are in byte order at every level.

    Raises JSONError if the value is nested too deeply.
    """
    try:
        return _encode(value, sort)
    except RecursionError as error:
        raise JSONError("exceeded max depth") from error


def _encode(value: Any, sort: bool) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return shortest(value)
        case str():
            return _string(value)
        case dict():
            names = sorted(value) if sort else value
            members = (f"{_string(str(name))}:{_encode(value[name], sort)}" for name in names)
            return "{" + ",".join(members) + "}"
    return "[" + ",".join(_encode(item, sort) for item in value) + "]"


def _string(text: str) -> str:
    whole = "".join("\ufffd" if 0xD800 <= ord(character) < 0xE000 else character for character in text)
    return json.dumps(whole, ensure_ascii=False).translate(HTML_ESCAPES)


def shortest(value: float) -> str:
    """The shortest digits that round-trip to ``value``, with an exponent below 1e-6 and from 1e21 on."""
    digits, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = digits.partition(".")
    point = len(whole) + int(exponent or "0")
    digits = (whole + fraction).rstrip("0")
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.lstrip("0")
    sign = "-" if str(value).startswith("-") else ""
    if not digits:
        return f"{sign}0"
    if not -6 < point <= 21:
        mantissa = digits[0] + ("." + digits[1:] if digits[1:] else "")
        return f"{sign}{mantissa}e{point - 1:+d}".replace("e+0", "e+").replace("e-0", "e-")
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if len(digits) <= point:
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"
