"""Calls to the auctioneer and to completion callbacks, as they arrive there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bbs.embedded.auctioneer.types import LRPStartRequest, TaskStartRequest
from bbs.embedded.calls.callbacks import AuctioneerError, HTTPAuctioneer, HTTPCallbacks
from bbs.models.auction import Demand

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


async def test_requests_for_lrps(peer: Peer, url: str) -> None:
    request = LRPStartRequest(
        process_guid="web-1",
        domain="apps",
        indices=(0, 1),
        demand=Demand(volume_drivers=(), root_fs="preloaded:cflinuxfs4", memory_mb=256, disk_mb=1024),
    )
    async with HTTPAuctioneer(url) as auctioneer:
        await auctioneer.request_lrps([request], "trace")
    [(path, headers, body)] = peer.requests
    assert path == "/v1/lrps"
    assert (headers["Content-Type"], headers["X-Vcap-Request-Id"]) == ("application/json", "trace")
    assert json.dumps(body, separators=(",", ":")) == (
        '[{"process_guid":"web-1","domain":"apps","indices":[0,1],"PlacementTags":null,"VolumeDrivers":[],'
        '"RootFs":"preloaded:cflinuxfs4","MemoryMB":256,"DiskMB":1024,"MaxPids":0}]'
    )


async def test_requests_for_tasks_carry_an_empty_trace(peer: Peer, url: str) -> None:
    async with HTTPAuctioneer(url) as auctioneer:
        await auctioneer.request_tasks([TaskStartRequest(task_guid="t", domain="d")])
    [(path, headers, _)] = peer.requests
    assert (path, headers["X-Vcap-Request-Id"]) == ("/v1/tasks", "")


async def test_an_auctioneer_that_refuses_is_an_error_with_its_address(peer: Peer, url: str) -> None:
    peer.statuses = [503]
    async with HTTPAuctioneer(url) as auctioneer:
        with pytest.raises(AuctioneerError, match=r"/v1/tasks: answered 503 instead of 202"):
            await auctioneer.request_tasks([])


async def test_an_auctioneer_that_is_not_there_is_an_error_with_its_address() -> None:
    async with HTTPAuctioneer("http://127.0.0.1:1") as auctioneer:
        with pytest.raises(AuctioneerError, match=r"POST http://127\.0\.0\.1:1/v1/lrps"):
            await auctioneer.request_lrps([])


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
    async with HTTPCallbacks() as callbacks:
        assert await callbacks.deliver(f"{url}/done", '{"task_guid":"t"}') is delivered
    assert len(peer.requests) == tries
    path, headers, body = peer.requests[0]
    assert (path, headers["Content-Type"], body) == ("/done", "application/json", {"task_guid": "t"})
