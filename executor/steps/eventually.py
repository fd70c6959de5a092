"""Eventually succeeds: a probe repeated until it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from executor.logs.clock import Clock
from executor.steps.base import Step, StepError, interrupted


class Eventually:
    """Waits ``interval`` s and probes, repeatedly, until a probe succeeds.

    ``timeout`` is in s; 0 means none. It is checked only after a failed probe, whose error is then the step's
    error. Every probe is a new step.
    """

    def __init__(self, probe: Callable[[], Step], *, interval: float, timeout: float, clock: Clock) -> None:
        self._probe = probe
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        begun = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._interval)
            try:
                return await self._probe().run()
            except StepError:
                late = self._timeout > 0 and self._clock.monotonic() - begun > self._timeout
                if late or interrupted():
                    raise
