"""Completion callbacks over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.destinations import Destinations

pytestmark = pytest.mark.unit


class Peer:
    """Answers with ``statuses``, one after the other; the last one stays."""

    def __init__(self) -> None:
        self.statuses = [202]
        self.requests: list[tuple[str, dict[str, str], object]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.requests.append((request.path, dict(request.headers), body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status)


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
async def url(peer: Peer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", peer.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


@pytest.mark.parametrize(
    ("statuses", "delivered", "tries"),
    [
        ([200], True, 1),
        ([404], True, 1),
        ([500], True, 1),
        ([503, 504, 200], True, 3),
        ([503], False, 3),
    ],
)
async def test_callbacks(peer: Peer, url: str, statuses: list[int], delivered: bool, tries: int) -> None:
    peer.statuses = statuses
    async with HTTPCallbacks(destinations=Destinations()) as callbacks:
        assert await callbacks.deliver(f"{url}/done", '{"task_guid":"t"}') is delivered
    assert len(peer.requests) == tries
    path, headers, body = peer.requests[0]
    assert (path, headers["Content-Type"], body) == ("/done", "application/json", {"task_guid": "t"})
