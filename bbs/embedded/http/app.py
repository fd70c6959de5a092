"""The BBS application: all calls and event streams on their paths."""

from __future__ import annotations

from aiohttp import web

from bbs.embedded.events.hub import Hub
from bbs.embedded.http import actual_lrps, cluster, desired_lrps, evacuation, tasks
from bbs.embedded.http.calls import Controllers, serve
from bbs.embedded.http.streams import STREAMS, serve_stream
from bbs.serving.plaintext import plain_errors

ROUTES = (
    *cluster.ROUTES,
    *actual_lrps.ROUTES,
    *evacuation.ROUTES,
    *desired_lrps.ROUTES,
    *tasks.ROUTES,
)

BODY_LIMIT = 64 * 1024 * 1024
"""Maximum bytes of a request body; valid requests are far smaller."""


def make_app(controllers: Controllers, hub: Hub) -> web.Application:
    """The HTTP API of the BBS."""
    app = web.Application(middlewares=[plain_errors], client_max_size=BODY_LIMIT)
    for served in ROUTES:
        app.router.add_route("POST", served.route.path, serve(controllers, served))
    for stream in STREAMS:
        app.router.add_route(stream.route.method, stream.route.path, serve_stream(hub, stream))
    return app
