"""Cancellation of a piece of work at each of its waits in turn, with a count of leaked resources.

The waits of an asyncio task are the only places where it can be cancelled. So work that leaves nothing behind
when it is cancelled at the first, the second, and every other one, leaves nothing behind at all.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from executor.engine.docker import DockerEngine

PATIENCE_S = 20.0

CONNECTIONS = 2
"""To the engine, which its client keeps: see :func:`warm_up`."""

POOLED = ("engine", "asyncio_", "archives", "readings", "links", "nft", "walk", "egress-rules", "log sink")
"""Beginnings of the names of threads whose number their pool bounds, and which stay."""


class Cancel(NamedTuple):
    """times: at how many waits in a row. late: when what is waited for is there, in the same pass of the loop
    (so its result is lost); else when the wait begins."""

    times: int
    late: bool


ONCE_AND_TWICE = [Cancel(1, False), Cancel(2, False), Cancel(1, True), Cancel(2, True)]


@dataclass(frozen=True)
class Outcome:
    """How cancelled work ended. at: the first wait with a cancellation; error: None for success."""

    at: int
    how: Cancel
    error: BaseException | None

    @property
    def cancelled(self) -> bool:
        return isinstance(self.error, asyncio.CancelledError)


class _Cancelled:
    """An awaitable that cancels its task when it waits for the ``at``-th time, and at the next waits."""

    def __init__(self, work: Coroutine[Any, Any, object], at: int, how: Cancel) -> None:
        self._work = work
        self._at = at
        self._left = how.times
        self._late = how.late
        self.reached = False

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._work.__await__()
        task, error = asyncio.current_task(), None
        assert task is not None
        for wait in count(1):
            try:
                waiting_for = steps.throw(error) if error is not None else steps.send(None)
            except StopIteration as end:
                return end.value
            error = None
            if wait >= self._at and self._left:
                self.reached = True
                self._left -= 1
                if self._late and isinstance(waiting_for, asyncio.Future):
                    waiting_for.add_done_callback(lambda _: task.cancel())
                else:
                    asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield waiting_for
            except BaseException as raised:  # noqa: BLE001 - it is the work's
                error = raised
        raise AssertionError


async def cancelled_everywhere(
    work: Callable[[], Coroutine[Any, Any, object]], how: Cancel
) -> AsyncIterator[Outcome]:
    """Run the work again and again, cancelled at its first wait, its second one, and so on to its last.

    Each outcome comes when the work has ended; the caller cleans up and looks at what is left.
    """
    for at in count(1):
        cancelled = _Cancelled(work(), at, how)

        async def run(awaitable: Awaitable[object] = cancelled) -> object:
            return await awaitable

        task = asyncio.create_task(run())
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([task])
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if not cancelled.reached:
            assert error is None, f"without a cancellation: {error!r}"
            return
        yield Outcome(at, how, error)


@dataclass(frozen=True)
class Census:
    """What a process holds. descriptors: without sockets. threads: those of no pool."""

    descriptors: int
    sockets: int
    threads: int

    @classmethod
    def take(cls) -> Census:
        own = [thread for thread in threading.enumerate() if not thread.name.startswith(POOLED)]
        files = _open_files()
        sockets = [file for file in files if file.startswith("socket:")]
        return cls(len(files) - len(sockets), len(sockets), len(own))

    def within(self, before: Census) -> bool:
        """Whether nothing was added, except connections of the pool."""
        return (
            self.descriptors <= before.descriptors
            and self.sockets <= before.sockets + CONNECTIONS
            and self.threads <= before.threads
        )


async def warm_up(engine: DockerEngine) -> None:
    """Let the engine's client open the connections that it keeps: one for each of the last 25 URLs."""
    for number in range(30):
        await engine.find(f"none-{number}")


async def assert_as_before(before: Census, why: object = "") -> None:
    """Wait until nothing is held beyond what was ``before``."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                now = Census.take()
                if now.within(before):
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{why}: {before} before, {now} now: {_open_files()}") from None


def _open_files() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return sorted(found)
