"""The decision tables: commands for each state of a container."""

from __future__ import annotations

import pytest

from bbs.models.actual_lrp import (
    ActualLRPInstanceKey,
    ActualLRPInternalRoute,
    ActualLRPKey,
    ActualLRPNetInfo,
    PreferredAddress,
    Presence,
    RunningData,
)
from bbs.models.actual_lrp import PortMapping as ReportedPort
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task
from executor.model import (
    Container,
    ContainerState,
    MetricsConfig,
    PortMapping,
    RunInfo,
    RunResult,
)
from rep.outcomes import reports
from rep.outcomes.reports import Instance
from rep.reconcile import commands as do
from rep.reconcile import lrp, tasks
from rep.reconcile.batch import ContainerOperation, ResidualLRP, ResidualTask, batch
from rep.reconcile.commands import ANY_OUTCOME, Outcome, Plan, Step, classify
from rep.reconcile.residual import residual_lrp, residual_task
from tests.support.rep_doubles import actual_lrp, lrp_container, task_container

pytestmark = pytest.mark.unit

S = ContainerState
CELL = "cell-1"
GUID = "11111111-2222-3333-4444-5555"
WHO = Instance(
    key=ActualLRPKey(process_guid="web", index=2, domain="apps"),
    instance_key=ActualLRPInstanceKey(instance_guid=GUID, cell_id=CELL),
)
CLAIM = Step(do.ClaimActualLRP(WHO), on={Outcome.CANNOT_BE_CLAIMED: (do.DeleteContainer(GUID),)})
DELETE = Step(do.DeleteContainer(GUID))
GONE = (do.Settle(reports.RemoveActualLRP(WHO)), do.DeleteContainer(GUID))
STOPPED = RunResult(failed=True, failure_reason="APP: Exited with status 143", stopped=True)
CRASHED = RunResult(failed=True, failure_reason="APP: Exited with status 1")
ENDED = RunResult()
UNUSED = RunResult(failed=True, failure_reason="expired container", unused=True)


def settled(report: reports.EndReport) -> Plan:
    """The container goes once its report is kept."""
    return (Step(do.Settle(report)), DELETE)


def decide(container: Container, *, evacuating: bool = False) -> Plan:
    return lrp.decide(container, cell_id=CELL, zone="z1", evacuating=evacuating)


@pytest.mark.parametrize(
    ("state", "result", "plan"),
    [
        (
            S.RESERVED,
            ENDED,
            (
                Step(
                    do.ClaimActualLRP(WHO),
                    on={
                        Outcome.CANNOT_BE_CLAIMED: (do.DeleteContainer(GUID),),
                        Outcome.NOT_FOUND: (do.DeleteContainer(GUID),),
                    },
                ),
                Step(
                    do.RunLRP(WHO),
                    on={
                        Outcome.RUN_REFUSED: GONE,
                        Outcome.NOT_FOUND: GONE,
                        Outcome.UNRUNNABLE: (
                            do.Settle(reports.CrashActualLRP(WHO, None)),
                            do.DeleteContainer(GUID),
                        ),
                    },
                ),
            ),
        ),
        (S.INITIALIZING, ENDED, (CLAIM,)),
        (S.CREATED, ENDED, (CLAIM,)),
        (S.COMPLETED, STOPPED, settled(reports.RemoveActualLRP(WHO))),
        (
            S.COMPLETED,
            CRASHED,
            settled(reports.CrashActualLRP(WHO, "APP: Exited with status 1")),
        ),
        (S.COMPLETED, ENDED, settled(reports.CrashActualLRP(WHO, ""))),
        (S.COMPLETED, UNUSED, settled(reports.EvacuateClaimedActualLRP(WHO))),
    ],
)
def test_an_lrp_on_a_staying_cell(state: S, result: RunResult, plan: Plan) -> None:
    assert decide(lrp_container(state, run_result=result)) == plan


