"""Controller of tasks and their completion callbacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bbs.embedded.calls.dependencies import Dependencies
from bbs.embedded.calls.startrequests import task_start
from bbs.embedded.decisions import tasks as task_transitions
from bbs.embedded.store.limits import check_guid, check_root_fs
from bbs.embedded.store.resources import rep_url
from bbs.embedded.store.tables import Tables
from bbs.models.codec import dumps
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskCallbackResponse, TaskDefinition, TaskState


class TaskController:
    """Operations on tasks."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    async def desire(self, task_guid: str, domain: str, definition: TaskDefinition) -> None:
        """Raises BBSError: ResourceExists, or InvalidRequest if a field is too long to store."""
        check_guid(task_guid, domain)
        check_root_fs(definition.root_fs)

        def work(tables: Tables) -> Task:
            task = task_transitions.desire(task_guid, domain, definition, self._deps.clock.wall())
            tables.insert_task(task)
            return task

        request = task_start(await self._deps.store.run(work))
        self._deps.auction_tasks([request] if request else [])

    async def start(self, task_guid: str, cell_id: str) -> bool:
        """Returns should_start. Raises ResourceNotFound, InvalidStateTransition."""
        check_guid(cell_id)

        def work(tables: Tables) -> bool:
            before = tables.task(task_guid)
            after = task_transitions.start(before, cell_id, self._deps.clock.wall())
            if after is not None:
                tables.replace_task(before, after)
            return after is not None

        return await self._deps.store.run(work)

    async def complete(
        self, task_guid: str, cell_id: str, *, failed: bool, failure_reason: str, result: str
    ) -> None:
        """Raises ResourceNotFound, InvalidStateTransition, RunningOnDifferentCell."""
        await self._end(
            task_guid,
            lambda task, now: (
                task_transitions.complete(
                    task, cell_id, failed=failed, failure_reason=failure_reason, result=result, now=now
                ),
            ),
        )

    async def fail(self, task_guid: str, failure_reason: str) -> None:
        """Raises ResourceNotFound, InvalidStateTransition."""
        await self._end(task_guid, lambda task, now: (task_transitions.fail(task, failure_reason, now),))

    async def reject(self, task_guid: str, reason: str) -> None:
        """Raises ResourceNotFound, InvalidRequest."""
        await self._end(task_guid, lambda task, now: task_transitions.reject(task, reason, now))

    async def cancel(self, task_guid: str, trace_id: str) -> None:
        """End the task here, then on its cell. Raises ResourceNotFound, InvalidStateTransition."""
        before = await self._end(
            task_guid, lambda task, now: (task_transitions.fail(task, task_transitions.CANCELLED, now),)
        )
        if before.state != TaskState.Running:
            return
        cell = self._deps.registry.cells().get(before.cell_id)
        if cell is not None:
            self._deps.background.start(
                "cancel-task",
                partial(self._deps.reps.cancel_task, rep_url(cell), task_guid, trace_id),
                rep_url(cell),
            )

    async def resolving(self, task_guid: str) -> None:
        """Raises ResourceNotFound, InvalidStateTransition."""

        def work(tables: Tables) -> None:
            before = tables.task(task_guid)
            tables.replace_task(before, task_transitions.resolving(before, self._deps.clock.wall()))

        await self._deps.store.run(work)

    async def delete(self, task_guid: str) -> None:
        """Raises ResourceNotFound, InvalidStateTransition."""

        def work(tables: Tables) -> None:
            task = tables.task(task_guid)
            task_transitions.delete(task)
            tables.delete_task(task)

        await self._deps.store.run(work)

    def call_back(self, task: Task) -> None:
        """Start the completion callback of a completed task, if it has one; does not wait."""
        if task.state == TaskState.Completed and callback_url(task):
            self._deps.background.start("call-back", partial(self._call_back, task))

    async def _call_back(self, task: Task) -> None:
        try:
            await self.resolving(task.task_guid)
        except BBSError as error:
            if error.type in (ErrorType.InvalidStateTransition, ErrorType.ResourceNotFound):
                return  # another call resolves or has resolved it
            raise
        if await self._deps.callbacks.deliver(callback_url(task), dumps(callback_body(task))):
            await self.delete(task.task_guid)

    async def _end(self, task_guid: str, decide: Callable[[Task, int], tuple[Task, ...]]) -> Task:
        """Apply changes that may end a task; returns the record before them."""

        def work(tables: Tables) -> tuple[Task, Task]:
            before = task = tables.task(task_guid)
            for after in decide(before, self._deps.clock.wall()):
                tables.replace_task(task, after)
                task = after
            return before, task

        before, after = await self._deps.store.run(work)
        self.call_back(after)
        return before


def callback_url(task: Task) -> str:
    """The completion callback URL, empty if there is none."""
    return "" if task.task_definition is None else task.task_definition.completion_callback_url


def callback_body(task: Task) -> TaskCallbackResponse:
    """The body of the completion callback."""
    return TaskCallbackResponse(
        task_guid=task.task_guid,
        failed=task.failed,
        failure_reason=task.failure_reason,
        result=task.result,
        annotation="" if task.task_definition is None else task.task_definition.annotation,
        created_at=task.created_at,
    )
