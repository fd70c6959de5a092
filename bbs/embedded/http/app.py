"""The BBS application: all calls and event streams on their paths."""

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
"""Maximum bytes of a request body; valid requests are far smaller."""


def make_app(controllers: Controllers, hub: Hub) -> web.Application:
    """The HTTP API of the BBS."""
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
    """Answer unknown paths and methods like the Go server; clients use 404 to detect server features."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text="404 page not found\n", headers=PLAIN)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return web.Response(status=405, text="Method Not Allowed\n", headers={"Allow": allowed, **PLAIN})
