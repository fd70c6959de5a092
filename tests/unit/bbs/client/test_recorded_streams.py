"""Recorded event streams: our subscription equals the recorded one, byte by byte."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from bbs.client.events import subscribe
from bbs.client.http import PooledTransport
from bbs.client.transport import Policy
from bbs.wire import sse
from bbs.wire.mapping import decode, to_model
from bbs.wire.messages import message_class
from bbs.wire.proto.events_pb2 import EventsByCellId
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.bbs.client.conftest import ScriptedServer

pytestmark = pytest.mark.unit

EVENTS = GOLDEN_FILES / "wire" / "events"
RECORDED = [
    pytest.param(document, id=str(path.relative_to(EVENTS)))
    for path in sorted(EVENTS.rglob("*.json"))
    if "response" in (document := json.loads(path.read_text()))
]
STREAMS = {
    stream.path: stream
    for stream in (
        sse.LRP_GROUP_EVENTS,
        sse.LRP_INSTANCE_EVENTS,
        sse.TASK_EVENTS,
        sse.LRP_GROUP_EVENTS_R0,
        sse.LRP_INSTANCE_EVENTS_R0,
        sse.TASK_EVENTS_R0,
    )
}
END = b"0\r\n\r\n"


@pytest.mark.parametrize("document", RECORDED)
async def test_a_recorded_stream_arrives_whole(document: dict[str, Any], server: ScriptedServer) -> None:
    asked, answered = document["request"], document["response"]
    method, path, _ = asked["request_line"].split(" ")
    filter_body = base64.b64decode(asked["body_base64"])
    server.stream(base64.b64decode(answered["raw_body_base64"]) + END, then="close")

    cell_id = EventsByCellId.FromString(filter_body).cell_id
    async with (
        PooledTransport(server.url, None, Policy(attempts=1)) as transport,
        subscribe(transport, STREAMS[path], cell_id) as events,
    ):
        arrived = [event async for event in events]

    assert arrived == [
        to_model(decode(message_class(event["message"]), base64.b64decode(event["data_base64"])))
        for event in answered["events"]
    ]
    (request,) = server.requests
    assert (request.method, request.path, request.body) == (method, path, filter_body)
    if document["from"] != "cfdot":
        return  # opened by hand, its headers are no model
    recorded = dict(asked["headers"])
    for name in ("Content-Length", "Content-Type", "X-Vcap-Request-Id"):
        assert request.headers.get(name) == recorded.get(name), name
