"""Parallel: runs all children concurrently until each has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from executor.steps.base import Step, failure_of, outlast
from executor.steps.children import CombinedError, interrupt, running


class Parallel:
    """A failed child does not stop the others; errors are combined in the order of the children."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self.ready = asyncio.Event()

    async def run(self) -> None:
        async with running(self._steps, self.ready) as tasks:
            try:
                if tasks:
                    await asyncio.wait(tasks)
            except asyncio.CancelledError:
                interrupt(tasks)
            await outlast(*tasks)
            errors = [error for error in map(failure_of, tasks) if error is not None]
        if errors:
            raise CombinedError(errors)
