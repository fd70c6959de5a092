"""Cache of the encoded labels that all lines of one source share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from executor.logs.api import LogLine, Stream

T = TypeVar("T")

MAX_KEPT = 2000
"""More than the usual number of instances times sources; beyond it the cache is cleared."""

_Key = tuple[Stream, str, str, str, int, str]


class PerLabel(Generic[T]):
    """Caches ``make(line)`` for lines with the same ids, source, stream, tags and name of the delivery."""

    def __init__(self, make: Callable[[LogLine], T]) -> None:
        self._make = make
        self._kept: dict[_Key, tuple[Mapping[str, str], T]] = {}

    def __call__(self, line: LogLine) -> T:
        _, stream, source_id, instance_id, source_type, _, tags, _, delivery = line
        # The cache holds the tags, so that no other object can get their id.
        name = "" if delivery is None else delivery.name
        key = (stream, source_id, instance_id, source_type, id(tags), name)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            kept = self._kept[key] = (tags, self._make(line))
        return kept[1]
