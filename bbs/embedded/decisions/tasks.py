"""Transitions of tasks. Pure: record in, record out.

A refused call raises :class:`~bbs.models.errors.BBSError`. Times are ns since the epoch.
"""

from __future__ import annotations

from dataclasses import replace

from bbs.embedded.decisions.rows import cut
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskDefinition, TaskState

MAX_REJECTIONS = 3
"""A task with this many rejections fails at the next one."""

CANCELLED = "task was cancelled"
"""Peers compare this text."""


def desire(task_guid: str, domain: str, definition: TaskDefinition, now: int) -> Task:
    """The record of a new task."""
    return Task(
        task_definition=definition,
        task_guid=task_guid,
        domain=domain,
        created_at=now,
        updated_at=now,
        state=TaskState.Pending,
    )


def start(task: Task, cell_id: str, now: int) -> Task | None:
    """A cell starts the task; None if the task already runs on that cell."""
    if task.state == TaskState.Running and task.cell_id == cell_id:
        return None
    _expect(task, TaskState.Pending, to=TaskState.Running)
    return replace(task, state=TaskState.Running, cell_id=cell_id, updated_at=now)


def complete(task: Task, cell_id: str, *, failed: bool, failure_reason: str, result: str, now: int) -> Task:
    """The cell reports the end of the task."""
    _expect(task, TaskState.Running, to=TaskState.Completed)
    if task.cell_id != cell_id:
        raise BBSError(ErrorType.RunningOnDifferentCell, f"Running on cell {task.cell_id} not {cell_id}")
    return completed(task, failed=failed, failure_reason=failure_reason, result=result, now=now)


def fail(task: Task, failure_reason: str, now: int) -> Task:
    """Fail a task that is not completed."""
    _expect(task, TaskState.Pending, TaskState.Running, to=TaskState.Completed)
    return completed(task, failed=True, failure_reason=failure_reason, result="", now=now)


def reject(task: Task, reason: str, now: int) -> tuple[Task, ...]:
    """A cell could not take the task: it becomes Pending, or Completed after too many rejections.

    Each returned record is a separate change. The cell id stays, as peers expect.
    """
    if task.state not in (TaskState.Pending, TaskState.Running):
        raise BBSError(ErrorType.InvalidRequest)
    rejected = replace(
        task,
        state=TaskState.Pending,
        rejection_count=task.rejection_count + 1,
        rejection_reason=cut(reason),
        updated_at=now,
    )
    if task.rejection_count < MAX_REJECTIONS:
        return (rejected,)
    return (rejected, completed(rejected, failed=True, failure_reason=reason, result="", now=now))


def resolving(task: Task, now: int) -> Task:
    """The result is being processed."""
    _expect(task, TaskState.Completed, to=TaskState.Resolving)
    return replace(task, state=TaskState.Resolving, updated_at=now)


def delete(task: Task) -> None:
    """Check that the task may be deleted. The error names Resolving as the target, as peers expect."""
    _expect(task, TaskState.Resolving, to=TaskState.Resolving)


def unresolve(task: Task, now: int) -> Task:
    """The result was not processed."""
    return replace(task, state=TaskState.Completed, updated_at=now)


def completed(task: Task, *, failed: bool, failure_reason: str, result: str, now: int) -> Task:
    """The record of a completed task, from any state."""
    return replace(
        task,
        state=TaskState.Completed,
        cell_id="",
        failed=failed,
        failure_reason=cut(failure_reason),
        result=result,
        first_completed_at=now,
        updated_at=now,
    )


def _expect(task: Task, *states: TaskState, to: TaskState) -> None:
    if task.state not in states:
        raise BBSError(
            ErrorType.InvalidStateTransition, f"Cannot transition from {task.state.name} to {to.name}"
        )
