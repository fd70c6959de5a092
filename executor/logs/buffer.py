"""What waits for a sink: bounded in bytes, and shared fairly between instances.

When it is full, whoever holds more than a fair share pays: an instance that writes little loses nothing
because of one that writes much, however long the sink is away.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Queue(Generic[T]):
    __slots__ = ("held", "items")

    def __init__(self) -> None:
        self.items: deque[tuple[T, int]] = deque()
        self.held = 0


class FairBuffer(Generic[T]):
    """Items by owner, each owner's in order. capacity: bytes, by the sizes the items come with.

    dropped: how many items found no room, since the start; dropped_by: the same by owner, until taken by
    :meth:`take_drops`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queues: dict[Hashable, _Queue[T]] = {}
        self._held = 0
        self._count = 0
        self.dropped = 0
        self._dropped_by: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._count

    def add(self, item: T, owner: Hashable, size: int) -> None:
        """Keep an item, or drop one: this one, or older ones of the owner that holds most."""
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = _Queue()
        if self._held + size > self._capacity and not self._make_room(queue, size):
            self.drop(owner)
            if not queue.items:
                del self._queues[owner]
            return
        queue.items.append((item, size))
        queue.held += size
        self._held += size
        self._count += 1

    def take(self, limit: int) -> list[T]:
        """Up to ``limit`` items; owners take turns."""
        taken: list[T] = []
        while self._queues and len(taken) < limit:
            owner, queue = next(iter(self._queues.items()))
            del self._queues[owner]
            items = queue.items
            if len(items) <= limit - len(taken):
                taken.extend(item for item, _ in items)
                self._held -= queue.held
            else:
                for _ in range(limit - len(taken)):
                    item, size = items.popleft()
                    taken.append(item)
                    queue.held -= size
                    self._held -= size
                self._queues[owner] = queue
        self._count -= len(taken)
        return taken

    def drop(self, owner: Hashable, count: int = 1) -> None:
        """Count items of ``owner`` as dropped."""
        self.dropped += count
        self._dropped_by[owner] += count

    def take_drops(self) -> Counter[Hashable]:
        """Drops by owner since the last call."""
        drops, self._dropped_by = self._dropped_by, Counter()
        return drops

    def _make_room(self, queue: _Queue[T], size: int) -> bool:
        """Evict from others for an owner below its fair share; False when it is not."""
        if queue.held + size > self._capacity // len(self._queues):
            return False
        while self._held + size > self._capacity:
            owner, largest = max(self._queues.items(), key=lambda entry: entry[1].held)
            _, freed = largest.items.popleft()
            largest.held -= freed
            self._held -= freed
            self._count -= 1
            self.drop(owner)
        return True
