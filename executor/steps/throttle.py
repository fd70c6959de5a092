"""Limits of probes: slots of the cell for the probes of monitor actions, and a rate for one container."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from executor.places import Share
from executor.steps.base import Step

LONGEST_HOLD_S = 10.0
"""Maximum time a step holds its slot.

The pool bounds the number of busy steps. A longer step mostly waits, and without the limit a few dozen
hanging steps would take all slots of the cell.
"""


class Throttle:
    """Starts the child once a slot is free."""

    def __init__(self, step: Step, places: Share) -> None:
        self._step = step
        self._places = places
        self.ready = step.ready

    async def run(self) -> None:
        await self._places.acquire()
        with ExitStack() as place:
            place.callback(self._places.release)
            giving_back = asyncio.get_running_loop().call_later(LONGEST_HOLD_S, place.close)
            place.callback(giving_back.cancel)
            await self._step.run()


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

    async def __aexit__(self, *_: object) -> None:
        self._places.release()

    async def _wait_for_rate(self) -> None:
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - BURST / PER_SECOND) + 1 / PER_SECOND
        if self._next > now:
            await asyncio.sleep(self._next - now)
