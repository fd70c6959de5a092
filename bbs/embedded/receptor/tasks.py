"""Handlers of ``/v1/tasks``."""

from __future__ import annotations

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.embedded.receptor import answers
from bbs.embedded.receptor.answers import (
    INVALID_TASK,
    TASK_GUID_ALREADY_EXISTS,
    TASK_NOT_DELETABLE,
    TASK_NOT_FOUND,
    ReceptorError,
    invalid,
    translate,
)
from bbs.models.documents import read_task
from bbs.models.errors import BBSError, ErrorType
from bbs.models.receptor import MissingField, write_task


class TaskHandlers:
    """Handlers of the task routes."""

    def __init__(self, bbs: BBSClient) -> None:
        self._bbs = bbs

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/tasks", self.create),
            web.get("/v1/tasks", self.list, allow_head=False),
            web.get("/v1/tasks/{task_guid}", self.get, allow_head=False),
            web.delete("/v1/tasks/{task_guid}", self.delete),
            web.post("/v1/tasks/{task_guid}/cancel", self.cancel),
        ]

    async def create(self, request: web.Request) -> web.Response:
        document = await answers.document(request)
        try:
            task = read_task(document)
        except MissingField as error:
            raise ReceptorError(400, INVALID_TASK, str(error)) from error
        try:
            await self._bbs.desire_task(
                task.task_guid, task.domain, task.definition, trace_id=answers.trace_id(request)
            )
        except BBSError as error:
            raise translate(
                error,
                {
                    ErrorType.InvalidRequest: invalid(INVALID_TASK, error),
                    ErrorType.InvalidRecord: invalid(INVALID_TASK, error),
                    ErrorType.ResourceExists: ReceptorError(
                        409, TASK_GUID_ALREADY_EXISTS, "task already exists"
                    ),
                },
            ) from error
        return answers.empty(201)

    async def list(self, request: web.Request) -> web.Response:
        tasks = await self._bbs.tasks(
            domain=answers.domain_filter(request), trace_id=answers.trace_id(request)
        )
        return answers.json_answer([write_task(task) for task in tasks])

    async def get(self, request: web.Request) -> web.Response:
        guid = _guid(request)
        try:
            task = await self._bbs.task(guid, trace_id=answers.trace_id(request))
        except BBSError as error:
            raise translate(error, {ErrorType.ResourceNotFound: _not_found(guid)}) from error
        return answers.json_answer(write_task(task))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete through RESOLVING, so that a task with a callback in progress is not deleted."""
        guid, trace_id = _guid(request), answers.trace_id(request)
        try:
            await self._bbs.resolving_task(guid, trace_id=trace_id)
            await self._bbs.delete_task(guid, trace_id=trace_id)
        except BBSError as error:
            not_deletable = ReceptorError(
                409,
                TASK_NOT_DELETABLE,
                "This task has not been completed. Please retry when it is completed.",
            )
            raise translate(
                error,
                {
                    ErrorType.ResourceNotFound: _not_found(guid),
                    ErrorType.InvalidStateTransition: not_deletable,
                },
            ) from error
        return answers.empty(200)

    async def cancel(self, request: web.Request) -> web.Response:
        guid = _guid(request)
        try:
            await self._bbs.cancel_task(guid, trace_id=answers.trace_id(request))
        except BBSError as error:
            raise translate(error, {ErrorType.ResourceNotFound: _not_found(guid)}) from error
        return answers.empty(200)


def _guid(request: web.Request) -> str:
    return answers.in_path(request, "task_guid")


def _not_found(guid: str) -> ReceptorError:
    return ReceptorError(404, TASK_NOT_FOUND, f"task with guid '{guid}' not found")
