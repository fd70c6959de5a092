"""Consistently succeeds: a probe repeated until it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from executor.steps.base import Step, interrupted


class Consistently:
    """Waits ``interval`` s and probes, repeatedly, until a probe fails. Every probe is a new step."""

    def __init__(self, probe: Callable[[], Step], *, interval: float) -> None:
        self._probe = probe
        self._interval = interval
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        while not interrupted():
            await asyncio.sleep(self._interval)
            await self._probe().run()
