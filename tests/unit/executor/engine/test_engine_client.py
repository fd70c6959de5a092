"""Calls to the engine: bounded in number, shared fairly, cancelled without leaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from docker import APIClient

from executor.engine.client import EngineClient

pytestmark = pytest.mark.unit


class Jobs:
    """Jobs that hold their thread until they may go on."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.changed = threading.Semaphore(0)
        self.go_on = threading.Event()

    def job(self, name: str, _: APIClient) -> None:
        self.began.append(name)
        self.changed.release()
        self.go_on.wait(60)

    async def until_begun(self, count: int) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self.changed.acquire, timeout=60)


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EngineClient]:
    """Four threads, and an unused engine."""
    monkeypatch.setattr(EngineClient, "_connect", lambda self: object())
    made = EngineClient("unix:///nowhere", 4)
    yield made
    made._threads.shutdown()


async def test_a_container_with_a_thousand_calls_leaves_half_of_the_threads_to_others(
    client: EngineClient,
) -> None:
    """One LRP of 1,000 parallel actions: a neighbour's call is made at once, not after 1,000 others."""
    jobs = Jobs()

    def call(name: str, owner: str | None) -> asyncio.Task[None]:
        return asyncio.create_task(client.call(name, lambda api: jobs.job(name, api), owner=owner))

    calls = [call(f"many {number}", "many") for number in range(1000)]
    await jobs.until_begun(2)
    calls += [call("one", "one"), call("the cell's", None)]
    await jobs.until_begun(2)
    assert sorted(jobs.began) == ["many 0", "many 1", "one", "the cell's"]
    jobs.go_on.set()
    await asyncio.gather(*calls)
    assert len(jobs.began) == 1002


async def test_a_call_cancelled_before_its_turn_is_never_made(client: EngineClient) -> None:
    """A tree that is interrupted while most of its processes wait to be started ends at once."""
    jobs = Jobs()
    calls = [
        asyncio.create_task(client.call("start", lambda api: jobs.job("start", api), owner="many"))
        for _ in range(100)
    ]
    await jobs.until_begun(2)
    for waiting in calls[2:]:
        waiting.cancel()
    await asyncio.wait(calls[2:])
    assert len(jobs.began) == 2
    jobs.go_on.set()
    await asyncio.gather(*calls[:2])
    assert len(jobs.began) == 2
