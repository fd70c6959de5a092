"""Failures of one call or one container in the rep: logged with a traceback, without effect on others."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bbs.client.api import BBSClient
from bbs.client.identity import Identity
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from bbs.models.locket import Resource
from cell.development.certs import Authority
from executor.model import Container, ContainerState, Resources, RunResult
from rep import tags
from rep.config import RepConfig
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import NoMetrics
from rep.presence import Presence, cell_presence
from rep.reconcile.batch import ContainerOperation, Operation
from rep.reconcile.bulk import Bulker
from rep.reconcile.processor import Cell, Processor
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder
from tests.support.outcomes import courier_for
from tests.support.rep_doubles import FakeExecutor, FakeLocket, ScriptedBBS

pytestmark = pytest.mark.unit

TROUBLES = [
    RecursionError("maximum recursion depth exceeded"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ValueError("Exceeds the limit (4300 digits)"),
    OSError(errno.EMFILE, "Too many open files"),
    MemoryError(),
    KeyError("guid"),
]
trouble = pytest.mark.parametrize("error", TROUBLES, ids=lambda error: type(error).__name__)
GUID = "11111111-2222-3333-4444-5555"


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor(Resources(memory_mb=100, disk_mb=100, containers=9))


@pytest.fixture
def bbs() -> ScriptedBBS:
    return ScriptedBBS()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        for _ in itertools.takewhile(lambda _: not holds(), itertools.count()):
            await asyncio.sleep(0.001)


def traces(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.exc_info]


def ended_lrp() -> Container:
    key = ActualLRPKey(process_guid="web", index=0, domain="apps")
    ended = RunResult(failed=True, failure_reason="Exited with status 1")
    return Container(
        guid=GUID,
        state=ContainerState.COMPLETED,
        tags=tags.lrp_tags(key, GUID, None, None),
        run_result=ended,
    )


def ended_task() -> Container:
    described = {**tags.task_tags("apps", None, None), tags.RESULT_FILE: "/result"}
    return Container(guid="task-1", state=ContainerState.COMPLETED, tags=described)


def processor(executor: FakeExecutor, bbs: ScriptedBBS) -> Processor:
    return Processor(
        Cell(cell_id="cell-1"),
        executor,
        cast(BBSClient, bbs),
        RunRequestBuilder(stacks=StackMap({})),
        cast(Any, None),
        Removals(),
        courier_for(bbs),
    )


@trouble
async def test_a_bulk_pass_that_fails_in_any_way_is_followed_by_the_next(
    executor: FakeExecutor, bbs: ScriptedBBS, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer of the BBS that could not be read ended the cell, and every app with it."""
    executor.put(ended_lrp())
    bbs.answers["actual_lrps"] = [error, BBSError(ErrorType.Timeout)]
    pushed: list[Operation] = []
    bulker = Bulker(
        "cell-1",
        executor,
        cast(BBSClient, bbs),
        pushed.append,
        EvacuationFlag(),
        NoMetrics(),
        interval_s=0.001,
        evacuation_interval_s=1,
    )
    async with bulker.running():
        await until(lambda: bool(pushed))
    assert traces(caplog) == ["running-bulker.sync.batch-operations.failed"]


@trouble
async def test_an_instance_whose_end_cannot_be_reported_still_goes_and_is_reported_later(
    executor: FakeExecutor, bbs: ScriptedBBS, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    executor.put(ended_lrp())
    bbs.answers["crash_actual_lrp"] = [error]
    run = processor(executor, bbs)
    await run.execute(ContainerOperation(GUID))
    assert executor.store == {}
    assert traces(caplog) == ["outcomes.failed"]


@trouble
async def test_a_result_that_cannot_be_read_in_any_way_fails_its_task_only(
    executor: FakeExecutor, bbs: ScriptedBBS, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    executor.put(ended_task(), ended_lrp())

    async def unreadable(*asked: object, **named: object) -> bytes:
        raise error

    executor.read_file = unreadable  # type: ignore[method-assign]
    run = processor(executor, bbs)
    await run.execute(ContainerOperation("task-1"))
    await run.execute(ContainerOperation(GUID))
    assert executor.store == {}
    named = bbs.last("complete_task")[1]
    assert (named["failed"], named["failure_reason"]) == (True, "failed to fetch result")
    assert traces(caplog) == ["failed-fetching-task-result"]


@trouble
async def test_a_deletion_that_fails_in_any_way_ends_no_other_one(
    executor: FakeExecutor, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    executor.put(ended_lrp(), replace(ended_task(), guid="other"))
    executor.errors["delete"] = cast(Any, error)
    deletions = Deletions(executor, Removals())
    async with deletions.open():
        deletions.start(GUID, "failed")
        await until(lambda: traces(caplog) == ["failed"])
        executor.errors.clear()
        deletions.start("other", "failed")
        await until(lambda: set(executor.store) == {GUID})


@trouble
async def test_a_presence_that_fails_in_any_way_is_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Locket(FakeLocket):
        """Its second lock call fails in that way."""

        async def lock(self, resource: Resource, ttl_s: int, **options: Any) -> None:
            await super().lock(resource, ttl_s, **options)
            if len(self.calls) == 2:
                raise error

    locket = Locket()
    record = cell_presence(
        RepConfig(cell_id="cell-1"), "http://x", 1, Resources(memory_mb=1, disk_mb=1, containers=1), []
    )
    presence = Presence(locket=locket, record=record, ttl_s=15, retry_s=0.001, owner="me")
    async with presence.holding():
        await until(lambda: len(locket.calls) > 4)
        assert presence.held
    assert traces(caplog) == ["locket-lock.attempt-failed"]


@trouble
async def test_a_renewal_of_certificates_that_fails_in_any_way_is_tried_again(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was gone for a moment, or a lack of descriptors, ended the cell."""
    authority = Authority.create("ca")
    identity = Identity(authority.issue(tmp_path, "cell"))
    attempts = itertools.count()
    done = asyncio.Event()

    async def renewed() -> None:
        if next(attempts) == 0:
            raise error
        done.set()

    async with identity.watched(renewed, interval_s=0.001):
        authority.issue(tmp_path, "cell")
        async with asyncio.timeout(10):
            await done.wait()
    assert traces(caplog) == ["tls-identity.not-renewed"]
