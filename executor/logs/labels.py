"""What every line of one source shares, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from executor.logs.api import LogLine, Stream

T = TypeVar("T")

MAX_KEPT = 2000
"""Instances times sources, generously; when there are more, all are encoded anew."""

_Key = tuple[Stream, str, str, str, int]


class PerLabel(Generic[T]):
    """``make(line)``, remembered for lines with the same ids, source, stream and tags."""

    def __init__(self, make: Callable[[LogLine], T]) -> None:
        self._make = make
        self._kept: dict[_Key, tuple[Mapping[str, str], T]] = {}

    def __call__(self, line: LogLine) -> T:
        _, stream, source_id, instance_id, source_type, _, tags = line
        # The tags are kept with the result, so that no others can have their identity meanwhile.
        key = (stream, source_id, instance_id, source_type, id(tags))
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            kept = self._kept[key] = (tags, self._make(line))
        return kept[1]
