"""Handlers of task calls."""

from __future__ import annotations

from bbs.embedded.http.calls import Controllers, Served, checked, optional, text
from bbs.embedded.store.tables import Tables
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
from bbs.wire.mapping import encode, encode_list, to_wire
from bbs.wire.proto import task_requests_pb2 as pb

Done = pb.TaskLifecycleResponse


async def list_(controllers: Controllers, request: pb.TasksRequest, _: str) -> bytes:
    return await controllers.deps.reader.read(
        lambda tables: encode_list(
            pb.TasksResponse, "tasks", tables.task_records(request.domain, request.cell_id)
        )
    )


async def list_r2(controllers: Controllers, request: pb.TasksRequest, _: str) -> bytes:
    def read(tables: Tables) -> bytes:
        tasks = tables.tasks(request.domain, request.cell_id)
        return encode(pb.TasksResponse(tasks=[to_wire(task_v2(task)) for task in tasks]))

    return await controllers.deps.reader.read(read)


async def get(controllers: Controllers, request: pb.TaskByGuidRequest, _: str) -> pb.TaskResponse:
    return pb.TaskResponse(task=to_wire(await _get(controllers, request)))


async def get_r2(controllers: Controllers, request: pb.TaskByGuidRequest, _: str) -> pb.TaskResponse:
    return pb.TaskResponse(task=to_wire(task_v2(await _get(controllers, request))))


async def desire(controllers: Controllers, request: pb.DesireTaskRequest, _: str) -> Done:
    definition = optional(request, "task_definition", TaskDefinition)
    errors = validate_desire_task_request(request.task_guid, request.domain, definition)
    await controllers.tasks.desire(request.task_guid, request.domain, checked(definition, errors))
    return Done()


async def start(controllers: Controllers, request: pb.StartTaskRequest, _: str) -> pb.StartTaskResponse:
    check(validate_task_on_cell_request(request.task_guid, request.cell_id))
    return pb.StartTaskResponse(
        should_start=await controllers.tasks.start(request.task_guid, request.cell_id)
    )


async def cancel(controllers: Controllers, request: pb.TaskGuidRequest, trace_id: str) -> Done:
    check(validate_task_guid_request(request.task_guid))
    await controllers.tasks.cancel(request.task_guid, trace_id)
    return Done()


async def fail(controllers: Controllers, request: pb.FailTaskRequest, _: str) -> Done:
    reason = text(request.failure_reason)
    check(validate_task_failure_request(request.task_guid, reason))
    await controllers.tasks.fail(request.task_guid, reason)
    return Done()


async def reject(controllers: Controllers, request: pb.RejectTaskRequest, _: str) -> Done:
    reason = text(request.rejection_reason)
    check(validate_task_failure_request(request.task_guid, reason))
    await controllers.tasks.reject(request.task_guid, reason)
    return Done()


async def complete(controllers: Controllers, request: pb.CompleteTaskRequest, _: str) -> Done:
    check(validate_task_on_cell_request(request.task_guid, request.cell_id))
    await controllers.tasks.complete(
        request.task_guid,
        request.cell_id,
        failed=request.failed,
        failure_reason=text(request.failure_reason),
        result=text(request.result),
    )
    return Done()


async def resolving(controllers: Controllers, request: pb.TaskGuidRequest, _: str) -> Done:
    check(validate_task_guid_request(request.task_guid))
    await controllers.tasks.resolving(request.task_guid)
    return Done()


async def delete(controllers: Controllers, request: pb.TaskGuidRequest, _: str) -> Done:
    check(validate_task_guid_request(request.task_guid))
    await controllers.tasks.delete(request.task_guid)
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


async def _get(controllers: Controllers, request: pb.TaskByGuidRequest) -> Task:
    check(validate_task_guid_request(request.task_guid))
    return await controllers.deps.store.run(lambda tables: tables.task(request.task_guid))
