"""Recorded requests to an auctioneer: ours answers as recorded, and asks as a BBS did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bbs.embedded.auctioneer.runner import AuctionRunner
from bbs.embedded.auctioneer.server import auctioneer_app
from bbs.embedded.auctioneer.types import lrp_start_requests, task_start_requests
from bbs.embedded.calls.callbacks import HTTPAuctioneer
from bbs.embedded.calls.reps import RepClient
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.cell import CellPresence

if TYPE_CHECKING:
    from tests.unit.conftest import Capture

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


@pytest.mark.captures("auctioneer")
async def test_a_bbs_of_ours_asks_as_recorded(capture: Capture) -> None:
    asked: list[tuple[str, object, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        headers = request.headers["X-Vcap-Request-Id"], request.headers["Content-Type"]
        asked.append((request.path, json.loads(await request.read()), *headers))
        return web.Response(status=202, body=b"{}")

    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    async with TestServer(application) as server, HTTPAuctioneer(str(server.make_url("/"))) as auctioneer:
        for exchange in capture.exchanges:
            trace_id = exchange.headers["X-Vcap-Request-Id"]
            if exchange.path == "/v1/lrps":
                await auctioneer.request_lrps(list(lrp_start_requests(exchange.body)), trace_id)
            else:
                await auctioneer.request_tasks(list(task_start_requests(exchange.body)), trace_id)
            content_type = exchange.headers["Content-Type"]
            assert asked[-1] == (exchange.path, json.loads(exchange.body), trace_id, content_type)
