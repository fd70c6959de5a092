"""Copies in separate threads: they end with their caller and their container."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from executor.engine import copies as copies_module
from executor.engine.copies import Copies
from executor.errors import ContainerGone

pytestmark = pytest.mark.unit


class Work:
    """Runs until it is told to end, or for ever when it is ``stubborn``."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self._stubborn = stubborn
        self._loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.told = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, revoked: threading.Event) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        revoked.wait(20)
        self.told.set()
        if self._stubborn:
            self.let_go.wait(20)
        return "done"


@pytest.fixture
def no_more_threads() -> Iterator[None]:
    """Every thread of the test has ended."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("copy"):
            thread.join(20)
            assert not thread.is_alive()


pytestmark = [pytestmark, pytest.mark.usefixtures("no_more_threads")]


async def test_results_and_errors_come_back() -> None:
    copies = Copies()
    assert await copies.run("g1", "copy", lambda _: 7) == 7

    def fails(_: threading.Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await copies.run("g1", "copy", fails)


async def test_the_end_of_a_container_ends_its_copies_and_no_others() -> None:
    copies, mine, other = Copies(), Work(), Work()
    running = [
        asyncio.create_task(copies.run(guid, f"copy {guid}", work))
        for guid, work in (("g1", mine), ("g2", other))
    ]
    await mine.begun.wait()
    await other.begun.wait()
    copies.end("g1")
    with pytest.raises(ContainerGone, match="copy g1: the container is being destroyed"):
        await running[0]
    assert not running[1].done()
    assert not other.told.is_set()
    copies.end("g2")
    await asyncio.wait([running[1]])


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_copy_is_waited_for(times: int) -> None:
    copies, work = Copies(), Work(stubborn=True)
    running = asyncio.create_task(copies.run("g1", "copy", work))
    await work.begun.wait()
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0)
    assert await asyncio.to_thread(work.told.wait, 20)
    assert not running.done()
    work.let_go.set()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_copy_that_hangs_is_abandoned(monkeypatch: pytest.MonkeyPatch, cancelled: bool) -> None:
    """A file system that an app or a volume driver serves may never answer."""
    monkeypatch.setattr(copies_module, "ABANDON_S", 0.01)
    copies, work = Copies(), Work(stubborn=True)
    running = asyncio.create_task(copies.run("g1", "copy", work))
    await work.begun.wait()
    if cancelled:
        running.cancel()
    else:
        copies.end("g1")
    with pytest.raises(asyncio.CancelledError if cancelled else ContainerGone):
        await running
    work.let_go.set()
