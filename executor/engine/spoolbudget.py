"""What the spools of a cell share: their bounds, the wait for sinks that are behind, one pass that saves.

Reading waits while the sinks are behind but get on, because then the file is the better place for output. It
does not wait for a sink that takes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LAG_BYTES = 2 << 20
"""Bytes that the cell has read and the sinks have not taken. A line takes about four times its size in a
sink's buffer of 32 MiB. What waits longer is no longer in the processor's cache.
"""

LAG_STREAM_BYTES = 256 << 10
"""Part of :data:`LAG_BYTES` that each stream has, however many there are: more than the longest line."""

STUCK_S = 1.0
"""Sinks that are behind and take nothing for this time are not waited for."""


class Bounded(Protocol):
    """A spool as its budget sees it.

    name: unique. held: bytes that the sinks have not taken. in_flight: those of them that were read.
    """

    name: str

    @property
    def held(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    def expose_oldest(self, excess: int) -> None:
        """Free ``excess`` bytes."""

    def save(self) -> None:
        """Store what the sinks have taken."""


class SpoolBudget:
    """Counts the bytes of all spools. stream_bytes, cell_bytes: bounds of one and of all."""

    def __init__(self, stream_bytes: int, cell_bytes: int) -> None:
        self.stream_bytes = stream_bytes
        self.open: set[Bounded] = set()
        self._cell_bytes = cell_bytes
        self._held = self._in_flight = 0
        self._progress_at = 0.0
        self._waiting: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._unsaved: dict[Bounded, None] = {}

    @property
    def held(self) -> int:
        """Bytes of all streams that the sinks have not taken."""
        return self._held

    def grow(self, size: int) -> None:
        """Count bytes, or with a negative ``size`` bytes that were taken."""
        self._held += size

    def read(self, size: int) -> None:
        """Count bytes that were read and go to the sinks."""
        if self._in_flight <= LAG_BYTES < self._in_flight + size:
            self._progress_at = time.monotonic()
        self._in_flight += size

    def take(self, size: int) -> None:
        """Count read bytes that the sinks have taken."""
        self._in_flight -= size
        self._progress_at = time.monotonic()
        self._resume()

    def lags(self, spool: Bounded) -> bool:
        """Whether the sinks are behind because of this stream, among others, and get on."""
        if self._in_flight <= LAG_BYTES:
            return False
        own = max(LAG_BYTES // len(self.open), LAG_STREAM_BYTES) if self.open else LAG_STREAM_BYTES
        return spool.in_flight > own and time.monotonic() - self._progress_at < STUCK_S

    def when_taken(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the sinks have taken output of any stream, or have taken none for a time."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STUCK_S, self._look_again)
        self._waiting.append(then)

    def _look_again(self) -> None:
        self._timer = None
        self._resume()

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()

    def keep_bound(self) -> None:
        """Let the largest streams give up their oldest output while the cell is above its bound."""
        while self._held > self._cell_bytes and self.open:
            before = self._held
            largest = max(self.open, key=lambda spool: spool.held)
            largest.expose_oldest(self._held - self._cell_bytes)
            if self._held == before:
                return

    def save_soon(self, spool: Bounded) -> None:
        """Save once in this iteration of the loop, before any task that starts now."""
        if not self._unsaved:
            asyncio.get_running_loop().call_soon(self._save)
        self._unsaved[spool] = None

    def forget(self, spool: Bounded) -> None:
        """A spool is closed."""
        self.open.discard(spool)
        self._held -= spool.held
        self._in_flight -= spool.in_flight
        self._resume()

    def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        for spool in unsaved:
            spool.save()
