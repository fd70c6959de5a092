"""Whether the loops of a process go round, for a watchdog.

A process whose event loop answers may still have lost one of its loops: a call without a time limit, or a
lock that is never released. Each loop that must go on reports its turns here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Loop:
    limit_s: float
    turned_at: float


class Liveness:
    """The loops of one process. clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loops: dict[str, _Loop] = {}

    @contextmanager
    def loop(self, name: str, limit_s: float) -> Iterator[Callable[[], None]]:
        """A loop that runs inside; yields the function that it calls once per turn.

        limit_s: longest time of a turn, waits included.
        """
        loop = self._loops[name] = _Loop(limit_s, self._clock())

        def turned() -> None:
            loop.turned_at = self._clock()

        try:
            yield turned
        finally:
            if self._loops.get(name) is loop:
                del self._loops[name]

    def late(self) -> dict[str, float]:
        """The loops beyond their limit, with the seconds since their last turn."""
        now = self._clock()
        return {
            name: now - loop.turned_at
            for name, loop in self._loops.items()
            if now - loop.turned_at > loop.limit_s
        }
