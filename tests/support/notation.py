"""Notation for messages written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


class Notation:
    """Messages as text, by field number: ``1:"text" 2:300 3:{1:1} 4:?`` - the last one is some value.

    It knows the encoding and no message: what a field holds is what the text says it does.
    """

    _TOKEN = re.compile(r'\s*(?:(?P<number>\d+):(?P<value>"(?:[^"\\]|\\.)*"|-?\d+|[{?])|(?P<end>}))')

    def encode(self, text: str) -> bytes:
        """The message."""
        return self._encoded(self._parsed(text))

    def rendered(self, data: bytes, like: str) -> str:
        """What the bytes say, with ``?`` where the text has one: equal to :meth:`tidied` of it, or wrong."""
        return self._shown(self._compared(data, self._parsed(like)))

    def tidied(self, text: str) -> str:
        return self._shown(self._parsed(text))

    def _parsed(self, text: str) -> list[tuple[int, Any]]:
        stack: list[list[tuple[int, Any]]] = [[]]
        at = 0
        while text[at:].strip():
            token = self._TOKEN.match(text, at)
            if token is None:
                raise ValueError(f"no field: {text[at:]!r}")
            at = token.end()
            if token["end"]:
                stack.pop()
                continue
            number, value = int(token["number"]), token["value"]
            if value == "{":
                stack[-1].append((number, inner := list[tuple[int, Any]]()))
                stack.append(inner)
            else:
                stack[-1].append((number, None if value == "?" else json.loads(value)))
        return stack[0]

    def _encoded(self, fields: list[tuple[int, Any]]) -> bytes:
        out = b""
        for number, value in fields:
            if isinstance(value, int):
                out += _varint(number << 3) + _varint(value & (1 << 64) - 1)
            else:
                data = value.encode() if isinstance(value, str) else self._encoded(value)
                out += _varint(number << 3 | 2) + _varint(len(data)) + data
        return out

    def _compared(self, data: bytes, like: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        expected, found = list(like), list[tuple[int, Any]]()
        for number, value in _fields_of(data):
            said = next((item for item in expected if item[0] == number), None)
            if said is not None:
                expected.remove(said)
            found.append((number, self._value(value, None if said is None else said[1], said is not None)))
        return found

    def _value(self, value: int | bytes, said: Any, known: bool) -> Any:
        if known and said is None:
            return None
        if isinstance(value, int):
            return value - (1 << 64) if value >> 63 else value
        if isinstance(said, list):
            return self._compared(value, said)
        text = value.decode("utf-8", "backslashreplace")
        if isinstance(said, str) or text.isprintable():
            return text
        return self._compared(value, [])

    def _shown(self, fields: list[tuple[int, Any]]) -> str:
        return " ".join(f"{number}:{self._shown_value(value)}" for number, value in fields)

    def _shown_value(self, value: Any) -> str:
        if value is None:
            return "?"
        if isinstance(value, list):
            return f"{{{self._shown(value)}}}"
        return json.dumps(value, ensure_ascii=False)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _fields_of(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field; only varints and what has a length in front exists here."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            assert tag & 7 == 0, f"wire type {tag & 7}"
            yield tag >> 3, value
