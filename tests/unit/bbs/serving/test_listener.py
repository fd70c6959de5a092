"""Listeners: time limits for slow clients only."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from bbs.client.identity import Identity, IdentityFiles
from bbs.serving.access import AccessRule
from bbs.serving.connections import HEAD_TIMEOUT_S
from bbs.serving.listener import serving
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

SHORT_S = 0.5
"""For a head and for a handshake: enough for those who mean it, also on a busy machine."""

LONGER_S = 1.2 * SHORT_S
IDLE = 1000
REQUEST = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Site:
    """A running listener, and how a client of it connects."""

    port: int
    client_tls: ssl.SSLContext | None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client_tls)


async def quick(request: web.Request) -> web.Response:
    return web.Response(text="here")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(LONGER_S)
    return web.Response(text="at last")


OpenSite = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture(params=["plain", "tls"])
def open_site(request: pytest.FixtureRequest, tls_identity: IdentityFiles) -> OpenSite:
    both = Identity(tls_identity) if request.param == "tls" else None

    @asynccontextmanager
    async def opened(head_timeout_s: float = SHORT_S) -> AsyncIterator[Site]:
        application = web.Application()
        application.router.add_get("/quick", quick)
        application.router.add_get("/slow", slow)
        application.router.add_post("/echo", echo)
        async with serving(
            application,
            ("127.0.0.1", 0),
            both.server_context() if both else None,
            grace_s=1.0,
            head_timeout_s=head_timeout_s,
        ) as server:
            client_tls = both.client_context(check_hostname=False) if both else None
            yield Site(server.sockets[0].getsockname()[1], client_tls)

    return opened


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection, in whatever way."""
    found = b""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                some = await reader.read(1 << 16)
            except (ConnectionError, ssl.SSLError):
                return found
            if not some:
                return found
            found += some


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await reader.readexactly(int(length.split(b":")[1]))


@asynccontextmanager
async def connection(site: Site) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await site.connect()
    try:
        yield reader, writer
    finally:
        writer.close()


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """A byte now and then, until the other side has had enough."""
    for number in range(len(data)):
        writer.write(data[number : number + 1])
        try:
            await writer.drain()
        except (ConnectionError, ssl.SSLError):
            return
        await asyncio.sleep(LONGER_S / 10)


def test_the_limit_is_that_of_the_other_programs() -> None:
    assert HEAD_TIMEOUT_S == 5.0


async def test_who_says_nothing_is_cut(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, _):
        assert await rest(reader) == b""


async def test_a_head_that_comes_byte_by_byte_is_cut(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, writer), asyncio.TaskGroup() as group:
        dripping = group.create_task(drip(writer, b"GET /quick HTTP/1.1\r\n" + b"X-A: b\r\n" * 1000))
        assert await rest(reader) == b""
        dripping.cancel()


async def test_a_body_may_take_its_time(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        await drip(writer, b"0123456789")
        assert await answer(reader) == b"0123456789"


async def test_an_answer_may_take_its_time_and_so_may_the_next_request(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, writer):
        writer.write(REQUEST.replace(b"quick", b"slow"))
        assert await answer(reader) == b"at last"
        await asyncio.sleep(LONGER_S)
        writer.write(REQUEST)
        assert await answer(reader) == b"here"


async def test_the_head_of_a_later_request_counts_from_its_first_byte(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, writer):
        writer.write(REQUEST)
        assert await answer(reader) == b"here"
        writer.write(REQUEST[:10])
        assert await rest(reader) == b""


async def test_a_head_begun_while_another_request_is_answered_counts_from_then(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, writer):
        writer.write(REQUEST.replace(b"quick", b"slow"))
        await writer.drain()
        await asyncio.sleep(SHORT_S / 2)
        writer.write(REQUEST[:10])
        assert await answer(reader) == b"at last"
        assert await rest(reader) == b""


async def test_requests_sent_at_once_are_all_answered(open_site: OpenSite) -> None:
    async with open_site() as site, connection(site) as (reader, writer):
        writer.write(REQUEST.replace(b"quick", b"slow") + REQUEST)
        assert [await answer(reader), await answer(reader)] == [b"at last", b"here"]


async def test_a_handshake_that_does_not_come_is_cut(tls_identity: IdentityFiles) -> None:
    async with serving(
        web.Application(),
        ("127.0.0.1", 0),
        Identity(tls_identity).server_context(),
        grace_s=1.0,
        head_timeout_s=SHORT_S,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await rest(reader) == b""
        writer.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of all connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * IDLE + 500
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_thousand_who_say_nothing_keep_nobody_out(many_files: None) -> None:
    application = web.Application()
    application.router.add_get("/quick", quick)
    async with (
        serving(application, ("127.0.0.1", 0), grace_s=1.0, head_timeout_s=3.0) as server,
        AsyncExitStack() as idle,
    ):
        site = Site(server.sockets[0].getsockname()[1], None)
        silent = [await idle.enter_async_context(connection(site)) for _ in range(IDLE)]
        for _ in range(20):
            async with asyncio.timeout(1), connection(site) as (reader, writer):
                writer.write(REQUEST)
                assert await answer(reader) == b"here"
        assert {await rest(reader) for reader, _ in silent} == {b""}


@pytest.mark.parametrize("turns", range(4))
async def test_who_connects_while_a_listener_closes_is_not_forgotten(turns: int) -> None:
    """However far the loop has come with them: still in the queue, taken, known to the application."""
    application = web.Application()
    application.router.add_get("/quick", quick)
    clients = [socket.socket() for _ in range(5)]
    async with serving(application, ("127.0.0.1", 0), grace_s=0.1) as server:
        port = server.sockets[0].getsockname()[1]
        for client in clients:
            client.connect(("127.0.0.1", port))
        for _ in range(turns):
            await asyncio.sleep(0)
    for client in clients:
        with client:
            client.settimeout(5)
            with suppress(ConnectionError):
                assert client.recv(1) == b"", "ended, not forgotten"


async def test_a_page_that_asks_without_end_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each refused request was a line of the log; now one in some seconds is, and counts the others."""
    caplog.set_level(logging.INFO)
    headers = {"Origin": "http://evil.example"}
    async with (
        serving(web.Application(), ("127.0.0.1", 0), access=AccessRule()) as server,
        aiohttp.ClientSession() as session,
    ):
        port = server.sockets[0].getsockname()[1]
        for _ in range(20):
            async with session.get(f"http://127.0.0.1:{port}/", headers=headers) as response:
                assert response.status == 403
    assert [record.message for record in caplog.records].count("request-refused") == 1
