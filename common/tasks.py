"""Tasks with the lifetime of a context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
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
