"""Serial: one child after another."""

from __future__ import annotations

from collections.abc import Sequence

from executor.steps.base import Step, always_ready, interrupted


class Serial:
    """Ends with the first error. Ready when the last child is.

    After an interrupt the rest is not started, even when the child that got it ended well.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self.ready = steps[-1].ready if steps else always_ready()

    async def run(self) -> None:
        for step in self._steps:
            await step.run()
            if interrupted():
                return
