"""Calls to a rep: requests, and the interpretation of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from bbs.embedded.calls import reps as repclient
from bbs.embedded.calls.reps import RepClient, RepError
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPInternalRoute, ActualLRPKey
from bbs.models.auction import CellState, Work
from tests.support.http import server_of
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "rep-http"
KEY = ActualLRPKey(process_guid="pg", index=1, domain="d")
INSTANCE = ActualLRPInstanceKey(instance_guid="ig", cell_id="c")
ROUTES = (ActualLRPInternalRoute(hostname="a.internal"),)


class ScriptedRep:
    """Answers from a list of (status, body), the last for ever; keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = [(202, "")]
        self.requests: list[tuple[str, str, str, dict[str, str]]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, await request.text(), dict(request.headers)))
        status, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, text=text)

    def lines(self) -> list[str]:
        return [f"{method} {path}" for method, path, _, _ in self.requests]

    def body(self, position: int = 0) -> Any:
        return json.loads(self.requests[position][2])

    def header(self, name: str, position: int = 0) -> str | None:
        return self.requests[position][3].get(name)


@pytest.fixture
async def rep() -> AsyncIterator[ScriptedRep]:
    scripted = ScriptedRep()
    async with server_of(scripted.handle) as scripted.url:
        yield scripted


@pytest.fixture
async def client() -> AsyncIterator[RepClient]:
    async with RepClient() as rep_client:
        yield rep_client


async def test_state(rep: ScriptedRep, client: RepClient) -> None:
    rep.answers = [(200, '{"cell_id":"c9","Zone":"z"}')]

    assert await client.state(rep.url, "trace") == CellState(cell_id="c9", zone="z")
    assert rep.lines() == ["GET /state"]
    assert (rep.header("X-Vcap-Request-Id"), rep.header("Content-Type")) == ("trace", None)


async def test_no_trace_means_no_header(rep: ScriptedRep, client: RepClient) -> None:
    await client.cancel_task(rep.url, "t")

    assert rep.header("X-Vcap-Request-Id") is None


async def test_perform(rep: ScriptedRep, client: RepClient) -> None:
    refused = '{"LRPs":[{"process_guid":"p"}],"Tasks":null}'
    rep.answers = [(200, refused)]
    recorded = json.loads((GOLDEN / "work-from-auctioneer.json").read_text())["records"][0]["request"]

    answer = await client.perform(rep.url, Work.loads(recorded["body_text"]), "trace")

    assert [lrp.process_guid for lrp in answer.lrps] == ["p"]
    assert rep.lines() == ["POST /work"]
    assert rep.requests[0][2] == recorded["body_text"]
    assert rep.header("Content-Type") is None


async def test_stop(rep: ScriptedRep, client: RepClient) -> None:
    await client.stop_lrp(rep.url, KEY, INSTANCE, "trace")

    assert rep.lines() == ["POST /v1/lrps/pg/instances/ig/stop"]
    assert rep.requests[0][2] == ""
    assert rep.header("Content-Type") == "application/json"
    assert rep.header("Content-Length") == "0"


async def test_a_retiring_stop_is_tried_again_until_it_works(rep: ScriptedRep, client: RepClient) -> None:
    rep.answers = [(500, ""), (500, ""), (202, "")]

    await client.stop_lrp(rep.url, KEY, INSTANCE, attempts=5)

    assert len(rep.requests) == 3


@pytest.mark.parametrize("attempts", [1, 5])
async def test_a_stop_gives_up_after_its_attempts(rep: ScriptedRep, client: RepClient, attempts: int) -> None:
    rep.answers = [(500, "")]

    with pytest.raises(RepError, match=r"POST http://.*/stop: answered 500 instead of 202"):
        await client.stop_lrp(rep.url, KEY, INSTANCE, attempts=attempts)

    assert len(rep.requests) == attempts


async def test_cancel(rep: ScriptedRep, client: RepClient) -> None:
    await client.cancel_task(rep.url, "tg", "trace")

    assert rep.lines() == ["POST /v1/tasks/tg/cancel"]
    assert rep.header("Content-Type") is None


async def test_update_as_it_was_recorded(rep: ScriptedRep, client: RepClient) -> None:
    records = json.loads((GOLDEN / "bbs-to-rep.json").read_text())["records"]
    updates = [record["request"] for record in records if record["request"]["method"] == "PUT"]
    for position, update in enumerate(updates):
        body = json.loads(update["body_text"])
        routes = body["internal_routes"]
        await client.update_lrp(
            rep.url,
            ActualLRPKey(process_guid=body["process_guid"], index=body["index"], domain=body["domain"]),
            ActualLRPInstanceKey(instance_guid=body["instance_guid"]),
            None if routes is None else [ActualLRPInternalRoute(**route) for route in routes],
            body["metric_tags"],
        )
        assert rep.requests[position][:3] == ("PUT", update["path"], update["body_text"])
        assert rep.header("Content-Type", position) == "application/json"
    assert len(updates) == 8


