"""What to do about a task container; the same on a staying and on a leaving cell.

Pure. Completing needs the content of the result file, which the caller fetches when
:func:`result_path` names one.
"""

from __future__ import annotations

from executor.model import Container, ContainerState
from rep import tags
from rep.reconcile.commands import (
    WHATEVER,
    CompleteTask,
    DeleteContainer,
    Outcome,
    Plan,
    RejectTask,
    RunTask,
    StartTask,
    Step,
)

RUN_FAILED = "failed to run container"
RESULT_FETCH_FAILED = "failed to fetch result"
INVALID_STATE_TRANSITION = "invalid state transition"


def result_path(container: Container) -> str:
    """The result file to read before deciding; empty when there is none to read."""
    if container.state is not ContainerState.COMPLETED or _rejected(container):
        return ""
    return container.tags.get(tags.RESULT_FILE, "")


def decide(container: Container, result: str | None = "") -> Plan:
    """The plan for a task container; ``result`` is None when its result file could not be had."""
    if container.state is not ContainerState.COMPLETED:
        return _active(container.guid)
    return (_end(container, result), Step(DeleteContainer(container.guid)))


def _active(guid: str) -> Plan:
    drop = (DeleteContainer(guid),)
    refused = (DeleteContainer(guid), CompleteTask(guid, failed=True, failure_reason=RUN_FAILED, result=""))
    return (
        Step(StartTask(guid), on={Outcome.INVALID_STATE_TRANSITION: drop, Outcome.NOT_FOUND: drop}),
        Step(RunTask(guid), on={Outcome.RUN_REFUSED: refused}),
    )


def _end(container: Container, result: str | None) -> Step:
    guid, ended = container.guid, container.run_result
    if _rejected(container):
        return Step(RejectTask(guid, ended.failure_reason), goes_on=WHATEVER)
    if result is None and not ended.failed:
        lost = CompleteTask(guid, failed=True, failure_reason=RESULT_FETCH_FAILED, result="")
        return Step(lost, goes_on=WHATEVER)
    again = CompleteTask(guid, failed=True, failure_reason=INVALID_STATE_TRANSITION, result="")
    return Step(
        CompleteTask(guid, failed=ended.failed, failure_reason=ended.failure_reason, result=result or ""),
        on={Outcome.INVALID_STATE_TRANSITION: (again,)},
        goes_on=WHATEVER,
    )


def _rejected(container: Container) -> bool:
    return container.run_result.failed and container.run_result.retryable
