"""The fault proxy and the relay: effects of each fault on client and server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bbs.client.identity import IdentityFiles
from bbs.client.tls import client_context, server_context
from tests.support.faults import Cut, Delay, FaultProxy, Hang, LoseAnswer, Status
from tests.support.http import answering
from tests.support.relays import Relay
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@dataclass
class Upstream:
    """A server that answers with what it got, and remembers the calls."""

    calls: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} {request.path_qs}")
        return web.Response(body=await request.read() or b"empty", headers={"X-Seen": "yes"})


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Upstream, FaultProxy, aiohttp.ClientSession]]:
    upstream = Upstream()
    async with (
        TestServer(answering(upstream.answer)) as server,
        FaultProxy.before_server(str(server.make_url(""))) as proxy,
        aiohttp.ClientSession(proxy.url) as session,
    ):
        yield upstream, proxy, session


async def test_calls_pass_with_their_query_headers_and_bodies() -> None:
    async with proxied() as (upstream, _, session):
        body = b"x" * (1 << 20)
        async with session.post("/a%2Fb?c=d", data=body) as answer:
            assert (await answer.read(), answer.headers["X-Seen"]) == (body, "yes")
        async with session.get("/empty") as answer:
            assert await answer.read() == b"empty"
        assert upstream.calls == ["POST /a%2Fb?c=d", "GET /empty"]


async def test_a_status_answers_the_named_calls_the_given_number_of_times() -> None:
    async with proxied() as (upstream, proxy, session):
        statuses = []
        with proxy.fault("GET /a", Status(503), skip=1, times=2) as fault:
            for path in ("/a", "/b", "/a", "/a", "/a"):
                async with session.get(path) as answer:
                    statuses.append(answer.status)
        assert statuses == [200, 200, 503, 503, 200]
        assert fault.calls == 2
        assert upstream.calls == ["GET /a", "GET /b", "GET /a"]


@pytest.mark.parametrize(("effect", "made"), [(Cut(), []), (LoseAnswer(), ["POST /a"])])
async def test_a_cut_call_is_not_made_and_one_with_a_lost_answer_is(
    effect: Cut | LoseAnswer, made: list[str]
) -> None:
    async with proxied() as (upstream, proxy, session):
        with proxy.fault("POST /a", effect) as fault, pytest.raises(aiohttp.ClientConnectionError):
            await session.post("/a", data=b"x")
        assert upstream.calls == made
        await asyncio.wait_for(fault.until_applied(), PATIENCE_S)
        async with session.post("/a", data=b"x") as answer:
            assert answer.status == 200, "the fault has ended"


async def test_a_call_that_hangs_is_made_when_the_fault_ends() -> None:
    async with proxied() as (upstream, proxy, session):
        with proxy.fault(".* /a", Hang()) as fault:
            call = asyncio.create_task(session.get("/a").__aenter__())
            await asyncio.wait_for(fault.until_applied(), PATIENCE_S)
            assert upstream.calls == []
            async with session.get("/b") as answer:
                assert answer.status == 200, "other calls pass"
        async with asyncio.timeout(PATIENCE_S):
            answer = await call
        assert answer.status == 200
        answer.release()
        assert upstream.calls == ["GET /b", "GET /a"]


async def test_a_delayed_call_is_made_later() -> None:
    async with proxied() as (_, proxy, session):
        loop = asyncio.get_running_loop()
        with proxy.fault(".* /a", Delay(0.2)):
            began = loop.time()
            async with session.get("/a") as answer:
                assert answer.status == 200
        assert loop.time() - began >= 0.2


async def test_a_proxy_before_the_socket_of_an_engine(tmp_path: Path) -> None:
    upstream = Upstream()
    runner = web.AppRunner(answering(upstream.answer))
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "real.sock")).start()
        async with FaultProxy.before_engine(tmp_path, str(tmp_path / "real.sock")) as proxy:
            connector = aiohttp.UnixConnector(proxy.url.removeprefix("unix://"))
            async with aiohttp.ClientSession(connector=connector) as session:
                with proxy.fault("GET /_ping", Status(500, "broken")):
                    async with session.get("http://engine/_ping") as answer:
                        assert (answer.status, await answer.json()) == (500, {"message": "broken"})
                async with session.get("http://engine/_ping") as answer:
                    assert answer.status == 200
    finally:
        await runner.cleanup()


async def test_a_proxy_ends_tls_and_makes_it_again(tls_identity: IdentityFiles) -> None:
    files = (tls_identity.ca_file, tls_identity.cert_file, tls_identity.key_file)
    upstream = Upstream()
    server = TestServer(answering(upstream.answer))
    await server.start_server(ssl=server_context(*files))
    try:
        async with FaultProxy.before_server(f"https://127.0.0.1:{server.port}", tls_identity) as proxy:
            connector = aiohttp.TCPConnector(ssl=client_context(*files))
            async with aiohttp.ClientSession(proxy.url, connector=connector) as session:
                with proxy.fault("GET /a", Status(500)):
                    async with session.get("/a") as answer:
                        assert answer.status == 500
                async with session.get("/b") as answer:
                    assert answer.status == 200
        assert upstream.calls == ["GET /b"]
    finally:
        await server.close()


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Relay, aiohttp.ClientSession]]:
    async with TestServer(answering(Upstream().answer)) as server:
        address = urlsplit(str(server.make_url(""))).netloc
        async with (
            Relay.before(address) as relay,
            aiohttp.ClientSession(f"http://{relay.address}") as session,
        ):
            yield relay, session


async def test_a_relay_refuses_and_listens_again() -> None:
    async with relayed() as (relay, session):
        async with session.get("/") as answer:
            assert await answer.read() == b"empty"
        async with relay.refusing():
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get("/")
        async with session.get("/") as answer:
            assert answer.status == 200


async def test_a_relay_that_hangs_loses_no_byte() -> None:
    async with relayed() as (relay, session):
        with relay.hanging():
            call = asyncio.create_task(session.get("/").__aenter__())
            done, _ = await asyncio.wait({call}, timeout=0.2)
            assert not done
        async with asyncio.timeout(PATIENCE_S):
            answer = await call
        assert await answer.read() == b"empty"
