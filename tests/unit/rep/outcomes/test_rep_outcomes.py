"""Reports about ended containers: which answers end them, when they are sent, and what is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bbs.backoff import Backoff
from bbs.client.transport import EndpointNotFoundError, UnansweredError
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from bbs.models.invalid import InvalidDocument
from bbs.models.task import Task, TaskState
from executor.journal.api import FailureReason, OutcomeRow
from rep.outcomes import reports, schedule
from rep.outcomes.answers import FINAL, Verdict, follow_up, verdict
from rep.outcomes.courier import Courier
from rep.outcomes.ledger import Ledger
from rep.outcomes.reports import END_REPORTS, EndReport, Entry, Instance, decode, encode, guid_of
from rep.outcomes.sender import Sender
from rep.removals import Removals
from tests.support.journals import FailingJournal, Fault, Rows
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.unit

CELL = "cell-1"
E = ErrorType
AWAY = UnansweredError(E.InvalidResponse, "connection refused")


def who(guid: str = "instance-1") -> Instance:
    return Instance(
        key=ActualLRPKey(process_guid="web", index=1, domain="apps"),
        instance_key=ActualLRPInstanceKey(instance_guid=guid, cell_id=CELL),
    )


def crash(guid: str = "instance-1") -> reports.CrashActualLRP:
    return reports.CrashActualLRP(who(guid), "Exited with status 1")


COMPLETE = reports.CompleteTask("task-1", False, "", "r\u00e9sult\x00\ud800")
REPORTS: dict[type[EndReport], EndReport] = {
    type(report): report
    for report in (
        crash(),
        reports.RemoveActualLRP(who()),
        reports.EvacuateClaimedActualLRP(who()),
        reports.EvacuateStoppedActualLRP(who()),
        reports.EvacuateCrashedActualLRP(who(), "boom"),
        COMPLETE,
        reports.RejectTask("task-1", "no image", ours=False),
    )
}
DONE_BY = {
    reports.CrashActualLRP: {E.ResourceNotFound, E.ActualLRPCannotBeCrashed},
    reports.RemoveActualLRP: {E.ResourceNotFound},
    reports.EvacuateClaimedActualLRP: {E.ResourceNotFound, E.ActualLRPCannotBeUnclaimed},
    reports.EvacuateStoppedActualLRP: {E.ResourceNotFound},
    reports.EvacuateCrashedActualLRP: {E.ResourceNotFound, E.ActualLRPCannotBeCrashed},
    reports.CompleteTask: {E.ResourceNotFound, E.InvalidStateTransition, E.RunningOnDifferentCell},
    reports.RejectTask: {E.ResourceNotFound},
}
UNAVAILABLE = {E.UnknownError, E.Deadlock, E.Timeout, E.RouterError}


@pytest.mark.parametrize("kind", END_REPORTS)
@pytest.mark.parametrize("error", ErrorType)
def test_which_answers_end_which_report(kind: type[EndReport], error: ErrorType) -> None:
    expected = Verdict.UNAVAILABLE if error in UNAVAILABLE else Verdict.REFUSED
    if error in DONE_BY[kind] | {E.InvalidRequest}:
        expected = Verdict.DONE
    assert verdict(REPORTS[kind], BBSError(error)) is expected


@pytest.mark.parametrize("report", REPORTS.values(), ids=lambda report: type(report).__name__)
def test_success_ends_every_report_and_silence_none(report: EndReport) -> None:
    assert verdict(report, None) is Verdict.DONE
    assert verdict(report, AWAY) is Verdict.UNAVAILABLE
    assert verdict(report, EndpointNotFoundError(E.InvalidResponse)) is Verdict.REFUSED
    assert FINAL.keys() == set(END_REPORTS)


def test_a_task_that_cannot_be_completed_is_reported_once_more_as_failed() -> None:
    again = reports.CompleteTask("task-1", True, "invalid state transition", "")
    assert follow_up(COMPLETE, BBSError(E.InvalidStateTransition)) == again
    assert follow_up(COMPLETE, BBSError(E.ResourceNotFound)) is None
    assert follow_up(crash(), BBSError(E.InvalidStateTransition)) is None


@pytest.mark.parametrize("report", REPORTS.values(), ids=lambda report: type(report).__name__)
def test_a_report_is_the_same_after_a_restart(report: EndReport) -> None:
    entry = Entry(report=report, trace_id="trace", recorded_at=1700000000.25)
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"report":"Unknown"}',
        b'{"report":"RejectTask","task_guid":"t"}',
        b"[" * 9999,
    ],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDocument):
        decode(data)


@pytest.mark.parametrize(
    ("waiting", "in_flight", "probe_at", "expected"),
    [
        ({}, (), None, ([], None)),
        ({"a": 5.0, "b": 9.0, "c": 12.0, "d": 11.0}, (), None, (["a", "b"], 11.0)),
        ({"a": 5.0, "b": 9.0}, ("a",), None, (["b"], None)),
        ({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, (), None, (["a", "b", "c"], None)),
        ({"a": 1.0, "b": 2.0}, ("x", "y", "z"), None, ([], None)),
        ({"a": 5.0, "b": 4.0}, (), 11.0, ([], 11.0)),
        ({"a": 5.0, "b": 4.0}, (), 10.0, (["b"], None)),
        ({"a": 5.0, "b": 4.0}, ("b",), 10.0, ([], None)),
        ({}, (), 10.0, ([], None)),
    ],
)
def test_which_reports_are_due(
    waiting: dict[str, float], in_flight: tuple[str, ...], probe_at: float | None, expected: object
) -> None:
    assert schedule.due(waiting, in_flight, 10.0, probe_at=probe_at, parallel=3) == expected


async def test_a_ledger_begins_with_the_reports_of_its_past(caplog: pytest.LogCaptureFixture) -> None:
    journal = FailingJournal()
    ledger = Ledger(journal, now=lambda: 17.0)
    assert await ledger.add(crash("a"), "trace")
    assert await ledger.add(COMPLETE, "")
    journal.rows.outcomes["damaged"] = OutcomeRow(guid="damaged", value=b"?")
    after = Ledger(FailingJournal(journal.rows))
    assert after.entries == {
        "a": Entry(report=crash("a"), trace_id="trace", recorded_at=17.0),
        "task-1": Entry(report=COMPLETE, trace_id="", recorded_at=17.0),
    }
    assert [record.message for record in caplog.records] == ["outcomes.unreadable"]
    await after.discard_unreadable()
    assert journal.rows.outcomes.keys() == {"a", "task-1"}
    await after.remove("a")
    assert [*Ledger(FailingJournal(journal.rows))] == ["task-1"]


async def test_the_first_report_of_a_container_counts() -> None:
    journal = FailingJournal()
    ledger = Ledger(journal)
    assert await ledger.add(crash("a"), "first")
    assert await ledger.add(reports.RemoveActualLRP(who("a")), "second")
    assert ledger.entries["a"].report == crash("a")
    assert len(journal.writes) == 1


async def test_a_full_ledger_drops_nothing_and_refuses_the_next(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(FailingJournal(), now=lambda: 1.0, max_entries=2)
    assert [await ledger.add(crash(guid), "") for guid in "abc"] == [True, True, False]
    assert [*ledger] == ["a", "b"]
    size = len(encode(ledger.entries["a"]))
    small = Ledger(FailingJournal(), now=lambda: 1.0, max_bytes=2 * size)
    assert [await small.add(crash(guid), "") for guid in "abc"] == [True, True, False]
    await small.remove("a")
    assert await small.add(crash("c"), "")
    assert "outcomes.ledger-full" in caplog.text


async def test_a_report_that_cannot_be_stored_stays_in_memory_and_is_stored_later() -> None:
    journal = FailingJournal()
    journal.fault = Fault(FailureReason.FULL, times=1)
    ledger = Ledger(journal)
    assert not await ledger.add(crash("a"), "trace")
    assert "a" in ledger
    assert not ledger.is_stored("a")
    assert ledger.failure.startswith("the disk is full")
    assert await ledger.add(crash("a"), "")
    assert decode(journal.rows.outcomes["a"].value).trace_id == "trace"
    assert ledger.failure == ""


class ScriptedSends:
    """Answers in order; then success. ``away`` makes every call fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bool]] = []
        self.answers: list[Exception | None] = []
        self.away = False
        self.gate: asyncio.Event | None = None

    async def __call__(self, report: EndReport, trace_id: str, *, repeated: bool) -> None:
        self.sent.append((guid_of(report), repeated))
        if self.gate is not None:
            await self.gate.wait()
        answer = AWAY if self.away else self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


