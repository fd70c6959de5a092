"""Places in a JSON text: line and column of each member and item, and keys that an object has twice."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LAST_STEP: Final = re.compile(r"(\.[^.\[\]]*|\[\d+\])$")


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that its object has before. path: of the member. first: offset of the key's first occurrence."""

    path: str
    first: int


@dataclass(slots=True)
class Places:
    """Offsets in a text by JSON path, such as ``$.run.args[0]``. A member's place is its key."""

    text: str
    offsets: dict[str, int] = field(default_factory=dict)
    repeated: list[Repeated] = field(default_factory=list)

    def of(self, path: str) -> tuple[int, int]:
        """Line and column of a path, or of the nearest value around it. Both count from 1."""
        while path not in self.offsets and path != "$":
            path = _LAST_STEP.sub("", path) or "$"
        offset = self.offsets.get(path, 0)
        return self.line(offset), offset - self.text.rfind("\n", 0, offset)

    def line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def places(text: str) -> Places:
    """The places of a text that is JSON. Raises RecursionError if it is nested too deeply."""
    found = Places(text)
    _Walk(found).value("$")
    return found


class _Walk:
    """Reads a valid text once, from the begin to the end."""

    def __init__(self, found: Places) -> None:
        self._found = found
        self._text = found.text
        self._at = 0
        self._scalar = json.JSONDecoder().raw_decode
        self._skip()

    def value(self, path: str) -> None:
        self._found.offsets.setdefault(path, self._at)
        match self._text[self._at]:
            case "{":
                self._members(path)
            case "[":
                self._items(path)
            case _:
                _, self._at = self._scalar(self._text, self._at)
        self._skip()

    def _members(self, path: str) -> None:
        firsts: dict[str, int] = {}
        self._pass()
        while self._text[self._at] != "}":
            offset = self._at
            key, self._at = self._scalar(self._text, self._at)
            member = f"{path}.{key}"
            if firsts.setdefault(key, offset) != offset:
                self._found.repeated.append(Repeated(member, firsts[key]))
            self._found.offsets[member] = offset
            self._skip()
            self._pass()  # the colon
            self.value(member)
            if self._text[self._at] == ",":
                self._pass()
        self._at += 1

    def _items(self, path: str) -> None:
        self._pass()
        index = 0
        while self._text[self._at] != "]":
            self.value(f"{path}[{index}]")
            index += 1
            if self._text[self._at] == ",":
                self._pass()
        self._at += 1

    def _pass(self) -> None:
        """Pass one character and the space after it."""
        self._at += 1
        self._skip()

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
