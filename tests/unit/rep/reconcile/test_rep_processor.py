"""The processor: plans carried out against a scripted BBS and executor."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bbs.client.api import BBSClient
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import Presence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from executor.errors import EngineError, InvalidStateTransition
from executor.journal.api import FailureReason
from executor.model import Container, ContainerState, RunResult
from rep.reconcile.batch import ContainerOperation, ResidualLRP, ResidualTask
from rep.reconcile.processor import Cell, Processor
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder, RunRequestError
from tests.support.journals import FailingJournal, Fault
from tests.support.outcomes import courier_for
from tests.support.rep_doubles import actual_lrp, lrp_container, task_container

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor, ScriptedBBS

pytestmark = pytest.mark.unit

S = ContainerState
GUID = "11111111-2222-3333-4444-5555"
TASK = "task-1"
CRASHED = RunResult(failed=True, failure_reason="APP: Exited with status 1")


class PassThrough:
    """Credentials of a registry that takes them as they are."""

    async def exchange(self, root_fs: str, username: str, password: str) -> tuple[str, str]:
        if username == "unwanted":
            raise RunRequestError("failed to get ECR credentials: refused")
        return username.upper(), password.upper()


class World:
    """A processor with everything around it."""

    def __init__(self, executor: FakeExecutor, bbs: ScriptedBBS) -> None:
        self.executor, self.bbs = executor, bbs
        self.evacuating = False
        self.journal = FailingJournal()
        self.processor = Processor(
            Cell(cell_id="cell-1", zone="z1", evacuating=lambda: self.evacuating),
            executor,
            cast(BBSClient, bbs),
            RunRequestBuilder(stacks=StackMap({"cflinuxfs4": "/stacks/cflinuxfs4.tar"})),
            PassThrough(),
            Removals(),
            courier_for(bbs, journal=self.journal),
        )

    async def look_at(self, container: Container, trace_id: str = "trace") -> None:
        self.executor.put(container)
        await self.processor.execute(ContainerOperation(container.guid, trace_id))

    @property
    def executor_calls(self) -> list[str]:
        return [call[0] for call in self.executor.calls]


@pytest.fixture
def world(executor: FakeExecutor, bbs: ScriptedBBS) -> World:
    return World(executor, bbs)


def error(type: ErrorType) -> BBSError:
    return BBSError(type)


async def test_a_reservation_is_claimed_then_run(world: World) -> None:
    desired = DesiredLRP(
        process_guid="web",
        domain="apps",
        root_fs="preloaded:cflinuxfs4",
        action=RunAction(path="/app"),
        image_username="user",
        image_password="secret",
    )
    world.bbs.answers["desired_lrp"] = [desired]
    await world.look_at(lrp_container())
    assert world.bbs.calls == ["claim_actual_lrp", "desired_lrp"]
    assert world.bbs.last("claim_actual_lrp")[1] == {"trace_id": "trace"}
    ((name, request, trace_id),) = world.executor.calls
    assert (name, request.guid, trace_id) == ("run", GUID, "trace")
    assert request.run_info.root_fs == "/stacks/cflinuxfs4.tar"
    assert (request.run_info.image_username, request.run_info.image_password) == ("USER", "SECRET")


@pytest.mark.parametrize(
    ("answers", "bbs_calls", "executor_calls"),
    [
        (
            {"claim_actual_lrp": error(ErrorType.ActualLRPCannotBeClaimed)},
            ["claim_actual_lrp"],
            ["delete"],
        ),
        ({"claim_actual_lrp": error(ErrorType.ResourceNotFound)}, ["claim_actual_lrp"], ["delete"]),
        ({"claim_actual_lrp": error(ErrorType.Timeout)}, ["claim_actual_lrp"], []),
        ({"desired_lrp": error(ErrorType.Timeout)}, ["claim_actual_lrp", "desired_lrp"], []),
        (
            {"desired_lrp": error(ErrorType.ResourceNotFound)},
            ["claim_actual_lrp", "desired_lrp", "remove_actual_lrp"],
            ["delete"],
        ),
        (
            {"desired_lrp": DesiredLRP(root_fs="preloaded:none")},
            ["claim_actual_lrp", "desired_lrp", "crash_actual_lrp"],
            ["delete"],
        ),
        (
            {"desired_lrp": DesiredLRP(image_username="unwanted")},
            ["claim_actual_lrp", "desired_lrp", "crash_actual_lrp"],
            ["delete"],
        ),
    ],
)
async def test_a_reservation_that_cannot_be_run(
    world: World,
    answers: dict[str, Any],
    bbs_calls: list[str],
    executor_calls: list[str],
) -> None:
    world.bbs.answers = {name: [answer] for name, answer in answers.items()}
    await world.look_at(lrp_container())
    assert world.bbs.calls == bbs_calls
    assert world.executor_calls == executor_calls


async def test_a_refused_run_removes_container_and_record(world: World) -> None:
    world.executor.errors["run"] = InvalidStateTransition()
    world.bbs.answers["remove_actual_lrp"] = [error(ErrorType.ResourceNotFound)]
    await world.look_at(lrp_container())
    assert world.bbs.calls == ["claim_actual_lrp", "desired_lrp", "remove_actual_lrp"]
    assert world.executor_calls == ["run", "delete"]


@pytest.mark.parametrize("state", [S.INITIALIZING, S.CREATED])
async def test_a_starting_instance_is_claimed_again(world: World, state: S) -> None:
    await world.look_at(lrp_container(state))
    assert (world.bbs.calls, world.executor.calls) == (["claim_actual_lrp"], [])


@pytest.mark.parametrize(
    ("answer", "executor_calls"),
    [
        (None, []),
        (error(ErrorType.ActualLRPCannotBeStarted), ["stop"]),
        (error(ErrorType.Timeout), []),
    ],
)
async def test_a_running_instance_is_started_in_the_bbs(
    world: World, answer: object, executor_calls: list[str]
) -> None:
    world.bbs.answers["start_actual_lrp"] = [answer]
    await world.look_at(lrp_container(S.RUNNING, routable=True))
    arguments, named = world.bbs.last("start_actual_lrp")
    assert arguments[2].net_info.address == "192.0.2.1"
    assert (arguments[2].routable, arguments[2].availability_zone) == (True, "z1")
    assert named == {"trace_id": "trace"}
    assert world.executor_calls == executor_calls


@pytest.mark.parametrize(
    ("result", "call"),
    [
        (RunResult(failed=True, stopped=True), "remove_actual_lrp"),
        (CRASHED, "crash_actual_lrp"),
        (RunResult(), "crash_actual_lrp"),
    ],
)
@pytest.mark.parametrize("answer", [None, error(ErrorType.ResourceNotFound)])
async def test_an_ended_instance_is_told_and_deleted_whatever_the_answer(
    world: World, result: RunResult, call: str, answer: object
) -> None:
    world.bbs.answers[call] = [answer]
    await world.look_at(lrp_container(S.COMPLETED, run_result=result))
    assert world.bbs.calls == [call]
    assert world.executor.store == {}


async def test_a_container_goes_while_the_bbs_is_away_and_its_report_stays(world: World) -> None:
    world.bbs.answers["crash_actual_lrp"] = [error(ErrorType.UnknownError)]
    await world.look_at(lrp_container(S.COMPLETED, run_result=CRASHED))
    assert world.executor.store == {}
    assert [*world.journal.rows.outcomes] == [GUID]


async def test_a_container_stays_whose_report_can_neither_be_stored_nor_sent(world: World) -> None:
    world.journal.fault = Fault(FailureReason.FULL, times=1)
    world.bbs.answers["crash_actual_lrp"] = [error(ErrorType.UnknownError)]
    completed = lrp_container(S.COMPLETED, run_result=CRASHED)
    await world.look_at(completed)
    assert [*world.executor.store] == [GUID]
    await world.look_at(completed)  # the next bulk pass, with space on the disk
    assert world.executor.store == {}
    assert [*world.journal.rows.outcomes] == [GUID]


async def test_a_reservation_that_cannot_run_stays_until_its_report_is_kept(world: World) -> None:
    world.executor.errors["run"] = InvalidStateTransition()
    world.journal.fault = Fault(FailureReason.IO)
    world.bbs.answers["remove_actual_lrp"] = [error(ErrorType.UnknownError)]
    await world.look_at(lrp_container())
    assert world.executor_calls == ["run"]


async def test_an_instance_whose_report_waits_is_not_residual(world: World) -> None:
    world.bbs.answers["crash_actual_lrp"] = [error(ErrorType.UnknownError)]
    await world.look_at(lrp_container(S.COMPLETED, run_result=CRASHED))
    await world.processor.execute(ResidualLRP(GUID, actual_lrp()))
    assert world.bbs.calls == ["crash_actual_lrp"]


async def test_an_evacuated_instance_is_kept_until_it_is_replaced(world: World) -> None:
    world.evacuating = True
    world.bbs.answers["evacuate_running_actual_lrp"] = [True, error(ErrorType.Timeout), False]
    running = lrp_container(S.RUNNING)
    for _ in range(2):
        await world.look_at(running, trace_id="")
        assert GUID in world.executor.store
    await world.look_at(running, trace_id="")
    assert world.executor.store == {}
    line = f"Cell cell-1 requesting replacement for instance {GUID}"
    assert world.executor.logged == [(GUID, line)]


@pytest.mark.parametrize(
    ("state", "result", "call"),
    [
        (S.RESERVED, RunResult(), "evacuate_claimed_actual_lrp"),
        (S.CREATED, RunResult(), "evacuate_claimed_actual_lrp"),
        (S.COMPLETED, CRASHED, "evacuate_crashed_actual_lrp"),
        (S.COMPLETED, RunResult(stopped=True), "evacuate_stopped_actual_lrp"),
    ],
)
@pytest.mark.parametrize("answer", [True, False, error(ErrorType.ResourceNotFound)])
async def test_an_instance_that_does_not_run_leaves_at_once(
    world: World, state: S, result: RunResult, call: str, answer: object
) -> None:
    world.evacuating = True
    world.bbs.answers[call] = [answer]
    await world.look_at(lrp_container(state, run_result=result))
    assert world.bbs.calls == [call]
    assert world.executor.store == {}


async def test_a_task_is_started_then_run(world: World) -> None:
    await world.look_at(task_container())
    assert world.bbs.calls == ["start_task", "task"]
    ((_, request, _),) = world.executor.calls
    assert request.tags == {"result-file": "/result"}


@pytest.mark.parametrize(
    ("answers", "bbs_calls", "executor_calls"),
    [
        ({"start_task": False}, ["start_task"], []),
        ({"start_task": error(ErrorType.InvalidStateTransition)}, ["start_task"], ["delete"]),
        ({"start_task": error(ErrorType.ResourceNotFound)}, ["start_task"], ["delete"]),
        ({"start_task": error(ErrorType.Timeout)}, ["start_task"], []),
        ({"task": error(ErrorType.Timeout)}, ["start_task", "task"], []),
        ({"task": error(ErrorType.ResourceNotFound)}, ["start_task", "task"], ["delete"]),
    ],
)
async def test_a_task_that_is_not_run(
    world: World,
    answers: dict[str, Any],
    bbs_calls: list[str],
    executor_calls: list[str],
) -> None:
    world.bbs.answers = {name: [answer] for name, answer in answers.items()}
    await world.look_at(task_container(S.RUNNING))
    assert world.bbs.calls == bbs_calls
    assert world.executor_calls == executor_calls


async def test_a_refused_task_run_fails_the_task(world: World) -> None:
    world.executor.errors["run"] = InvalidStateTransition()
    await world.look_at(task_container())
    assert world.executor_calls == ["run", "delete"]
    assert world.bbs.last("complete_task")[1] == {
        "failed": True,
        "failure_reason": "failed to run container",
        "result": "",
        "trace_id": "trace",
    }


@pytest.mark.parametrize(
    ("content", "result", "said"),
    [
        (b"42\n", RunResult(), (False, "", "42\n")),
        (b"x" * 51200, RunResult(), (False, "", "x" * 51200)),
        (b"x" * 51201, RunResult(), (True, "failed to fetch result", "")),
        (None, RunResult(), (True, "failed to fetch result", "")),
        (b"half", CRASHED, (True, "APP: Exited with status 1", "half")),
        (None, CRASHED, (True, "APP: Exited with status 1", "")),
        (b"a\0b\xffc", RunResult(), (False, "", "a\0b\ufffdc")),
    ],
)
async def test_a_completed_task_reports_its_result(
    world: World,
    content: bytes | None,
    result: RunResult,
    said: tuple[bool, str, str],
) -> None:
    if content is not None:
        world.executor.files["/result"] = content
    await world.look_at(task_container(S.COMPLETED, "/result", run_result=result))
    named = world.bbs.last("complete_task")[1]
    assert (named["failed"], named["failure_reason"], named["result"]) == said
    assert world.executor.store == {}


async def test_a_task_that_cannot_complete_so_completes_as_failed(world: World) -> None:
    world.bbs.answers["complete_task"] = [error(ErrorType.InvalidStateTransition)] * 2
    await world.look_at(task_container(S.COMPLETED))
    assert world.bbs.calls == ["complete_task", "complete_task"]
    assert world.bbs.last("complete_task")[1]["failure_reason"] == "invalid state transition"
    assert world.executor.store == {}


@pytest.mark.parametrize("refusal", [ErrorType.InvalidStateTransition, ErrorType.ResourceNotFound])
async def test_a_cancelled_task_ends_without_an_error_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture, refusal: ErrorType
) -> None:
    """The BBS completes a task before it cancels it on the cell, so it refuses the cell's report."""
    world.bbs.answers["complete_task"] = [error(refusal)] * 2
    await world.look_at(task_container(S.COMPLETED, run_result=RunResult(failed=True, stopped=True)))
    assert world.executor.store == {}
    assert [record.message for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_task_whose_container_could_not_be_made_is_rejected(world: World) -> None:
    ended = RunResult(failed=True, failure_reason="failed to create container: no", retryable=True)
    await world.look_at(task_container(S.COMPLETED, "/result", run_result=ended))
    assert world.bbs.calls == ["reject_task"]
    assert world.bbs.last("reject_task")[0] == (TASK, "failed to create container: no")
    assert world.executor.store == {}


async def test_residuals_are_removed(world: World) -> None:
    both = ResidualLRP(GUID, actual_lrp(), actual_lrp(Presence.EVACUATING))
    world.bbs.answers["remove_actual_lrp"] = [error(ErrorType.Timeout)]
    await world.processor.execute(both)
    await world.processor.execute(ResidualTask(TASK))
    assert world.bbs.calls == ["remove_actual_lrp", "remove_evacuating_actual_lrp", "complete_task"]
    assert all(named["trace_id"] == "" for _, named in world.bbs.arguments)


async def test_a_residual_with_a_container_by_now_is_left_alone(
    world: World,
) -> None:
    world.executor.put(lrp_container(), task_container())
    await world.processor.execute(ResidualLRP(GUID, actual_lrp()))
    await world.processor.execute(ResidualTask(TASK))
    assert world.bbs.calls == []


async def test_a_container_that_has_gone_is_skipped(world: World) -> None:
    await world.processor.execute(ContainerOperation("gone"))
    assert (world.bbs.calls, world.executor.calls) == ([], [])


async def test_a_container_of_unknown_kind_is_only_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.look_at(replace(lrp_container(), tags={"lifecycle": "check"}))
    assert (world.bbs.calls, world.executor.calls) == ([], [])
    assert [record.message for record in caplog.records] == ["unknown-container-lifecycle"]


async def test_a_deletion_that_fails_is_logged_with_its_container(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.executor.errors["delete"] = EngineError("device busy")
    await world.look_at(lrp_container(S.COMPLETED))
    assert GUID in world.executor.store
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    data = vars(record)["data"]
    assert (data["guid"], data["error"]) == (GUID, "device busy")
