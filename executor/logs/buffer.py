"""Bounded buffer of a log sink: limited in bytes, and shared fairly between instances.

When it is full, entries of the owners above their fair share are dropped. An instance that logs little
loses nothing to one that logs much, however long the sink is unavailable.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from executor.engine.spool import Delivery

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """A buffered item. size: its bytes. lines: number of lines, or metrics, in it.

    delivery, offset: of its last line, if it comes from a spool. The entry holds the delivery.
    """

    item: T
    owner: Hashable
    size: int
    lines: int
    delivery: Delivery | None = None
    offset: int = 0


class _Queue(Generic[T]):
    __slots__ = ("entries", "held")

    def __init__(self) -> None:
        self.entries: deque[Entry[T]] = deque()
        self.held = 0


class FairBuffer(Generic[T]):
    """Entries by owner, in order per owner. capacity: bytes, the sum of the entries' sizes.

    dropped: number of dropped lines since the start.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queues: dict[Hashable, _Queue[T]] = {}
        self._held = 0
        self._length = 0
        self.dropped = 0
        self._dropped_by: Counter[Hashable] = Counter()

    @property
    def held(self) -> int:
        """Bytes of all entries."""
        return self._held

    def __len__(self) -> int:
        """Number of entries, not lines."""
        return self._length

    def add(self, entry: Entry[T]) -> None:
        """Add an entry; without space, drop it or older entries of the largest owner."""
        _, owner, size, *_ = entry
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = _Queue()
        if self._held + size > self._capacity and not self._make_room(queue, size):
            self.drop(entry)
            if not queue.entries:
                del self._queues[owner]
            return
        queue.entries.append(entry)
        queue.held += size
        self._held += size
        self._length += 1

    def take(self, limit: int, size_limit: int = sys.maxsize) -> list[Entry[T]]:
        """Take up to ``limit`` entries of ``size_limit`` bytes in total, but at least one; owners
        take turns.
        """
        taken: list[Entry[T]] = []
        size = 0
        while self._queues and len(taken) < limit:
            owner, queue = next(iter(self._queues.items()))
            entries = queue.entries
            if taken and size + entries[0].size > size_limit:
                break
            del self._queues[owner]
            if len(entries) <= limit - len(taken) and size + queue.held <= size_limit:
                taken.extend(entries)
                size += queue.held
                continue
            while len(taken) < limit and (not taken or size + entries[0].size <= size_limit):
                entry = entries.popleft()
                taken.append(entry)
                queue.held -= entry.size
                size += entry.size
                if not entries:
                    break
            else:
                self._queues[owner] = queue
        self._held -= size
        self._length -= len(taken)
        return taken

    def drop(self, entry: Entry[T]) -> None:
        """Count an entry's lines as dropped, and release its delivery."""
        self.dropped += entry.lines
        self._dropped_by[entry.owner] += entry.lines
        if entry.delivery is not None:
            entry.delivery.release()

    def take_drops(self) -> Counter[Hashable]:
        """Dropped lines by owner since the last call."""
        drops, self._dropped_by = self._dropped_by, Counter()
        return drops

    def _make_room(self, queue: _Queue[T], size: int) -> bool:
        """Evict entries of others for an owner below its fair share; False if it is above."""
        if queue.held + size > self._capacity // len(self._queues):
            return False
        share = self._capacity // len(self._queues)
        while self._held + size > self._capacity:
            owner, largest = max(self._queues.items(), key=lambda each: each[1].held)
            while True:  # searching the largest again after each eviction is slow with many owners
                evicted = largest.entries.popleft()
                largest.held -= evicted.size
                self._held -= evicted.size
                self._length -= 1
                self.drop(evicted)
                if largest.held <= share or self._held + size <= self._capacity:
                    break
            if not largest.entries:
                del self._queues[owner]
        return True
