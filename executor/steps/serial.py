"""Serial: runs its children one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from executor.steps.base import Step, interrupted


class Serial:
    """Fails with the first error. Ready when the last child is ready.

    After an interrupt the remaining children are not started, even if the interrupted child succeeded.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self.ready = steps[-1].ready if steps else asyncio.Event()

    async def run(self) -> None:
        if not self._steps:
            self.ready.set()
        for step in self._steps:
            await step.run()
            if interrupted():
                return
