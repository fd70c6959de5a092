"""HTTP API of the auctioneer: two routes that queue requests and answer at once."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from bbs.embedded.auctioneer.runner import AuctionRunner
from bbs.embedded.calls.startrequests import lrp_start_requests, task_start_requests
from bbs.models.invalid import InvalidDocument
from bbs.serving.bodies import whole_body
from bbs.wire.routes import trace_id

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Convergence may send all missing instances of a deployment in one request."""


def auctioneer_app(runner: AuctionRunner) -> web.Application:
    """``POST /v1/lrps`` and ``POST /v1/tasks``: 202 ``{}``, or 400 ``{"error":...}`` for malformed JSON."""

    async def lrps(request: web.Request) -> web.Response:
        async with whole_body(request) as body:
            await runner.request_lrps(lrp_start_requests(body), trace_id(request.headers))
        return _accepted()

    async def tasks(request: web.Request) -> web.Response:
        async with whole_body(request) as body:
            await runner.request_tasks(task_start_requests(body), trace_id(request.headers))
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


def _accepted() -> web.Response:
    return web.Response(status=202, body=b"{}", headers={"Content-Type": "application/json"})
