"""The share of the agent that the probes of one container get."""

from __future__ import annotations

import asyncio
from types import TracebackType

AT_ONCE = 16
"""Probes of one container that run at the same time. Each holds a socket of the agent."""
PER_SECOND = 20.0
"""Probes of one container per second, in the long run. Each keeps the agent busy for up to a few ms."""
BURST = 40
"""Probes beyond that rate that may run at once, after a pause."""


class Turns:
    """A probe runs inside ``async with turns:`` and first waits for its turn, in the order of arrival.

    Checks with very short intervals, or very many of them, so become slow themselves and delay no other
    container.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._next = 0.0
        """When the next probe would be due, had all probes so far kept to the rate."""

    async def __aenter__(self) -> None:
        await self._places.acquire()
        try:
            await self._wait_for_rate()
        except BaseException:
            self._places.release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._places.release()

    async def _wait_for_rate(self) -> None:
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - BURST / PER_SECOND) + 1 / PER_SECOND
        if self._next > now:
            await asyncio.sleep(self._next - now)
