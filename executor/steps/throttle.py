"""Throttle: a step that first needs a place in a pool."""

from __future__ import annotations

import asyncio

from executor.steps.base import Step


class Throttle:
    """Runs the child while it holds one of ``places``."""

    def __init__(self, step: Step, places: asyncio.Semaphore) -> None:
        self._step = step
        self._places = places
        self.ready = step.ready

    async def run(self) -> None:
        async with self._places:
            await self._step.run()
