"""Rate limit of the probes of one container."""

from __future__ import annotations

import asyncio
from types import TracebackType

AT_ONCE = 16
"""Maximum number of concurrent probes of one container. Each uses a socket of the agent."""
PER_SECOND = 20.0
"""Average number of probes of one container per second. Each takes up to a few ms of the event loop."""
BURST = 40
"""Number of probes that may exceed the rate at once, after a pause."""


class Turns:
    """Waits for a turn on entry, in order of arrival; the probe runs inside ``async with turns:``.

    A container with very short intervals or very many checks thus slows down its own checks and delays no
    other container.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._next = 0.0
        """Due time of the next probe if all probes so far had kept to the rate."""

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
