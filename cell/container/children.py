"""Processes of a container with the lifetime of a context."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from cell.errors import CommandError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Child:
    """A running process. name: for messages."""

    name: str
    process: asyncio.subprocess.Process

    @classmethod
    @asynccontextmanager
    async def running(cls, name: str, command: Sequence[str], stop_s: float) -> AsyncIterator[Self]:
        """Start a process; at the end of the context stop it by SIGTERM, and after ``stop_s`` by SIGKILL.

        Raises CommandError if it cannot be started.
        """
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        except OSError as error:
            raise CommandError(f"{name} cannot be started: {command[0]}: {error.strerror}") from error
        try:
            yield cls(name, process)
        finally:
            await _stop(name, process, stop_s)

    async def ended(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        return await self.process.wait()


async def _stop(name: str, process: asyncio.subprocess.Process, stop_s: float) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(stop_s):
            await process.wait()
    except TimeoutError:
        logger.error("child-killed", extra={"data": {"child": name, "after-s": stop_s}})
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def first_ended(children: Sequence[Child], stop: asyncio.Event) -> Child | None:
    """Wait until a child has ended, and return it, or None as soon as ``stop`` is set."""
    tasks: list[asyncio.Task[object]] = [asyncio.ensure_future(each.ended()) for each in children]
    stopping: asyncio.Task[object] = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
    if stop.is_set():
        return None
    return next(each for each in children if each.process.returncode is not None)
