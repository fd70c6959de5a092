"""Errors of invalid JSON documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn


class InvalidDocument(ValueError):
    """An invalid JSON document.

    path: location, such as ``$.action.serial.actions[0].run.path``.
    expected: the expected value.
    got: the actual value.
    """

    def __init__(self, path: str, expected: str, got: str) -> None:
        self.path = path
        self.expected = expected
        self.got = got
        super().__init__(f"{path}: expected {expected}, got {got}")

    def within(self, step: str) -> InvalidDocument:
        """The same error with a path from the parent; step is ``.key`` or ``[index]``."""
        return type(self)(f"${step}{self.path[1:]}", self.expected, self.got)


def describe(value: object) -> str:
    """A JSON value as text, for the ``got`` of an error."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the string {json.dumps(value if len(value) <= 40 else value[:40] + '...')}"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def mismatch(expected: str, value: object) -> NoReturn:
    """Raise :class:`InvalidDocument` for the current location."""
    raise InvalidDocument("$", expected, describe(value))
