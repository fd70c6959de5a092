"""Client of the task calls."""

from __future__ import annotations

from bbs.client.transport import Caller
from bbs.models.task import Task, TaskDefinition
from bbs.wire import routes
from bbs.wire.mapping import text_to_wire, to_model, to_wire
from bbs.wire.proto import task_pb2 as wire
from bbs.wire.proto import task_requests_pb2 as requests


class TaskClient(Caller):
    """Calls about tasks."""

    async def tasks(self, *, domain: str = "", cell_id: str = "", trace_id: str = "") -> list[Task]:
        request = requests.TasksRequest(domain=domain, cell_id=cell_id)
        response = await self._ask(routes.TASKS, request, trace_id)
        return [to_model(task, Task) for task in response.tasks]

    async def task(self, task_guid: str, *, trace_id: str = "") -> Task:
        request = requests.TaskByGuidRequest(task_guid=task_guid)
        response = await self._ask(routes.TASK_BY_GUID, request, trace_id)
        return to_model(response.task, Task)

    async def desire_task(
        self, task_guid: str, domain: str, definition: TaskDefinition, *, trace_id: str = ""
    ) -> None:
        request = requests.DesireTaskRequest(
            task_guid=task_guid, domain=domain, task_definition=to_wire(definition, wire.TaskDefinition)
        )
        await self._ask(routes.DESIRE_TASK, request, trace_id)

    async def start_task(self, task_guid: str, cell_id: str, *, trace_id: str = "") -> bool:
        """Whether to start the task; false if it already runs on that cell."""
        request = requests.StartTaskRequest(task_guid=task_guid, cell_id=cell_id)
        response = await self._ask(routes.START_TASK, request, trace_id)
        return response.should_start

    async def complete_task(
        self,
        task_guid: str,
        cell_id: str,
        *,
        failed: bool,
        failure_reason: str,
        result: str,
        trace_id: str = "",
    ) -> None:
        request = requests.CompleteTaskRequest(
            task_guid=task_guid,
            cell_id=cell_id,
            failed=failed,
            failure_reason=text_to_wire(failure_reason),
            result=text_to_wire(result),
        )
        await self._ask(routes.COMPLETE_TASK, request, trace_id)

    async def reject_task(self, task_guid: str, rejection_reason: str, *, trace_id: str = "") -> None:
        """Not retried: by then the task may run on another cell, and the call names no cell."""
        request = requests.RejectTaskRequest(
            task_guid=task_guid, rejection_reason=text_to_wire(rejection_reason)
        )
        await self._ask(routes.REJECT_TASK, request, trace_id, repeatable=False)

    async def cancel_task(self, task_guid: str, *, trace_id: str = "") -> None:
        await self._ask(routes.CANCEL_TASK, requests.TaskGuidRequest(task_guid=task_guid), trace_id)

    async def resolving_task(self, task_guid: str, *, trace_id: str = "") -> None:
        await self._ask(routes.RESOLVING_TASK, requests.TaskGuidRequest(task_guid=task_guid), trace_id)

    async def delete_task(self, task_guid: str, *, trace_id: str = "") -> None:
        await self._ask(routes.DELETE_TASK, requests.TaskGuidRequest(task_guid=task_guid), trace_id)
