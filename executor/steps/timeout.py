"""Timeout: a child with a time limit."""

from __future__ import annotations

import asyncio

from common.gotext import format_seconds
from executor.clock import Clock
from executor.steps.base import EmittableError, Step, StepError, failure_of, interrupted, outlast
from executor.steps.replay import Recorded


class Timeout:
    """Interrupts the child at the time limit and fails, regardless of the child's result.

    If an interrupt came first, the step ends like the child and the timer no longer applies. The limit counts
    from the first beginning, also after a restart of the agent.
    """

    def __init__(self, step: Step, *, seconds: float, record: Recorded, clock: Clock) -> None:
        self._step = step
        self._seconds = seconds
        self._record = record
        self._clock = clock
        self.ready = step.ready

    async def run(self) -> None:
        past = self._record.past
        if past is not None and past.ended:
            await self._expire_again(past.ended)
            return
        now = self._clock.monotonic()
        begun = now if past is None else past.at
        if past is None:
            self._record.note(at=now)
        child = asyncio.create_task(self._step.run())
        try:
            await asyncio.wait({child}, timeout=max(0.0, begun + self._seconds - now))
        except asyncio.CancelledError:
            child.cancel()
            await outlast(child)
        if not child.done():
            await self._record.history.replayed_or_ended(child)
            if not child.done() and interrupted():  # under a previous agent process, before the limit
                child.cancel()
                await outlast(child)
        if child.done():
            child.result()
            return
        self._record.end()
        await self._expire(child)

    async def _expire_again(self, position: int) -> None:
        child = asyncio.create_task(self._step.run())
        await self._record.history.turn(position)
        await self._expire(child)

    async def _expire(self, child: asyncio.Task[None]) -> None:
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
