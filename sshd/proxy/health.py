"""The health endpoint: answers ``GET /`` and nothing else."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from multidict import CIMultiDictProxy

from bbs.serving.access import AccessRule
from bbs.serving.listener import serving

MAX_CONNECTIONS = 64
"""When the limit is exceeded, the connection without a request for the longest time is closed."""


class OpenAccess(AccessRule):
    """Accepts any host name, as a load balancer or a scraper may use any; the answers are no secrets."""

    def refusal(self, headers: CIMultiDictProxy[str]) -> str:
        return ""


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def health_server(listening: socket.socket) -> AsyncIterator[None]:
    """Serve inside the context; the socket is closed at its end."""
    app = web.Application()
    app.router.add_get("/", _healthy, allow_head=False)
    listening.setblocking(False)
    async with serving(app, listening, access=OpenAccess(), max_connections=MAX_CONNECTIONS):
        yield
