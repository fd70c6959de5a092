"""Bulk loop, event consumer, evacuation and clean-up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from bbs.client.api import BBSClient
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, Presence
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task
from executor.errors import EngineError
from executor.journal.api import FailureReason
from executor.model import ContainerState, EventKind, RunResult
from rep.deletions import Deletions
from rep.evacuation import DELETIONS_BEFORE_FORCE, Cleanup, CleanupFailed, EvacuationFlag, Evacuator
from rep.metrics import RequestMetrics
from rep.outcomes.ledger import Ledger
from rep.outcomes.reports import Instance, RemoveActualLRP
from rep.reconcile.batch import ContainerOperation, Operation, ResidualLRP, ResidualTask
from rep.reconcile.bulk import Bulker
from rep.reconcile.consumer import EventStreamEnded, consuming
from rep.removals import Removals
from tests.support.journals import FailingJournal, Fault
from tests.support.rep_doubles import actual_lrp, lrp_container, task_container
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor, RecordedMetrics, ScriptedBBS

pytestmark = pytest.mark.unit

S = ContainerState
GUID = "11111111-2222-3333-4444-5555"
FOREVER = 3600.0


class Bulk:
    """A bulker and what it pushed."""

    def __init__(self, executor: FakeExecutor, bbs: ScriptedBBS, metrics: RecordedMetrics) -> None:
        self.pushed: list[Operation] = []
        self.flag = EvacuationFlag()
        self.bbs = bbs
        self._parts = (executor, cast(BBSClient, bbs), self.pushed.append, self.flag, metrics)

    def bulker(self, interval_s: float = FOREVER, evacuation_interval_s: float = FOREVER) -> Bulker:
        return Bulker(
            "cell-1", *self._parts, interval_s=interval_s, evacuation_interval_s=evacuation_interval_s
        )

    @property
    def passes(self) -> int:
        return self.bbs.calls.count("actual_lrps")


@pytest.fixture
def bulk(executor: FakeExecutor, bbs: ScriptedBBS, metrics: RecordedMetrics) -> Bulk:
    return Bulk(executor, bbs, metrics)


async def test_a_pass_pushes_containers_and_residuals(
    bulk: Bulk,
    executor: FakeExecutor,
    metrics: RecordedMetrics,
) -> None:
    executor.put(lrp_container())
    bulk.bbs.answers = {"actual_lrps": [[actual_lrp(guid="gone")]], "tasks": [[Task(task_guid="t")]]}
    await bulk.bulker().sync()
    assert bulk.pushed == [
        ContainerOperation(GUID),
        ResidualLRP("gone", actual_lrp(guid="gone"), None),
        ResidualTask("t"),
    ]
    assert bulk.bbs.last("actual_lrps")[1] == {"cell_id": "cell-1"}
    assert [name for name, *_ in metrics.gauges] == ["RepBulkSyncDuration"]


@pytest.mark.parametrize("broken", ["actual_lrps", "tasks"])
async def test_a_read_that_fails_abandons_the_pass(
    bulk: Bulk,
    executor: FakeExecutor,
    metrics: RecordedMetrics,
    broken: str,
) -> None:
    executor.put(lrp_container())
    bulk.bbs.answers[broken] = [BBSError(ErrorType.Timeout)]
    await bulk.bulker().sync()
    assert bulk.pushed == []
    assert [name for name, *_ in metrics.gauges] == ["RepBulkSyncDuration"]


async def test_the_first_pass_comes_after_an_interval(bulk: Bulk) -> None:
    async with bulk.bulker(interval_s=0.02).running():
        assert bulk.passes == 0
        await until(lambda: bulk.passes >= 2)


async def test_records_of_an_earlier_process_are_looked_at_at_once(bulk: Bulk) -> None:
    """A BBS took dead instances for running ones for the first 30 s after a restart."""
    async with bulk.bulker().running():
        await until(lambda: bulk.passes == 1)


async def test_an_evacuation_makes_a_pass_at_once_and_more_often(bulk: Bulk) -> None:
    async with bulk.bulker(evacuation_interval_s=0.01).running():
        bulk.flag.set()
        await until(lambda: bulk.passes >= 3)


async def test_events_become_operations(executor: FakeExecutor) -> None:
    pushed: list[Operation] = []
    async with consuming(executor, pushed.append):
        executor.tell(EventKind.RESERVED, lrp_container(), "trace-1")
        executor.tell(EventKind.COMPLETE, lrp_container(S.COMPLETED), "trace-1")
        await until(lambda: len(pushed) == 2)
    assert pushed == [ContainerOperation(GUID, "trace-1")] * 2


async def test_the_end_of_events_ends_the_consumer(executor: FakeExecutor) -> None:
    async def consume() -> None:
        async with consuming(executor, lambda operation: None):
            executor.end_events()
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await consume()
    assert [type(error) for error in caught.value.exceptions] == [EventStreamEnded]


class Evacuating:
    """An evacuator, and the deletions it starts."""

    def __init__(self, evacuator: Evacuator, deletions: Deletions) -> None:
        self._evacuator, self._deletions = evacuator, deletions

    async def evacuate(self) -> bool:
        async with self._deletions.open():
            return await self._evacuator.evacuate()

    @asynccontextmanager
    async def running(self, finished: Callable[[], None]) -> AsyncIterator[None]:
        async with self._deletions.open(), self._evacuator.running(finished):
            yield


def evacuator(
    executor: FakeExecutor,
    flag: EvacuationFlag,
    removals: Removals,
    ledger: Ledger | None = None,
    **times: float,
) -> Evacuating:
    waits = {"polling_interval_s": FOREVER, "timeout_s": FOREVER, "removal_limit_s": FOREVER, **times}
    deletions = Deletions(executor, removals)
    ledger = Ledger(FailingJournal()) if ledger is None else ledger
    return Evacuating(Evacuator(executor, flag, removals, deletions, ledger, **waits), deletions)


async def test_an_evacuation_ends_with_the_last_container(
    executor: FakeExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    flag, removals, finished = EvacuationFlag(), Removals(), asyncio.Event()
    executor.put(lrp_container(guid="a"), lrp_container(S.RUNNING, guid="b"))
    async with evacuator(executor, flag, removals).running(finished.set):
        flag.set()
        await until(lambda: "evacuation-incomplete" in caplog.text)
        waiting = vars(next(item for item in caplog.records if "incomplete" in item.message))["data"]
        assert waiting == {
            "polling-interval": 3600.0,
            "containers": ["a", "b"],
            "states": {"reserved": 1, "running": 1},
            "outcomes": 0,
        }
        for guid in ("a", "b"):
            assert not finished.is_set()
            await executor.delete(guid)
            removals.notify()
        await finished.wait()


async def test_an_evacuation_ends_at_its_timeout(
    executor: FakeExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    executor.put(lrp_container())
    assert not await evacuator(executor, EvacuationFlag(), Removals(), timeout_s=0.01).evacuate()
    assert "failed-to-evacuate-before-timeout" in caplog.text


async def test_an_evacuation_says_again_and_again_what_it_waits_for(
    executor: FakeExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    removals = Removals()
    executor.put(lrp_container(S.RUNNING))
    async with asyncio.TaskGroup() as group:
        group.create_task(evacuator(executor, EvacuationFlag(), removals, log_interval_s=0.01).evacuate())
        await until(lambda: caplog.text.count("evacuation-incomplete") >= 3)
        await executor.delete(GUID)
        removals.notify()
    assert "evacuation-complete" in caplog.messages[-1]


async def test_a_container_that_has_ended_but_stays_is_deleted_again_until_it_goes(
    executor: FakeExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    executor.put(lrp_container(S.COMPLETED))
    executor.errors["delete"] = EngineError("device or resource busy")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            evacuator(executor, EvacuationFlag(), Removals(), removal_limit_s=0.01).evacuate()
        )
        await until(lambda: executor.calls.count(("delete", GUID, "")) >= 2)
        assert "container-will-not-go" in caplog.text
        assert "failed-to-delete-container" in caplog.text
        executor.errors.clear()
        assert await task
    assert executor.store == {}


REPORT = RemoveActualLRP(
    Instance(
        key=ActualLRPKey(process_guid="web", index=2, domain="apps"),
        instance_key=ActualLRPInstanceKey(instance_guid=GUID, cell_id="cell-1"),
    )
)


async def test_an_evacuation_waits_until_the_bbs_has_every_outcome(executor: FakeExecutor) -> None:
    removals, ledger = Removals(), Ledger(FailingJournal())
    assert await ledger.add(REPORT, "")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(evacuator(executor, EvacuationFlag(), removals, ledger).evacuate())
        await asyncio.sleep(0.01)
        assert not task.done()
        await ledger.remove(GUID)
        removals.notify()
        assert await task


async def test_a_container_whose_report_cannot_be_stored_is_not_deleted_by_an_evacuation(
    executor: FakeExecutor,
) -> None:
    journal = FailingJournal()
    journal.fault = Fault(FailureReason.FULL)
    ledger = Ledger(journal)
    assert not await ledger.add(REPORT, "")
    executor.put(lrp_container(S.COMPLETED), lrp_container(S.COMPLETED, guid="other"))
    async with asyncio.TaskGroup() as group:
        waiting = evacuator(executor, EvacuationFlag(), Removals(), ledger, removal_limit_s=0.005)
        task = group.create_task(waiting.evacuate())
        await until(lambda: "other" not in executor.store)
        assert [*executor.store] == [GUID]
        task.cancel()


@pytest.mark.parametrize("asked", [False, True])
async def test_a_container_that_will_not_go_by_deletion_is_destroyed_by_force(
    executor: FakeExecutor,
    caplog: pytest.LogCaptureFixture,
    asked: bool,
) -> None:
    container = lrp_container(S.COMPLETED)
    if asked:  # its processes do not end although they were told to
        container = replace(container, state=S.RUNNING, run_result=RunResult(stopped=True))
    executor.put(container)
    executor.gates["delete"] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            evacuator(executor, EvacuationFlag(), Removals(), removal_limit_s=0.01).evacuate()
        )
        await until(lambda: not executor.store)
        executor.gates["delete"].set()
        assert await task
    assert executor.calls == [
        *[("delete", GUID, "")] * DELETIONS_BEFORE_FORCE,
        ("force_destroy", GUID, ""),
    ]
    told = [vars(record)["data"] for record in caplog.records if "will-not-go" in record.message]
    assert [item["force"] for item in told] == [False, False, True]


async def test_a_container_that_still_runs_is_not_deleted_however_long_it_takes(
    executor: FakeExecutor,
) -> None:
    executor.put(lrp_container(S.RUNNING))
    assert not await evacuator(
        executor, EvacuationFlag(), Removals(), removal_limit_s=0.001, timeout_s=0.05
    ).evacuate()
    assert executor.calls == []


async def test_without_an_evacuation_the_evacuator_never_ends(executor: FakeExecutor) -> None:
    finished: list[bool] = []
    async with evacuator(executor, EvacuationFlag(), Removals()).running(lambda: finished.append(True)):
        await asyncio.sleep(0)
    assert finished == []


class Cleaning:
    def __init__(
        self, executor: FakeExecutor, bbs: ScriptedBBS, metrics: RecordedMetrics, deletions: Deletions
    ) -> None:
        self._parts = ("cell-1", executor, cast(BBSClient, bbs), Removals(), deletions, metrics)

    def cleanup(self, timeout_s: float = 5.0) -> Cleanup:
        return Cleanup(*self._parts, timeout_s=timeout_s, poll_s=0.01)


@pytest.fixture
async def cleaning(
    executor: FakeExecutor, bbs: ScriptedBBS, metrics: RecordedMetrics
) -> AsyncIterator[Cleaning]:
    deletions = Deletions(executor, Removals())
    async with deletions.open():
        yield Cleaning(executor, bbs, metrics, deletions)


async def test_the_clean_up_deletes_everything(
    cleaning: Cleaning,
    executor: FakeExecutor,
    bbs: ScriptedBBS,
    metrics: RecordedMetrics,
) -> None:
    executor.put(lrp_container(S.RUNNING), task_container(S.RUNNING))
    bbs.answers["actual_lrps"] = [[actual_lrp(), actual_lrp(Presence.EVACUATING)]]
    await cleaning.cleanup().run()
    assert executor.store == {}
    assert bbs.calls == ["actual_lrps"]
    assert metrics.gauges == [("StrandedEvacuatingActualLRPs", 1, "Metric", {})]
    line = "Cell cell-1 reached evacuation timeout for instance"
    assert sorted(executor.logged) == [(GUID, f"{line} {GUID}"), ("task-1", f"{line} task-1")]


async def test_the_clean_up_deletes_nothing_when_the_bbs_cannot_be_asked(
    cleaning: Cleaning, executor: FakeExecutor, bbs: ScriptedBBS
) -> None:
    executor.put(lrp_container())
    bbs.answers["actual_lrps"] = [BBSError(ErrorType.Timeout)]
    with pytest.raises(BBSError):
        await cleaning.cleanup().run()
    assert list(executor.store) == [GUID]


async def test_a_bbs_that_does_not_answer_bounds_the_clean_up_too(
    cleaning: Cleaning, executor: FakeExecutor, bbs: ScriptedBBS
) -> None:
    executor.put(lrp_container())

    async def never(**asked: object) -> list[ActualLRP]:
        return await asyncio.Event().wait() or []

    bbs.actual_lrps = never  # type: ignore[attr-defined]
    with pytest.raises(CleanupFailed, match=r"the BBS did not answer within 0\.05 s"):
        await cleaning.cleanup(timeout_s=0.05).run()
    assert list(executor.store) == [GUID]


async def test_a_clean_up_that_takes_too_long_fails(cleaning: Cleaning, executor: FakeExecutor) -> None:
    executor.put(lrp_container())
    executor.gates["delete"] = asyncio.Event()
    with pytest.raises(CleanupFailed, match=f"failed-to-cleanup-all-containers: 1 left.*{GUID}"):
        await cleaning.cleanup(timeout_s=0.05).run()


async def test_a_deletion_that_cannot_be_cancelled_holds_up_no_clean_up(
    cleaning: Cleaning, executor: FakeExecutor
) -> None:
    """An engine that hangs kept a rep for two minutes after SIGTERM: its calls cannot be cancelled."""
    executor.put(lrp_container())
    answers = asyncio.Event()

    async def delete(guid: str, *, trace_id: str = "") -> None:
        while not answers.is_set():
            with suppress(asyncio.CancelledError):
                await answers.wait()

    executor.delete = delete  # type: ignore[method-assign]
    try:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(CleanupFailed):
                await cleaning.cleanup(timeout_s=0.05).run()
    finally:
        answers.set()


async def test_a_clean_up_waits_for_a_container_that_somebody_else_deletes(
    cleaning: Cleaning, executor: FakeExecutor
) -> None:
    executor.put(lrp_container())
    executor.errors["delete"] = EngineError("device busy")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(cleaning.cleanup().run())
        await until(lambda: [call[0] for call in executor.calls] == ["delete"])
        assert not running.done()
        executor.store.clear()


async def test_a_clean_up_takes_a_container_that_goes_by_itself_as_deleted(
    cleaning: Cleaning, executor: FakeExecutor
) -> None:
    executor.put(lrp_container(guid="a"), lrp_container(guid="b"))
    gate = executor.gates["delete"] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(cleaning.cleanup().run())
        await until(lambda: len(executor.calls) == 2)
        executor.store.clear()
        gate.set()


async def test_work_that_comes_during_the_clean_up_goes_as_well(
    cleaning: Cleaning, executor: FakeExecutor
) -> None:
    executor.put(lrp_container(guid="a"))
    gate = executor.gates["delete"] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(cleaning.cleanup().run())
        await until(lambda: len(executor.calls) == 1)
        executor.put(lrp_container(guid="late"))
        gate.set()
    assert [guid for _, guid, _ in executor.calls] == ["a", "late"]


async def test_request_metrics_are_reported(metrics: RecordedMetrics) -> None:
    requests = RequestMetrics()
    with requests.track("State"):
        pass
    async with requests.reporting(metrics, 0.01):
        await until(lambda: len(metrics.gauges) >= 42)
    first = {
        name: (value, unit)
        for name, value, unit, tags in metrics.gauges[:42]
        if tags["request-type"] == "State"
    }
    assert first["RequestsStarted"] == (1, "Metric")
    assert first["RequestsSucceeded"] == (1, "Metric")
    assert first["RequestLatencyMax"][0] > 0
    assert requests.counts["State"].latency_max_ns == 0
