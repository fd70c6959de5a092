"""Handlers of ``/v1/desired_lrps``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.embedded.receptor import answers
from bbs.embedded.receptor.answers import (
    DESIRED_LRP_ALREADY_EXISTS,
    DESIRED_LRP_NOT_FOUND,
    INVALID_LRP,
    RESOURCE_CONFLICT,
    ReceptorError,
    invalid,
    translate,
)
from bbs.models.errors import BBSError, ErrorType
from bbs.models.receptor import (
    MissingField,
    read_desired_lrp,
    read_desired_lrp_update,
    write_desired_lrp,
)

UPDATE_TRIES: Final = 2
"""An update with a conflict is retried once."""


class DesiredLRPHandlers:
    """Handlers of the desired LRP routes."""

    def __init__(self, bbs: BBSClient) -> None:
        self._bbs = bbs

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/desired_lrps", self.create),
            web.get("/v1/desired_lrps", self.list, allow_head=False),
            web.get("/v1/desired_lrps/{process_guid}", self.get, allow_head=False),
            web.put("/v1/desired_lrps/{process_guid}", self.update),
            web.delete("/v1/desired_lrps/{process_guid}", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        document = await answers.document(request)
        try:
            desired = read_desired_lrp(document)
        except MissingField as error:
            raise ReceptorError(400, INVALID_LRP, str(error)) from error
        try:
            await self._bbs.desire_lrp(desired, trace_id=answers.trace_id(request))
        except BBSError as error:
            exists = ReceptorError(
                409,
                DESIRED_LRP_ALREADY_EXISTS,
                f"Desired LRP with guid '{desired.process_guid}' already exists",
            )
            raise translate(
                error,
                {
                    ErrorType.InvalidRequest: invalid(INVALID_LRP, error),
                    ErrorType.InvalidRecord: invalid(INVALID_LRP, error),
                    ErrorType.ResourceExists: exists,
                },
            ) from error
        return answers.empty(201)

    async def list(self, request: web.Request) -> web.Response:
        desired = await self._bbs.desired_lrps(
            domain=answers.domain_filter(request), trace_id=answers.trace_id(request)
        )
        return answers.json_answer([write_desired_lrp(lrp) for lrp in desired])

    async def get(self, request: web.Request) -> web.Response:
        guid = _guid(request)
        try:
            desired = await self._bbs.desired_lrp(guid, trace_id=answers.trace_id(request))
        except BBSError as error:
            raise translate(error, {ErrorType.ResourceNotFound: _not_found(guid)}) from error
        return answers.json_answer(write_desired_lrp(desired))

    async def update(self, request: web.Request) -> web.Response:
        update = read_desired_lrp_update(await answers.document(request))
        guid, trace_id = _guid(request), answers.trace_id(request)
        for left in reversed(range(UPDATE_TRIES)):
            try:
                await self._bbs.update_desired_lrp(guid, update, trace_id=trace_id)
            except BBSError as error:
                if error.type == ErrorType.ResourceConflict and left:
                    continue
                conflict = ReceptorError(
                    500, RESOURCE_CONFLICT, f"Desired LRP with guid '{guid}' failed to update"
                )
                raise translate(
                    error,
                    {
                        ErrorType.ResourceNotFound: _not_found(guid),
                        ErrorType.ResourceConflict: conflict,
                    },
                ) from error
            else:
                break
        return answers.empty(204)

    async def delete(self, request: web.Request) -> web.Response:
        guid = _guid(request)
        try:
            await self._bbs.remove_desired_lrp(guid, trace_id=answers.trace_id(request))
        except BBSError as error:
            raise translate(error, {ErrorType.ResourceNotFound: _not_found(guid)}) from error
        return answers.empty(204)


def _guid(request: web.Request) -> str:
    return answers.in_path(request, "process_guid")


def _not_found(guid: str) -> ReceptorError:
    return ReceptorError(404, DESIRED_LRP_NOT_FOUND, f"Desired LRP with guid '{guid}' not found")
