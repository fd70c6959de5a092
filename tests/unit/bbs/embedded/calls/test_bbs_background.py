"""Background calls: bounded for each destination, independent of each other, failures only logged."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from bbs.embedded.calls.background import CALLS, CALLS_PER_DESTINATION, Background
from tests.support.waiting import until

pytestmark = pytest.mark.unit


class Reps:
    """Calls that hang until they are released."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.most = 0
        self.running = 0
        self.release = asyncio.Event()

    async def call(self, rep: str) -> None:
        self.entered.append(rep)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.release.wait()
        self.running -= 1


async def test_a_rep_that_hangs_delays_no_other() -> None:
    reps = Reps()
    async with asyncio.TaskGroup() as group:
        background = Background(group)
        for _ in range(3 * CALLS_PER_DESTINATION):
            background.start("stop-lrp", partial(reps.call, "http://hung"), "http://hung")
        background.start("stop-lrp", partial(reps.call, "http://other"), "http://other")
        background.start("call-back", partial(reps.call, "callback"))
        await until(lambda: {"http://other", "callback"} <= set(reps.entered))
        assert reps.entered.count("http://hung") == CALLS_PER_DESTINATION
        reps.release.set()
        await background.settled()
    assert reps.entered.count("http://hung") == 3 * CALLS_PER_DESTINATION


async def test_calls_to_many_reps_are_bounded_together() -> None:
    reps = Reps()
    async with asyncio.TaskGroup() as group:
        background = Background(group)
        for number in range(2 * CALLS):
            background.start("stop-lrp", partial(reps.call, f"{number}"), f"http://{number}")
        await until(lambda: reps.running == CALLS)
        reps.release.set()
        await background.settled()
    assert reps.most == CALLS
    assert len(reps.entered) == 2 * CALLS


async def test_a_failure_is_logged_and_frees_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("the rep is gone")

    async with asyncio.TaskGroup() as group:
        background = Background(group)
        for _ in range(2 * CALLS_PER_DESTINATION):
            background.start("stop-lrp", fail, "http://rep")
        await background.settled()
    assert caplog.messages == ["failed-to-stop-lrp"] * 2 * CALLS_PER_DESTINATION


async def test_the_end_of_the_service_cancels_what_runs_and_what_waits() -> None:
    reps = Reps()
    async with asyncio.TaskGroup() as group:
        background = Background(group)
        for _ in range(2 * CALLS_PER_DESTINATION):
            background.start("stop-lrp", partial(reps.call, "http://rep"), "http://rep")
        await until(lambda: reps.running == CALLS_PER_DESTINATION)
        background.close()
    assert len(reps.entered) == CALLS_PER_DESTINATION
