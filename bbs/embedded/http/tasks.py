"""Handlers of task calls."""

from __future__ import annotations

from bbs.embedded.http.calls import Controllers, Served, optional, text
from bbs.models.task import Task, TaskDefinition
from bbs.models.validation import (
    check,
    validate_desire_task_request,
    validate_task_failure_request,
    validate_task_guid_request,
    validate_task_on_cell_request,
)
from bbs.models.views import task_v2
from bbs.wire import routes
from bbs.wire.mapping import to_model, to_wire
from bbs.wire.proto import task_requests_pb2 as pb

Done = pb.TaskLifecycleResponse


async def list_(to: Controllers, q: pb.TasksRequest, _: str) -> pb.TasksResponse:
    return pb.TasksResponse(tasks=[to_wire(task) for task in await _find(to, q)])


async def list_r2(to: Controllers, q: pb.TasksRequest, _: str) -> pb.TasksResponse:
    return pb.TasksResponse(tasks=[to_wire(task_v2(task)) for task in await _find(to, q)])


async def get(to: Controllers, q: pb.TaskByGuidRequest, _: str) -> pb.TaskResponse:
    return pb.TaskResponse(task=to_wire(await _get(to, q)))


async def get_r2(to: Controllers, q: pb.TaskByGuidRequest, _: str) -> pb.TaskResponse:
    return pb.TaskResponse(task=to_wire(task_v2(await _get(to, q))))


async def desire(to: Controllers, q: pb.DesireTaskRequest, _: str) -> Done:
    definition = optional(q, "task_definition", TaskDefinition)
    check(validate_desire_task_request(q.task_guid, q.domain, definition))
    await to.tasks.desire(q.task_guid, q.domain, to_model(q.task_definition, TaskDefinition))
    return Done()


async def start(to: Controllers, q: pb.StartTaskRequest, _: str) -> pb.StartTaskResponse:
    check(validate_task_on_cell_request(q.task_guid, q.cell_id))
    return pb.StartTaskResponse(should_start=await to.tasks.start(q.task_guid, q.cell_id))


async def cancel(to: Controllers, q: pb.TaskGuidRequest, trace_id: str) -> Done:
    check(validate_task_guid_request(q.task_guid))
    await to.tasks.cancel(q.task_guid, trace_id)
    return Done()


async def fail(to: Controllers, q: pb.FailTaskRequest, _: str) -> Done:
    reason = text(q.failure_reason)
    check(validate_task_failure_request(q.task_guid, reason))
    await to.tasks.fail(q.task_guid, reason)
    return Done()


async def reject(to: Controllers, q: pb.RejectTaskRequest, _: str) -> Done:
    reason = text(q.rejection_reason)
    check(validate_task_failure_request(q.task_guid, reason))
    await to.tasks.reject(q.task_guid, reason)
    return Done()


async def complete(to: Controllers, q: pb.CompleteTaskRequest, _: str) -> Done:
    check(validate_task_on_cell_request(q.task_guid, q.cell_id))
    await to.tasks.complete(
        q.task_guid,
        q.cell_id,
        failed=q.failed,
        failure_reason=text(q.failure_reason),
        result=text(q.result),
    )
    return Done()


async def resolving(to: Controllers, q: pb.TaskGuidRequest, _: str) -> Done:
    check(validate_task_guid_request(q.task_guid))
    await to.tasks.resolving(q.task_guid)
    return Done()


async def delete(to: Controllers, q: pb.TaskGuidRequest, _: str) -> Done:
    check(validate_task_guid_request(q.task_guid))
    await to.tasks.delete(q.task_guid)
    return Done()


ROUTES = (
    Served(routes.TASKS, list_),
    Served(routes.TASKS_R2, list_r2),
    Served(routes.TASK_BY_GUID, get),
    Served(routes.TASK_BY_GUID_R2, get_r2),
    Served(routes.DESIRE_TASK, desire),
    Served(routes.START_TASK, start),
    Served(routes.CANCEL_TASK, cancel),
    Served(routes.FAIL_TASK, fail),
    Served(routes.REJECT_TASK, reject),
    Served(routes.COMPLETE_TASK, complete),
    Served(routes.RESOLVING_TASK, resolving),
    Served(routes.DELETE_TASK, delete),
)


async def _find(to: Controllers, q: pb.TasksRequest) -> list[Task]:
    return await to.with_.store.run(lambda tables: tables.tasks(q.domain, q.cell_id))


async def _get(to: Controllers, q: pb.TaskByGuidRequest) -> Task:
    check(validate_task_guid_request(q.task_guid))
    return await to.with_.store.run(lambda tables: tables.task(q.task_guid))
