"""Work that ends regularly, however often its caller is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from common.shielded import finish, settle
from executor.engine.client import EngineClient
from executor.network.nft import Nft

pytestmark = pytest.mark.unit


async def turns(count: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def cancel(task: asyncio.Task[object], times: int) -> None:
    for _ in range(times):
        task.cancel()
        await turns()


async def test_the_result_is_that_of_the_work() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "made"

    assert await finish(work()) == "made"


async def test_an_error_is_that_of_the_work() -> None:
    async def work() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await finish(work())


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancelled_caller_returns_when_the_work_has_ended(times: int) -> None:
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    discarded: list[str] = []
    caller = asyncio.create_task(finish(work, discard=discarded.append))
    await turns()
    await cancel(caller, times)
    assert not caller.done()
    assert not work.cancelled()
    work.set_result("made")
    await turns()
    assert caller.cancelled()
    assert discarded == ["made"]


async def test_an_error_nobody_takes_is_not_reported_by_the_loop() -> None:
    """The suite turns an exception that was never retrieved into a failure."""
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    discarded: list[str] = []
    caller = asyncio.create_task(finish(work, discard=discarded.append))
    await turns()
    await cancel(caller, 2)
    work.set_exception(OSError("no space"))
    await turns()
    assert caller.cancelled()
    assert discarded == []


async def test_a_cancellation_in_the_turn_in_which_the_work_ends_discards_its_result() -> None:
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    discarded: list[str] = []
    caller = asyncio.create_task(finish(work, discard=discarded.append))
    await turns()
    work.set_result("made")
    caller.cancel()
    await turns()
    assert caller.cancelled()
    assert discarded == ["made"]


async def test_the_work_is_aborted_once() -> None:
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    aborted: list[None] = []
    caller = asyncio.create_task(finish(work, abort=lambda: aborted.append(None)))
    await turns()
    await cancel(caller, 3)
    assert len(aborted) == 1
    work.set_result(None)
    await turns()
    assert caller.cancelled()


async def test_a_timeout_around_it_is_still_a_timeout() -> None:
    work = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, work.set_result, None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await finish(work)
    assert work.done()


async def test_work_that_was_cancelled_itself_is_told_apart() -> None:
    work = asyncio.create_task(asyncio.Event().wait())
    waiting = asyncio.create_task(settle(work))
    await turns()
    work.cancel()
    await waiting
    assert work.cancelled()


async def test_an_engine_call_cancelled_twice_ends_after_its_job() -> None:
    """What a job makes in its thread is there before the code that cleans up looks for it."""
    client = EngineClient("unix:///nowhere", 1)
    client._connect = lambda: object()  # type: ignore[method-assign, assignment, return-value]
    began, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def job(_: object) -> None:
        began.set()
        go_on.wait(60)
        ended.append("job")

    async def call() -> None:
        try:
            await client.call("start", job)
        finally:
            ended.append("call")

    calling = asyncio.create_task(call())
    await asyncio.to_thread(began.wait, 60)
    await cancel(calling, 2)
    assert not calling.done()
    go_on.set()
    await asyncio.wait([calling])
    assert calling.cancelled()
    assert ended == ["job", "call"]
    client._threads.shutdown()


async def test_a_transaction_cancelled_twice_ends_before_the_next_one() -> None:
    """The packet table is changed by one transaction at a time."""
    began, go_on = threading.Event(), threading.Event()

    class Slow:
        def run(self, text: str) -> tuple[str | None, str]:
            began.set()
            go_on.wait(60)
            return "", ""

        def close(self) -> None:
            pass

    nft = Nft(Slow, Slow)
    changing = asyncio.create_task(nft.apply(["add table inet t"]))
    await asyncio.to_thread(began.wait, 60)
    await cancel(changing, 2)
    assert not changing.done()
    go_on.set()
    await asyncio.wait([changing])
    assert changing.cancelled()
    await nft.close()