@pytest.mark.parametrize(
    ("state", "result", "plan"),
    [
        (S.RESERVED, ENDED, settled(reports.EvacuateClaimedActualLRP(WHO))),
        (S.INITIALIZING, ENDED, settled(reports.EvacuateClaimedActualLRP(WHO))),
        (S.CREATED, ENDED, settled(reports.EvacuateClaimedActualLRP(WHO))),
        (S.COMPLETED, STOPPED, settled(reports.EvacuateStoppedActualLRP(WHO))),
        (S.COMPLETED, UNUSED, settled(reports.EvacuateClaimedActualLRP(WHO))),
        (
            S.COMPLETED,
            CRASHED,
            settled(reports.EvacuateCrashedActualLRP(WHO, "APP: Exited with status 1")),
        ),
    ],
)
def test_an_lrp_on_a_leaving_cell(state: S, result: RunResult, plan: Plan) -> None:
    assert decide(lrp_container(state, run_result=result), evacuating=True) == plan


def test_a_running_lrp_is_announced_with_what_it_is_now() -> None:
    container = lrp_container(
        S.RUNNING,
        internal_ip="10.255.0.2",
        ports=(PortMapping(container_port=8080, host_port=61001),),
        routable=False,
        run_info=RunInfo(
            internal_routes=("a.apps.internal",), metrics_config=MetricsConfig(tags={"source_id": "x"})
        ),
    )
    said = RunningData(
        net_info=ActualLRPNetInfo(
            address="192.0.2.1",
            instance_address="10.255.0.2",
            preferred_address=PreferredAddress.HOST,
            ports=(ReportedPort(container_port=8080, host_port=61001),),
        ),
        internal_routes=(ActualLRPInternalRoute(hostname="a.apps.internal"),),
        metric_tags={"source_id": "x"},
        routable=False,
        availability_zone="z1",
    )
    stop = {Outcome.CANNOT_BE_STARTED: (do.StopContainer(GUID),)}
    assert decide(container) == (Step(do.StartActualLRP(WHO, said), on=stop),)
    assert decide(container, evacuating=True) == (
        Step(do.LogReplacementRequest(GUID)),
        Step(do.EvacuateRunningActualLRP(WHO, said)),
        DELETE,
    )


def test_the_preferred_address_follows_the_container() -> None:
    container = lrp_container(S.RUNNING, advertise_preference_for_instance_address=True)
    assert lrp.net_info(container).preferred_address is PreferredAddress.INSTANCE


@pytest.mark.parametrize("evacuating", [False, True])
def test_a_running_lrp_without_an_address_is_only_reported(evacuating: bool) -> None:
    (step,) = decide(lrp_container(S.RUNNING, external_ip=""), evacuating=evacuating)
    assert isinstance(step.command, do.Report)
    assert step.command.message == "failed-extracting-net-info-from-container"


@pytest.mark.parametrize(
    "broken",
    [
        {"process-guid": ""},
        {"domain": ""},
        {"process-index": "x"},
        {"process-index": "-1"},
        {"process-index": str(2**31)},
        {"instance-guid": ""},
    ],
)
def test_an_lrp_with_broken_tags_is_only_reported(broken: dict[str, str]) -> None:
    sound = lrp_container()
    (step,) = decide(lrp_container(tags={**sound.tags, **broken}))
    assert isinstance(step.command, do.Report)
    assert step.command.message == "failed-to-generate-lrp-key"


@pytest.mark.parametrize("state", [S.RESERVED, S.INITIALIZING, S.CREATED, S.RUNNING])
def test_an_active_task_is_started(state: S) -> None:
    drop = (do.DeleteContainer("task-1"),)
    failed = do.Settle(reports.CompleteTask("task-1", True, "failed to run container", ""))
    started = {Outcome.DONE, Outcome.ALREADY_STARTED} if state is S.RESERVED else {Outcome.DONE}
    assert tasks.decide(task_container(state)) == (
        Step(
            do.StartTask("task-1"),
            on={Outcome.INVALID_STATE_TRANSITION: drop, Outcome.NOT_FOUND: drop},
            goes_on=frozenset(started),
        ),
        Step(
            do.RunTask("task-1"),
            on={
                Outcome.RUN_REFUSED: (failed, *drop),
                Outcome.NOT_FOUND: drop,
                Outcome.UNRUNNABLE: (do.Settle(reports.CompleteTask("task-1", True, None, "")), *drop),
            },
        ),
    )


