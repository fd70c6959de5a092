"""Children that run side by side: what parallel and codependent steps have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from executor.steps.base import Step, outlast


@asynccontextmanager
async def running(steps: Sequence[Step], ready: asyncio.Event) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the steps, each in a task of its own, and set ``ready`` once all of them are.

    Whoever enters waits for the tasks. Leaving ends the watch over readiness; when it is left by an error
    that is not the steps' own, what still runs is interrupted and waited for.
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
    """Interrupt the children that have not ended."""
    for task in tasks:
        if not task.done():
            task.cancel()