async def test_a_rep_without_v2_is_told_the_routes_through_v1(rep: ScriptedRep, client: RepClient) -> None:
    rep.answers = [(404, ""), (202, "")]

    await client.update_lrp(rep.url, KEY, INSTANCE, ROUTES, {"source_id": "x"})

    assert rep.lines() == ["PUT /v2/lrps/pg/instances/ig", "PUT /v1/lrps/pg/instances/ig"]
    assert rep.body(0)["metric_tags"] == {"source_id": "x"}
    assert rep.body(1)["metric_tags"] is None
    assert rep.body(1)["internal_routes"] == [{"hostname": "a.internal"}]


async def test_there_is_no_v1_for_tags_alone(rep: ScriptedRep, client: RepClient) -> None:
    rep.answers = [(404, "")]

    with pytest.raises(RepError) as caught:
        await client.update_lrp(rep.url, KEY, INSTANCE, None, {"source_id": "x"})

    assert (caught.value.status, len(rep.requests)) == (404, 1)


async def test_names_are_escaped_in_paths(rep: ScriptedRep, client: RepClient) -> None:
    await client.cancel_task(rep.url, "a/b c")

    assert rep.lines() == ["POST /v1/tasks/a/b c/cancel"]


@pytest.mark.parametrize("body", ["", "{nope", "[]", '{"cell_id":7}'])
async def test_an_unreadable_answer_is_an_error(rep: ScriptedRep, client: RepClient, body: str) -> None:
    rep.answers = [(200, body)]

    with pytest.raises(RepError, match="unreadable cell state"):
        await client.state(rep.url)
    with pytest.raises(RepError, match="unreadable answer"):
        await client.perform(rep.url, Work())


async def test_nobody_there(client: RepClient, unused_tcp_port: int) -> None:
    with pytest.raises(RepError, match=f"GET http://127.0.0.1:{unused_tcp_port}/state") as caught:
        await client.state(f"http://127.0.0.1:{unused_tcp_port}")

    assert caught.value.status is None


async def test_a_silent_rep_is_not_waited_for() -> None:
    gone = asyncio.Event()

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(listen_only, "127.0.0.1", 0)
    async with server, RepClient(timeout_s=0.05) as impatient:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RepError, match=r"no answer within 0\.05 s"):
            await impatient.state(f"http://127.0.0.1:{port}")
        await gone.wait()


async def test_it_has_to_be_entered_first() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await RepClient().state("http://127.0.0.1:1")


@pytest.mark.parametrize("guid", ["../../evacuate", "a/b", "%2e%2e", "a?b#c", "\udc80"])
async def test_a_guid_stays_one_segment_of_the_path(rep: ScriptedRep, client: RepClient, guid: str) -> None:
    """A guid that a peer made up cannot lead a call to another route of the rep."""
    with suppress(RepError):
        await client.stop_lrp(rep.url, replace(KEY, process_guid=guid), INSTANCE)
        await client.cancel_task(rep.url, guid)
    for _, path, _, _ in rep.requests:
        assert path.startswith(("/v1/lrps/", "/v1/tasks/"))
        assert path.endswith(("/stop", "/cancel"))


@pytest.mark.parametrize("guid", ["", ".", ".."])
async def test_a_guid_that_is_no_segment_is_refused(rep: ScriptedRep, client: RepClient, guid: str) -> None:
    with pytest.raises(RepError, match="cannot stand in a path"):
        await client.cancel_task(rep.url, guid)
    assert rep.requests == []


@pytest.mark.parametrize("url", ["http://[::1", "http://", "ftp://h", "h", "", "http://h:99999"])
async def test_a_rep_url_that_is_none_is_an_error_of_that_rep(client: RepClient, url: str) -> None:
    with pytest.raises(RepError):
        await client.state(url)


async def test_an_answer_that_is_too_large_is_an_error(
    rep: ScriptedRep, client: RepClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repclient, "MAX_ANSWER_BYTES", 1000)
    rep.answers = [(200, "x" * 1001)]
    with pytest.raises(RepError, match="larger than 1000 bytes"):
        await client.state(rep.url)
