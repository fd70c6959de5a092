"""The health listener: ``GET /`` is answered, nothing else."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def health_server(listening: socket.socket) -> AsyncIterator[None]:
    """Serve while inside."""
    app = web.Application()
    app.router.add_get("/", _healthy, allow_head=False)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        await runner.cleanup()
