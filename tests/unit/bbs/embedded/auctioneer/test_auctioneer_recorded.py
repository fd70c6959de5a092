"""Recorded requests to an auctioneer, answered as recorded; each of its routes once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from bbs.embedded.auctioneer.runner import AuctionRunner
from bbs.embedded.auctioneer.server import auctioneer_app
from bbs.embedded.calls.reps import RepClient
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.cell import CellPresence
from tests.support.routes import route_table, served_routes

if TYPE_CHECKING:
    from tests.support.captures import Capture

pytestmark = pytest.mark.unit

COMPARED = ("Content-Type", "Content-Length")


class NoBBS:
    """Never asked: the runner does not run here."""

    async def cells(self, *, trace_id: str = "") -> list[CellPresence]:
        raise AssertionError

    async def fail_actual_lrp(self, key: ActualLRPKey, error_message: str, *, trace_id: str = "") -> None:
        raise AssertionError

    async def reject_task(self, task_guid: str, rejection_reason: str, *, trace_id: str = "") -> None:
        raise AssertionError


@pytest.mark.captures("auctioneer")
async def test_requests_are_taken_as_recorded(capture: Capture) -> None:
    runner = AuctionRunner(NoBBS(), RepClient())
    async with TestClient(TestServer(auctioneer_app(runner))) as client:
        for exchange in capture.exchanges:
            async with client.post(exchange.path, data=exchange.body) as answer:
                body = await answer.read()
            assert (answer.status, body) == (exchange.status, exchange.answer), exchange.t
            expected = {name: value for name, value in exchange.answer_headers.items() if name in COMPARED}
            assert {name: value for name, value in answer.headers.items() if name in COMPARED} == expected


LRPS = (
    b'[{"process_guid":"web","domain":"d","indices":[0,1],"PlacementTags":null,"VolumeDrivers":[],'
    b'"RootFs":"docker:///app","MemoryMB":256,"DiskMB":1024,"MaxPids":0}]'
)
TASKS = (
    b'[{"TaskGuid":"t","Domain":"d","PlacementTags":null,"VolumeDrivers":null,"RootFs":"docker:///job",'
    b'"MemoryMB":64,"DiskMB":64,"MaxPids":0,"state":"Invalid","failed":false}]'
)
AUCTIONEER = {
    ("POST", "/v1/lrps"): (LRPS, 202, b"{}"),
    ("POST", "/v1/tasks"): (TASKS, 202, b"{}"),
}


async def test_every_route_of_the_auctioneer() -> None:
    application = auctioneer_app(AuctionRunner(NoBBS(), RepClient()))
    assert served_routes(application) == route_table("auctioneer") == AUCTIONEER.keys()
    async with TestClient(TestServer(application)) as client:
        for (method, path), (body, status, text) in AUCTIONEER.items():
            async with client.request(method, path, data=body) as answer:
                assert (answer.status, await answer.read()) == (status, text)
                assert answer.headers["Content-Type"] == "application/json"
            async with client.request(method, path, data=b"[{") as answer:
                assert (answer.status, [*await answer.json()]) == (400, ["error"])