@pytest.mark.parametrize(
    ("ended", "result", "report"),
    [
        (ENDED, "fine", reports.CompleteTask("task-1", False, "", "fine")),
        (ENDED, None, reports.CompleteTask("task-1", True, "failed to fetch result", "")),
        (CRASHED, "half", reports.CompleteTask("task-1", True, "APP: Exited with status 1", "half")),
        (CRASHED, None, reports.CompleteTask("task-1", True, "APP: Exited with status 1", "")),
        (
            RunResult(failed=True, failure_reason="failed to mount volume", retryable=True),
            "",
            reports.RejectTask("task-1", "failed to mount volume"),
        ),
        (UNUSED, "", reports.RejectTask("task-1", "expired container", ours=False)),
    ],
)
def test_a_completed_task(ended: RunResult, result: str | None, report: reports.EndReport) -> None:
    plan = tasks.decide(task_container(S.COMPLETED, run_result=ended), result)
    assert plan == (Step(do.Settle(report)), Step(do.DeleteContainer("task-1")))


@pytest.mark.parametrize(
    ("state", "result_file", "ended", "path"),
    [
        (S.COMPLETED, "/result", ENDED, "/result"),
        (S.COMPLETED, "/result", CRASHED, "/result"),
        (S.COMPLETED, "", ENDED, ""),
        (S.RUNNING, "/result", ENDED, ""),
        (S.COMPLETED, "/result", RunResult(failed=True, retryable=True), ""),
    ],
)
def test_which_result_file_is_read(state: S, result_file: str, ended: RunResult, path: str) -> None:
    assert tasks.result_path(task_container(state, result_file, run_result=ended)) == path


@pytest.mark.parametrize(
    ("instance", "evacuating", "commands"),
    [
        (True, False, [reports.RemoveActualLRP]),
        (False, True, [do.RemoveEvacuatingActualLRP]),
        (True, True, [reports.RemoveActualLRP, do.RemoveEvacuatingActualLRP]),
    ],
)
def test_a_record_without_a_container(instance: bool, evacuating: bool, commands: list[type]) -> None:
    plan = residual_lrp(
        actual_lrp() if instance else None, actual_lrp(Presence.EVACUATING) if evacuating else None
    )
    assert plan == tuple(Step(command(WHO), goes_on=ANY_OUTCOME) for command in commands)


def test_a_task_without_a_container_fails() -> None:
    gone = "task container does not exist"
    assert residual_task("t") == (Step(reports.CompleteTask("t", True, gone, gone)),)


@pytest.mark.parametrize("presence", list(Presence))
def test_a_batch_prefers_the_container(presence: Presence) -> None:
    assert batch([lrp_container()], [actual_lrp(presence)], [Task(task_guid=GUID)]) == {
        GUID: ContainerOperation(GUID)
    }


def test_a_record_whose_report_waits_is_left_to_it() -> None:
    """The bulk pass called a completed task failed, because its container was gone."""
    records = [actual_lrp(guid="a"), actual_lrp(guid="b")], [Task(task_guid="t"), Task(task_guid="u")]
    assert batch([], *records, {"a", "t"}).keys() == {"b", "u"}


def test_a_batch_of_records_without_containers() -> None:
    ordinary, suspect = actual_lrp(guid="a"), actual_lrp(Presence.SUSPECT, "b")
    leaving, joint_leaving = actual_lrp(Presence.EVACUATING, "c"), actual_lrp(Presence.EVACUATING, "a")
    found = batch([], [ordinary, suspect, leaving, joint_leaving], [Task(task_guid="t")])
    assert found == {
        "a": ResidualLRP("a", ordinary, joint_leaving),
        "b": ResidualLRP("b", suspect, None),
        "c": ResidualLRP("c", None, leaving),
        "t": ResidualTask("t"),
    }


@pytest.mark.parametrize(
    ("type", "outcome"),
    [
        (ErrorType.ActualLRPCannotBeClaimed, Outcome.CANNOT_BE_CLAIMED),
        (ErrorType.ActualLRPCannotBeStarted, Outcome.CANNOT_BE_STARTED),
        (ErrorType.InvalidStateTransition, Outcome.INVALID_STATE_TRANSITION),
        (ErrorType.ResourceNotFound, Outcome.NOT_FOUND),
        (ErrorType.Timeout, Outcome.FAILED),
        (ErrorType.UnknownError, Outcome.FAILED),
    ],
)
def test_errors_are_told_apart_by_type(type: ErrorType, outcome: Outcome) -> None:
    assert classify(BBSError(type)) is outcome
