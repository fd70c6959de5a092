"""Timed: reports the result of a child (the container's setup)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from executor.steps.base import Step
from executor.steps.orphans import Orphans


class Timed:
    """Reports success or failure of the child to ``on_end``.

    An interrupt is forwarded to the child, and the step succeeds at once and reports success. The child ends
    as an orphan.
    """

    def __init__(self, step: Step, on_end: Callable[[bool], None], orphans: Orphans) -> None:
        self._step = step
        self._on_end = on_end
        self._orphans = orphans
        self.ready = step.ready

    async def run(self) -> None:
        child = asyncio.create_task(self._step.run())
        try:
            await asyncio.wait({child})
        except asyncio.CancelledError:
            child.cancel()
            self._orphans.adopt(child)
            self._on_end(True)
            return
        self._on_end(child.exception() is None)
        child.result()
