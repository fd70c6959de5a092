"""HTTP servers for clients under test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(answer: Answer) -> web.Application:
    """An application that answers every request the same way."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application


@asynccontextmanager
async def server_of(answer: Answer) -> AsyncIterator[str]:
    """The URL of a server of such an application, without a slash at its end."""
    async with TestServer(answering(answer)) as server:
        yield str(server.make_url("")).rstrip("/")
