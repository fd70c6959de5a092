"""The lines of apps in file sinks: each app's numbers once, in order, without a gap."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

LIFE_TAG = "life"
"""The tag with the guid of the instance."""


@dataclass
class AppLines:
    """Reads what is new in the files, one for each cell.

    wrong: each break of an order. words: other lines of apps, counted. ended: the last line of an instance.
    """

    paths: Sequence[Path]
    wrong: list[str] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    ended: dict[str, int] = field(default_factory=dict)
    _next: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _offsets: Counter[Path] = field(default_factory=Counter)
    _reading: Lock = field(default_factory=Lock)

    def read(self) -> None:
        """Take the complete lines since the last read."""
        with self._reading:
            for path in self.paths:
                self._read(path)

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offsets[path])
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[path] += len(whole)
        for line in whole.splitlines():
            document = json.loads(line)
            self._take(document["tags"].get(LIFE_TAG, ""), document["message"])

    def count(self, instance: str) -> int:
        """How many lines of an instance came."""
        return self._next[instance]

    @property
    def total(self) -> int:
        """How many numbered lines came."""
        return sum(self._next.values())

    def _take(self, instance: str, message: str) -> None:
        word, _, number = message.partition(" ")
        if word == "line" and number.isdecimal():
            expected = self._next[instance]
            if int(number) != expected:
                self.wrong.append(f"{instance}: line {number} instead of {expected}")
            self._next[instance] = int(number) + 1
        elif word == "end" and number.isdecimal():
            self.ended[instance] = int(number)
            if int(number) != self._next[instance]:
                self.wrong.append(
                    f"{instance}: the end is {number}, the last line {self._next[instance] - 1}"
                )
        else:
            self.words[message] += 1
