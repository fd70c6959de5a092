"""The auctioneer's HTTP door: two routes that queue and answer at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from bbs.embedded.auctioneer.runner import AuctionRunner
from bbs.embedded.auctioneer.types import (
    LRPStartRequest,
    TaskStartRequest,
    lrp_start_requests,
    task_start_requests,
)
from bbs.embedded.repclient import TRACE_HEADER
from bbs.models.codec import InvalidDocument

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Convergence may send every missing instance of a deployment in one request."""

Request = TypeVar("Request", LRPStartRequest, TaskStartRequest)


def auctioneer_app(runner: AuctionRunner) -> web.Application:
    """``POST /v1/lrps`` and ``POST /v1/tasks``: 202 ``{}``, or 400 ``{"error":...}`` for malformed JSON."""

    async def lrps(request: web.Request) -> web.Response:
        runner.add_lrps(_valid(lrp_start_requests(await request.read())), _trace_id(request))
        return _accepted()

    async def tasks(request: web.Request) -> web.Response:
        runner.add_tasks(_valid(task_start_requests(await request.read())), _trace_id(request))
        return _accepted()

    app = web.Application(middlewares=[_bad_requests], client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/v1/lrps", lrps)
    app.router.add_post("/v1/tasks", tasks)
    return app


@web.middleware
async def _bad_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InvalidDocument as error:
        logger.error("malformed-json", extra={"data": {"path": request.path, "error": str(error)}})
        return web.json_response({"error": str(error)}, status=400)


def _valid(requests: Iterable[Request]) -> list[Request]:
    """What can be auctioned; the rest is dropped with a log line, as the answer is 202 all the same."""
    kept: list[Request] = []
    for request in requests:
        problem = request.problem()
        if problem:
            logger.error(
                "invalid-start-request", extra={"data": {"error": problem, "request": request.to_json()}}
            )
        else:
            kept.append(request)
    return kept


def _trace_id(request: web.Request) -> str:
    return request.headers.get(TRACE_HEADER, "")


def _accepted() -> web.Response:
    return web.Response(status=202, body=b"{}", headers={"Content-Type": "application/json"})
