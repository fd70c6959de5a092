"""The Receptor application: all its routes. Access is limited by its listener only."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.embedded.receptor import answers
from bbs.embedded.receptor.actual_lrps import ActualLRPHandlers
from bbs.embedded.receptor.answers import error_answers
from bbs.embedded.receptor.cells import CellHandlers
from bbs.embedded.receptor.desired_lrps import DesiredLRPHandlers
from bbs.embedded.receptor.events import EventStreams
from bbs.embedded.receptor.tasks import TaskHandlers

VERSION_KEYS: Final = (
    "cf_release",
    "cf_routing_release",
    "diego_release",
    "garden_linux_release",
    "lattice_release",
    "lattice_release_image",
    "ltc",
    "receptor",
)
"""Releases of 2015, in the version object. This server is none of them, so all are empty."""

COOKIE: Final = "receptor_authorization"

MAX_BODY_BYTES: Final = 16 * 1024 * 1024


def receptor_app(bbs: BBSClient) -> web.Application:
    """The Receptor API over a BBS."""
    app = web.Application(middlewares=[error_answers], client_max_size=MAX_BODY_BYTES)
    streams = EventStreams(bbs)
    app.on_shutdown.append(streams.close)
    for handlers in (
        TaskHandlers(bbs),
        DesiredLRPHandlers(bbs),
        ActualLRPHandlers(bbs),
        CellHandlers(bbs),
        streams,
    ):
        app.add_routes(handlers.routes())
    app.router.add_get("/v1/version", _version, allow_head=False)
    app.router.add_post("/v1/auth_cookie", _auth_cookie)
    return app


async def _version(_: web.Request) -> web.Response:
    return answers.json_answer(dict.fromkeys(VERSION_KEYS, ""))


async def _auth_cookie(request: web.Request) -> web.Response:
    """Return the request's credentials as a cookie, for pages that log in first."""
    response = web.Response(status=204)
    response.set_cookie(COOKIE, request.headers.get("Authorization", ""), httponly=True)
    return response
