"""Header names of requests to reps, compared with recorded ones.

``request-headers`` has, for each kind of request, how often the trace header was absent, empty or set. Reps
get it when there is a trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from bbs.embedded.calls.reps import RepClient
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.auction import Work
from tests.support.http import server_of
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "request-headers.json"
KINDS = [kind for kind in json.loads(GOLDEN.read_text())["kinds"] if kind["to"] == "rep"]

OF_THE_LIBRARY = {"Accept", "Accept-Encoding", "User-Agent"}
"""Headers of the HTTP library, which a rep ignores."""

TRACE_HEADER = "X-Vcap-Request-Id"
TRACE = "0123456789abcdef0123456789abcdef"
KEY = ActualLRPKey(process_guid=":process_guid", index=0, domain="d")
INSTANCE = ActualLRPInstanceKey(instance_guid=":instance_guid", cell_id="c")

Send = Callable[[RepClient, str, str], Awaitable[object]]
SENDERS: dict[tuple[str, str], Send] = {
    ("rep", "/state"): lambda rep, url, trace: rep.state(url, trace),
    ("rep", "/work"): lambda rep, url, trace: rep.perform(url, Work(), trace),
    ("rep", "/v1/lrps/:process_guid/instances/:instance_guid/stop"): (
        lambda rep, url, trace: rep.stop_lrp(url, KEY, INSTANCE, trace)
    ),
    ("rep", "/v1/tasks/:task_guid/cancel"): (
        lambda rep, url, trace: rep.cancel_task(url, ":task_guid", trace)
    ),
    ("rep", "/v2/lrps/:process_guid/instances/:instance_guid"): (
        lambda rep, url, trace: rep.update_lrp(url, KEY, INSTANCE, (), None, trace)
    ),
}


class Peer:
    """A rep that keeps the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, dict(request.headers)))
        read = re.fullmatch("/state|/work", request.path)
        return web.Response(status=200, text="{}") if read else web.Response(status=202)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    async with server_of(peer.answer) as peer.url:
        yield peer


async def sent(kind: dict[str, Any], peer: Peer, trace_id: str) -> dict[str, str]:
    """Headers of the same kind of request as ours make it."""
    async with RepClient() as rep:
        await SENDERS[kind["to"], kind["path"]](rep, peer.url, trace_id)
    ((method, path, headers),) = peer.requests
    assert (method, path) == (kind["method"], kind["path"])
    return headers


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind['from']} to {kind['to']}{kind['path']}")
class TestSentHeaders:
    async def test_with_a_trace(self, kind: dict[str, Any], peer: Peer) -> None:
        headers = await sent(kind, peer, TRACE)
        assert set(headers) - OF_THE_LIBRARY == set(kind["header_names"]) - OF_THE_LIBRARY
        assert headers.get("Content-Type") == kind["content_type"]
        assert headers[TRACE_HEADER] == TRACE

    async def test_without_a_trace(self, kind: dict[str, Any], peer: Peer) -> None:
        headers = await sent(kind, peer, "")
        assert kind["trace_header"]["empty"] == 0
        assert TRACE_HEADER not in headers
