"""The health listener: ``GET /`` is answered, nothing else."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from multidict import CIMultiDictProxy

from bbs.serving.door import Door
from bbs.serving.listener import serving

MAX_CONNECTIONS = 64
"""With more, the longest without a request is closed for the next one."""


class _OpenDoor(Door):
    """A load balancer may ask by any name; the answer is empty."""

    def refusal(self, headers: CIMultiDictProxy[str]) -> str:
        return ""


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def health_server(listening: socket.socket) -> AsyncIterator[None]:
    """Serve while inside; then the socket is closed."""
    app = web.Application()
    app.router.add_get("/", _healthy, allow_head=False)
    listening.setblocking(False)
    async with serving(app, listening, door=_OpenDoor(), max_connections=MAX_CONNECTIONS):
        yield
