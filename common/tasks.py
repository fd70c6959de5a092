"""Tasks with the lifetime of a context, and the errors of task groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(work: Coroutine[object, object, object], name: str) -> AsyncIterator[None]:
    """Run a coroutine as a task inside the context; the exit cancels it and waits for its end.

    An error of the coroutine cancels the body and is raised at the exit, in a group.
    """
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


def leaves(error: Exception) -> Iterator[Exception]:
    """The errors inside nested groups; every enclosing task group adds one level."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