class Sending:
    """A courier on a scripted BBS, with a clock of the test."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.now = 1000.0
        self.journal = FailingJournal(rows)
        self.send = ScriptedSends()
        self.ledger = Ledger(self.journal, now=lambda: self.now)
        self.courier = Courier(
            self.ledger,
            self.send,
            Removals(),
            now=lambda: self.now,
            probes=Backoff(first_s=0.01, most_s=0.02),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.timeout(PATIENCE_S), self.courier.running():
            yield


async def test_a_report_is_sent_at_once_and_forgotten_when_answered() -> None:
    world = Sending()
    assert await world.courier.settle(crash(), "trace")
    assert world.send.sent == [("instance-1", False)]
    assert (len(world.ledger), world.journal.rows.outcomes) == (0, {})


async def test_a_report_without_an_answer_waits_and_others_do_not_try_in_vain() -> None:
    world = Sending()
    world.send.away = True
    guids = [f"instance-{number}" for number in range(5)]
    for guid in guids:
        assert await world.courier.settle(crash(guid), "")
    assert world.send.sent == [("instance-0", False)]
    assert [*world.journal.rows.outcomes] == guids
    async with world.running():
        await until(lambda: len(world.send.sent) > 6)
        assert {guid for guid, _ in world.send.sent[:6]} == set(guids), "each one probes in turn"
        world.send.away = False
        await until(lambda: not world.ledger)
    assert world.journal.rows.outcomes == {}


async def test_all_outcomes_arrive_within_two_seconds_of_the_return_of_the_bbs() -> None:
    """With the pauses of production, after an outage of any length."""
    world = Sending()
    world.courier = Courier(world.ledger, world.send, Removals())
    world.send.away = True
    for number in range(250):
        await world.courier.settle(crash(f"instance-{number}"), "")
    world.courier._unanswered = 1000
    async with world.running():
        await until(lambda: len(world.send.sent) > 1)
        world.send.away = False
        began = asyncio.get_running_loop().time()
        await until(lambda: not world.ledger)
        assert asyncio.get_running_loop().time() - began < 2


async def test_a_refused_report_is_repeated_and_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    world = Sending()
    world.send.answers = [BBSError(E.Deserialize)]
    assert await world.courier.settle(crash("bad"), "")
    assert await world.courier.settle(crash("good"), "")
    assert [*world.ledger] == ["bad"]
    assert world.courier.available
    (row,) = world.courier.overview()["outcomes"]  # type: ignore[misc]
    assert 0 < row["next_attempt_in_s"] <= 1
    async with world.running():
        await until(lambda: not world.ledger)
    assert world.send.sent == [("bad", False), ("good", False), ("bad", True)]
    assert [
        vars(record)["data"]["type"] for record in caplog.records if record.message == "bbs-call-failed"
    ] == ["Deserialize"]


async def test_any_failure_of_one_report_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    world = Sending()
    world.send.answers = [ValueError("boom")]
    assert await world.courier.settle(crash("bad"), "")
    assert await world.courier.settle(crash("good"), "")
    assert [*world.ledger] == ["bad"]
    assert [record.message for record in caplog.records if record.exc_info] == ["outcomes.failed"]


async def test_the_answer_to_the_second_call_about_a_task_does_not_matter() -> None:
    for answer in (None, AWAY, BBSError(E.InvalidStateTransition), ValueError("boom")):
        world = Sending()
        world.send.answers = [BBSError(E.InvalidStateTransition), answer]
        assert await world.courier.settle(COMPLETE, "")
        assert world.send.sent == [("task-1", False), ("task-1", True)]
        assert (len(world.ledger), world.courier.available) == (0, True)


async def test_reports_of_an_earlier_process_are_sent_at_once_as_repeated() -> None:
    before = Sending()
    before.send.away = True
    await before.courier.settle(crash(), "")
    world = Sending(before.journal.rows)
    async with world.running():
        await until(lambda: not world.ledger)
    assert world.send.sent == [("instance-1", True)]


async def test_a_container_stays_until_its_report_is_stored_or_answered() -> None:
    world = Sending()
    world.journal.fault = Fault(FailureReason.READ_ONLY)
    world.send.away = True
    assert not await world.courier.settle(crash(), "")
    world.send.away = False
    world.courier._unanswered = 0
    assert await world.courier.settle(crash(), "")
    assert len(world.ledger) == 0


async def test_a_report_is_not_sent_twice_at_once() -> None:
    world = Sending()
    world.send.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group, world.running():
        first = group.create_task(world.courier.settle(crash(), ""))
        await until(lambda: len(world.send.sent) == 1)
        second = group.create_task(world.courier.settle(crash(), ""))
        world.courier._wake.set()
        await asyncio.sleep(0.01)
        assert len(world.send.sent) == 1
        world.send.gate.set()
        assert await first
        assert await second
    assert len(world.send.sent) == 1


async def test_gauges_and_overview_say_what_waits() -> None:
    world = Sending()
    gauges: dict[str, tuple[float, str]] = {}

    class Sink:
        def gauge(self, name: str, value: float, unit: str, tags: object = None) -> None:
            gauges[name] = (value, unit)

    world.courier.report(Sink())
    assert gauges == {"OutcomesWaiting": (0, "Metric"), "OldestOutcomeAge": (0, "nanos")}
    world.send.away = True
    await world.courier.settle(COMPLETE, "")
    world.now += 90
    await world.courier.settle(crash(), "")
    world.courier.report(Sink())
    assert gauges == {"OutcomesWaiting": (2, "Metric"), "OldestOutcomeAge": (90e9, "nanos")}
    overview = world.courier.overview()
    assert (overview["bbs_available"], overview["journal_trouble"]) == (False, "")
    first, second = overview["outcomes"]  # type: ignore[misc]
    assert first | {"next_attempt_in_s": 0} == {
        "container_guid": "task-1",
        "report": "CompleteTask",
        "recorded_at": 1000.0,
        "stored": True,
        "attempts": 1,
        "answer": "connection refused",
        "next_attempt_in_s": 0,
    }
    assert (second["container_guid"], second["attempts"]) == ("instance-1", 0)
    assert "sult" not in json.dumps(overview), "the result belongs to the app"


async def test_the_overview_lists_a_report_that_is_being_stored() -> None:
    world = Sending()
    world.journal.fault = fault = Fault(None)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.courier.settle(crash(), ""))
        await asyncio.sleep(0)
        (row,) = world.courier.overview()["outcomes"]  # type: ignore[misc]
        assert (row["container_guid"], row["stored"]) == ("instance-1", False)
        fault.gate.set()


@pytest.mark.parametrize(
    ("ours", "repeated", "task", "rejects"),
    [
        (True, False, None, True),
        (True, True, Task(state=TaskState.Running, cell_id=CELL), True),
        (True, True, Task(state=TaskState.Pending, cell_id=CELL), False),
        (True, True, Task(state=TaskState.Running, cell_id="other"), False),
        (False, False, Task(state=TaskState.Running, cell_id="other"), False),
        (False, False, Task(state=TaskState.Running, cell_id=CELL), True),
    ],
)
async def test_a_rejection_takes_no_task_from_another_cell(
    bbs: Any, ours: bool, repeated: bool, task: Task | None, rejects: bool
) -> None:
    bbs.answers["task"] = [task]
    await Sender(bbs, CELL)(reports.RejectTask("task-1", "no", ours), "", repeated=repeated)
    assert ("reject_task" in bbs.calls) is rejects
    assert ("task" in bbs.calls) is (task is not None)
