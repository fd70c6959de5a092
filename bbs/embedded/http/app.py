"""The application: every call and every stream on its path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from bbs.embedded.events.hub import Hub
from bbs.embedded.http import actual_lrps, cluster, desired_lrps, evacuation, tasks
from bbs.embedded.http.calls import Controllers, serve
from bbs.embedded.http.streams import STREAMS, serve_stream

ROUTES = (
    *cluster.ROUTES,
    *actual_lrps.ROUTES,
    *evacuation.ROUTES,
    *desired_lrps.ROUTES,
    *tasks.ROUTES,
)

PLAIN = {"X-Content-Type-Options": "nosniff"}

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a request; no valid one comes near it."""


def make_app(controllers: Controllers, hub: Hub) -> web.Application:
    """The BBS' HTTP API, ready to be served on any listener."""
    app = web.Application(middlewares=[_plain_errors], client_max_size=BODY_LIMIT)
    for served in ROUTES:
        app.router.add_route("POST", served.route.path, serve(controllers, served))
    for stream in STREAMS:
        app.router.add_route(stream.route.method, stream.route.path, serve_stream(hub, stream))
    return app


@web.middleware
async def _plain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What is no call at all answers as clients know it; they use 404 to find out what a server can do."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text="404 page not found\n", headers=PLAIN)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return web.Response(status=405, text="Method Not Allowed\n", headers={"Allow": allowed, **PLAIN})
