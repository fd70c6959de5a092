"""The metrics endpoint: answers ``GET /metrics`` and nothing else, in Prometheus' format or OpenMetrics."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bbs.serving.listener import serving
from common.metrics import exposition
from common.metrics.instruments import Instruments
from sshd.proxy.health import OpenAccess

PATH = "/metrics"


@asynccontextmanager
async def metrics_server(listening: socket.socket, instruments: Instruments) -> AsyncIterator[None]:
    """Serve inside the context; the socket is closed at its end."""

    async def metrics(request: web.Request) -> web.Response:
        page = await exposition.page(instruments, request.headers.get("Accept", ""))
        return web.Response(body=page.body, headers={"Content-Type": page.content_type})

    app = web.Application()
    app.router.add_get(PATH, metrics, allow_head=False)
    listening.setblocking(False)
    async with serving(app, listening, access=OpenAccess()):
        yield
