"""Semaphores whose number of slots can change, one of them fair to the owners of the slots.

An ``asyncio.Semaphore`` serves its waiters in order of arrival: a thousand waiters of one container make
every other container wait for all of them. In :class:`FairPlaces` owners take turns, and the slots of one
owner may be limited.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from typing import Literal


class Places(asyncio.Semaphore):
    """A semaphore that can be resized. After a decrease, holders keep their slots until they release them."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._count = count
        self._surplus = 0

    def resize(self, count: int) -> None:
        """Change the number of slots."""
        change, self._count = count - self._count, count
        self._surplus -= change
        while self._surplus < 0:
            self._surplus += 1
            super().release()

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        while self._surplus:  # this slot is one too many
            self._surplus -= 1
            await super().acquire()
        return True

    def release(self) -> None:
        if self._surplus:
            self._surplus -= 1
        else:
            super().release()


class FairPlaces:
    """Slots for limited work like calls, transfers and probes.

    count: number of slots. most: maximum per owner; default: all slots.
    """

    def __init__(self, count: int, most: int | None = None) -> None:
        if count < 1 or (most is not None and most < 1):
            raise ValueError(f"{count} places, {most} for an owner: at least one is needed")
        self._count = self._free = count
        self._most = count if most is None else most
        self._held: Counter[Hashable] = Counter()
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    def resize(self, count: int, most: int | None = None) -> None:
        """Change the number of slots. After a decrease, holders keep their slots until they release them."""
        self._free += count - self._count
        self._count = count
        self._most = count if most is None else most
        self._serve()

    def of(self, owner: Hashable) -> Share:
        """The slots as seen by ``owner``, for ``async with``."""
        return Share(self, owner)

    def locked(self) -> bool:
        """Whether all slots are taken."""
        return self._free <= 0

    async def acquire(self, owner: Hashable) -> None:
        """Take a slot; wait for a free one if necessary."""
        if self._free > 0 and self._held[owner] < self._most:
            self._take(owner)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(owner, place)
            else:
                self.release(owner)  # the slot was granted in the same pass as the cancellation
            raise

    def release(self, owner: Hashable) -> None:
        """Release a slot."""
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._serve()

    def _take(self, owner: Hashable) -> None:
        self._free -= 1
        self._held[owner] += 1

    def _serve(self) -> None:
        """Grant free slots to waiters; an owner that got one moves to the end."""
        for owner, queue in list(self._waiting.items()):
            if self._free <= 0:
                return
            if self._held[owner] >= self._most:
                continue
            place = next((each for each in queue if not each.done()), None)
            if place is not None:  # None if all waiters of the owner are being cancelled
                self._leave(owner, place)
                self._take(owner)
                place.set_result(None)

    def _leave(self, owner: Hashable, place: asyncio.Future[None]) -> None:
        """Remove a waiter. The owner's other waiters then come after all other owners."""
        queue = self._waiting[owner]
        queue.remove(place)
        if queue:
            self._waiting.move_to_end(owner)
        else:
            del self._waiting[owner]


class Share:
    """The slots of one owner. A share is reusable and may be entered concurrently."""

    def __init__(self, places: FairPlaces, owner: Hashable) -> None:
        self._places = places
        self._owner = owner

    async def acquire(self) -> None:
        await self._places.acquire(self._owner)

    def release(self) -> None:
        self._places.release(self._owner)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
