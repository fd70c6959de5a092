"""Concurrent children: the common part of parallel and codependent steps, and the combination of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

from executor.steps.base import Step, StepError, outlast, public_text


@asynccontextmanager
async def running(steps: Sequence[Step], ready: asyncio.Event) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run each step in its own task and set ``ready`` once all steps are ready.

    The caller waits for the tasks. Leaving the context stops the watch over readiness. If an error other than
    the steps' ends the context, running steps are interrupted and awaited.
    """
    tasks = [asyncio.create_task(step.run()) for step in steps]
    watch = asyncio.create_task(_set_when_all_ready(steps, ready))
    try:
        yield tasks
    finally:
        watch.cancel()
        interrupt(tasks)
        await outlast(watch, *tasks)
        if all(step.ready.is_set() for step in steps):
            ready.set()


async def _set_when_all_ready(steps: Sequence[Step], ready: asyncio.Event) -> None:
    for step in steps:
        await step.ready.wait()
    ready.set()


def interrupt(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Interrupt the running children."""
    for task in tasks:
        if not task.done():
            task.cancel()


class CombinedError(StepError):
    """Error of parallel and codependent steps; its text is empty if all errors are hidden."""

    def __init__(self, errors: Iterable[BaseException]) -> None:
        self.errors = tuple(errors)
        texts = (
            public_text(error) for error in self.errors if not (isinstance(error, StepError) and error.hidden)
        )
        super().__init__("; ".join(text for text in texts if text))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The individual errors inside an error, in the order of their collection."""
    if isinstance(error, CombinedError):
        for child in error.errors:
            yield from leaves(child)
    else:
        yield error
