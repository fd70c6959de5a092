"""Background: a child that keeps running after an interrupt (the container proxy)."""

from __future__ import annotations

import asyncio

from executor.steps.base import Step
from executor.steps.orphans import Leftovers


class Background:
    """Ends like its child. When interrupted it succeeds, and the child keeps running as a leftover."""

    def __init__(self, step: Step, leftovers: Leftovers) -> None:
        self._step = step
        self._leftovers = leftovers
        self.ready = step.ready

    async def run(self) -> None:
        child = asyncio.create_task(self._step.run())
        try:
            await asyncio.wait({child})
        except asyncio.CancelledError:
            self._leftovers.adopt(child)
            return
        child.result()
