"""The operation queue: one running and one waiting operation per guid; the latest replaces."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rep.reconcile.batch import ContainerOperation, Operation
from rep.reconcile.queue import OperationQueue, Slots
from tests.support.waiting import until

pytestmark = pytest.mark.unit

KEYS = ("a", "b", "c")


class SlotsMachine(RuleBasedStateMachine):
    """Against the plainest model: per key the list of items that ran, and the newest one pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: Slots[int] = Slots()
        self.running: dict[str, int] = {}
        self.newest: dict[str, int] = {}
        self.pushed = 0

    @rule(key=st.sampled_from(KEYS))
    def push(self, key: str) -> None:
        self.pushed += 1
        starts = self.slots.push(key, self.pushed)
        assert starts == (key not in self.running)
        self.newest[key] = self.pushed
        if starts:
            self.running[key] = self.pushed

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        ended = self.running.pop(key)
        following = self.slots.finished(key)
        if self.newest[key] == ended:
            assert following is None
        else:
            assert following == self.newest[key]
            self.running[key] = following

    @invariant()
    def idle_means_nothing_runs(self) -> None:
        assert self.slots.idle == (not self.running)

    def teardown(self) -> None:
        """Whatever was pushed last has run, or is running, in the end."""
        for key in KEYS:
            while key in self.running:
                last = self.running.pop(key)
                following = self.slots.finished(key)
                if following is None:
                    assert last == self.newest[key]
                else:
                    self.running[key] = following


TestSlots = SlotsMachine.TestCase


class Recorder:
    """Executes by waiting at a gate per trace id."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.ended: list[str] = []

    def gate(self, trace_id: str) -> asyncio.Event:
        return self.gates.setdefault(trace_id, asyncio.Event())

    async def __call__(self, operation: Operation) -> None:
        assert isinstance(operation, ContainerOperation)
        self.began.append(operation.trace_id)
        await self.gate(operation.trace_id).wait()
        if operation.trace_id == "broken":
            raise LookupError("broken on purpose")
        self.ended.append(operation.trace_id)


async def test_an_overtaken_operation_never_runs() -> None:
    recorder = Recorder()
    queue = OperationQueue(recorder)
    async with queue.open():
        for trace_id in ("first", "overtaken", "last"):
            queue.push(ContainerOperation("guid", trace_id))
        await until(lambda: recorder.began == ["first"])
        recorder.gate("first").set()
        recorder.gate("last").set()
        await queue.join()
    assert recorder.ended == ["first", "last"]


async def test_different_guids_run_side_by_side() -> None:
    recorder = Recorder()
    queue = OperationQueue(recorder)
    async with queue.open():
        for number in range(100):
            queue.push(ContainerOperation(f"guid-{number}", str(number)))
        await until(lambda: len(recorder.began) == 100)
        assert recorder.ended == []


async def test_an_unexpected_error_is_logged_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    queue = OperationQueue(recorder)
    recorder.gate("broken").set()
    recorder.gate("next").set()
    async with queue.open():
        queue.push(ContainerOperation("guid", "broken"))
        queue.push(ContainerOperation("guid", "next"))
        await queue.join()
    assert recorder.ended == ["next"]
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "operation-failed"
    ]


async def test_leaving_cancels_what_runs() -> None:
    recorder = Recorder()
    queue = OperationQueue(recorder)
    async with queue.open():
        queue.push(ContainerOperation("guid", "stuck"))
        await until(lambda: recorder.began == ["stuck"])
    assert recorder.ended == []
    with pytest.raises(RuntimeError, match="guid"):
        queue.push(ContainerOperation("guid", "late"))
