"""Decisions for task containers, the same with and without an evacuation.

Pure. Completion needs the content of the result file; the caller reads it if :func:`result_path` names
one. An expired reservation is given back, because nothing ran in it.
"""

from __future__ import annotations

from executor.model import Container, ContainerState
from rep import tags
from rep.outcomes.reports import CompleteTask, EndReport, RejectTask
from rep.reconcile.commands import DeleteContainer, Outcome, Plan, RunTask, Settle, StartTask, Step

RUN_FAILED = "failed to run container"
RESULT_FETCH_FAILED = "failed to fetch result"


def result_path(container: Container) -> str:
    """The result file to read before the decision; empty if there is none."""
    if container.state is not ContainerState.COMPLETED or _rejected(container):
        return ""
    return container.tags.get(tags.RESULT_FILE, "")


def decide(container: Container, result: str | None = "") -> Plan:
    """The plan for a task container; ``result`` is None if its result file could not be read."""
    if container.state is not ContainerState.COMPLETED:
        return _active(container)
    return (Step(Settle(_end(container, result))), Step(DeleteContainer(container.guid)))


def _active(container: Container) -> Plan:
    """Runs a reserved task even if the BBS has started it already: the answer to that start was lost."""
    guid = container.guid
    delete = DeleteContainer(guid)
    reserved = container.state is ContainerState.RESERVED
    return (
        Step(
            StartTask(guid),
            on={Outcome.INVALID_STATE_TRANSITION: (delete,), Outcome.NOT_FOUND: (delete,)},
            goes_on=frozenset({Outcome.DONE, Outcome.ALREADY_STARTED} if reserved else {Outcome.DONE}),
        ),
        Step(
            RunTask(guid),
            on={
                Outcome.RUN_REFUSED: (Settle(_failed(guid, RUN_FAILED)), delete),
                Outcome.NOT_FOUND: (delete,),
                Outcome.UNRUNNABLE: (Settle(_failed(guid, None)), delete),
            },
        ),
    )


def _failed(guid: str, reason: str | None) -> CompleteTask:
    return CompleteTask(guid, failed=True, failure_reason=reason, result="")


def _end(container: Container, result: str | None) -> EndReport:
    guid, ended = container.guid, container.run_result
    if _rejected(container):
        return RejectTask(guid, ended.failure_reason, ours=not ended.unused)
    if result is None and not ended.failed:
        return _failed(guid, RESULT_FETCH_FAILED)
    return CompleteTask(
        guid,
        failed=ended.failed,
        failure_reason=ended.failure_reason,
        result=result or "",
        stopped=ended.stopped,
    )


def _rejected(container: Container) -> bool:
    result = container.run_result
    return (result.failed and result.retryable) or (result.unused and not result.stopped)
