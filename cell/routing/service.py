"""The router: its listeners, its table, and what it follows."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from bbs.client.api import BBSClient
from bbs.serving.access import AccessRule
from bbs.serving.address import Address, listening
from bbs.serving.listener import serving
from cell.routing.follower import Follower
from cell.routing.forwarding import Forwarder
from cell.routing.responses import drop_added_headers
from cell.routing.table import RouteTable

DRAIN_S: Final = 5.0
"""Time for requests in progress when the router ends."""

BODY_TICK_S: Final = 3600.0
"""Apps stream slowly; only the number of connections is bounded."""


@dataclass(frozen=True, slots=True)
class AnyHost(AccessRule):
    """Accepts every host and origin: the apps decide."""

    def refusal(self, headers: CIMultiDictProxy[str]) -> str:
        return ""


@asynccontextmanager
async def routing(bbs: BBSClient, where: socket.socket) -> AsyncIterator[Follower]:
    """Route the requests of a listening socket while the context lasts; yields what fills the table."""
    table = RouteTable()
    follower = Follower(bbs, table)
    async with follower.following(), forwarding(Forwarder(table), where):
        yield follower


@asynccontextmanager
async def forwarding(forwarder: Forwarder, where: socket.socket) -> AsyncIterator[None]:
    """Serve a listening socket with a forwarder while the context lasts."""

    @web.middleware
    async def forward(request: web.Request, handler: Handler) -> web.StreamResponse:
        """A route would refuse some targets, such as ``*``."""
        return await forwarder.handle(request)

    app = web.Application(middlewares=[forward])
    app.on_response_prepare.append(drop_added_headers)
    async with (
        forwarder,
        serving(
            app,
            where,
            grace_s=DRAIN_S,
            cancel_on_disconnect=True,
            access=AnyHost(),
            body_tick_s=BODY_TICK_S,
        ),
    ):
        yield


@asynccontextmanager
async def status_page(address: Address, follower: Follower) -> AsyncIterator[Address]:
    """Serve ``GET /health`` while the context lasts: 200 once the table is complete, 503 before.

    Yields the bound address. Raises ListenError.
    """

    async def health(_: web.Request) -> web.Response:
        ready = follower.listed.is_set()
        return web.Response(status=200 if ready else 503, text="ok\n" if ready else "no routes yet\n")

    app = web.Application()
    app.router.add_get("/health", health)
    with listening(address, "the router's health") as bound:
        async with serving(app, bound):
            yield Address(address.host, bound.getsockname()[1])
