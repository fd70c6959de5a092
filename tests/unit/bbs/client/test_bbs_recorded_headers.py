"""Header names of requests to a BBS, compared with recorded ones.

``request-headers`` has, for each kind of request, how often the trace header was absent, empty or set.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.empty_pb2 import Empty

from bbs.client.events import subscribe
from bbs.client.http import PooledTransport
from bbs.client.oneshot import OneShotTransport
from bbs.client.transport import Policy, Transport
from bbs.wire import sse
from bbs.wire.routes import Route
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.bbs.client.conftest import ScriptedServer

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "request-headers.json"
KINDS = [kind for kind in json.loads(GOLDEN.read_text())["kinds"] if kind["to"] == "bbs"]
CALLS = [kind for kind in KINDS if "/events" not in kind["path"]]
SUBSCRIPTIONS = [kind for kind in KINDS if "/events" in kind["path"]]
STREAMS = {stream.path: stream for stream in (sse.LRP_GROUP_EVENTS, sse.LRP_INSTANCE_EVENTS, sse.TASK_EVENTS)}

OF_THE_LIBRARY = {"Accept", "Accept-Encoding", "User-Agent"}
"""Headers of the HTTP library, which a BBS ignores."""


def named(kind: dict[str, Any]) -> str:
    return f"{kind['from']} {kind['method']} {kind['path']}"


@pytest.mark.parametrize("transport", [PooledTransport, OneShotTransport])
@pytest.mark.parametrize("trace_id", ["", "0123456789abcdef0123456789abcdef"])
@pytest.mark.parametrize("kind", CALLS, ids=named)
async def test_calls_carry_the_recorded_headers(
    kind: dict[str, Any], trace_id: str, transport: type[Transport], server: ScriptedServer
) -> None:
    server.answer()
    async with transport(server.url, None, Policy(attempts=1)) as way:
        await way.call(Route(kind["path"], Empty, Empty), Empty(), trace_id)
    (asked,) = server.requests
    assert (asked.method, asked.path) == (kind["method"], kind["path"])
    assert set(asked.headers) - OF_THE_LIBRARY == set(kind["header_names"]) - OF_THE_LIBRARY
    assert asked.headers["Content-Type"] == kind["content_type"]
    # never absent, whether there is a trace or not
    assert kind["trace_header"]["absent"] == 0
    assert asked.headers["X-Vcap-Request-Id"] == trace_id


@pytest.mark.parametrize("kind", SUBSCRIPTIONS, ids=named)
async def test_subscriptions_carry_the_recorded_headers(kind: dict[str, Any], server: ScriptedServer) -> None:
    server.stream(b"0\r\n\r\n", then="close")
    async with (
        PooledTransport(server.url, None, Policy(attempts=1)) as way,
        subscribe(way, STREAMS[kind["path"]], "cell-1") as events,
    ):
        assert [event async for event in events] == []
    (asked,) = server.requests
    assert (asked.method, asked.path) == (kind["method"], kind["path"])
    assert set(asked.headers) - OF_THE_LIBRARY == set(kind["header_names"]) - OF_THE_LIBRARY
