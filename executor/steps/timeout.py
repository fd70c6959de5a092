"""Timeout: a child with a time limit."""

from __future__ import annotations

import asyncio

from common.gotext import format_seconds
from executor.steps.base import EmittableError, Step, StepError, failure_of, outlast


class Timeout:
    """Interrupts the child at the time limit and fails, regardless of the child's result.

    If an interrupt came first, the step ends like the child and the timer no longer applies.
    """

    def __init__(self, step: Step, *, seconds: float) -> None:
        self._step = step
        self._seconds = seconds
        self.ready = step.ready

    async def run(self) -> None:
        child = asyncio.create_task(self._step.run())
        try:
            await asyncio.wait({child}, timeout=self._seconds)
        except asyncio.CancelledError:
            child.cancel()
            await outlast(child)
        if child.done():
            return child.result()
        child.cancel()
        await outlast(child)
        raise _exceeded(self._seconds, failure_of(child))


def _exceeded(seconds: float, error: BaseException | None) -> EmittableError:
    text = f"exceeded {format_seconds(seconds)} timeout"
    if isinstance(error, StepError) and error.emittable:
        text += f"; {error}"
    timeout = EmittableError(text)
    timeout.__cause__ = error
    return timeout
