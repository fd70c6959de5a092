"""The router between a client and instances, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from bbs.serving.address import Address, listening
from cell.routing import forwarding
from cell.routing.forwarding import Forwarder
from cell.routing.service import forwarding as serve_forwarder
from cell.routing.table import RouteTable
from tests.support.http import server_of
from tests.support.waiting import PATIENCE_S, until
from tests.unit.cell.routing.conftest import Runs

pytestmark = pytest.mark.unit

HOST = "shop.localhost"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def routed(table: RouteTable) -> AsyncIterator[Address]:
    """A router with this table."""
    with listening(Address("127.0.0.1", 0), "the router") as where:
        async with serve_forwarder(Forwarder(table), where):
            yield Address("127.0.0.1", where.getsockname()[1])


@asynccontextmanager
async def asking(router: Address) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose requests go to the app at HOST."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(
        router.url(), headers={"Host": HOST}, auto_decompress=False, timeout=timeout
    ) as session:
        yield session


@pytest.fixture
async def router(table: RouteTable) -> AsyncIterator[Address]:
    async with routed(table) as address:
        yield address


@pytest.fixture
async def client(router: Address) -> AsyncIterator[aiohttp.ClientSession]:
    async with asking(router) as session:
        yield session


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def app_of(talk: Talk) -> AsyncIterator[int]:
    """An app that talks on its sockets as it wants; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


async def exchange(router: Address, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to bytes, with ``Connection: close`` in them."""
    reader, writer = await asyncio.open_connection(router.host, router.port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_S):
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def test_a_request_and_its_response_pass_unchanged(
    router: Address, client: aiohttp.ClientSession, runs: Runs
) -> None:
    seen: list[web.Request] = []
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.read())
        response = web.Response(
            status=418,
            reason="Short And Stout",
            body=gzip.compress(b"tea"),
            headers={"Content-Encoding": "gzip"},
        )
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        return response

    async with server_of(answer) as url:
        runs("shop", HOST, port_of(url))
        async with client.post("/a%2Fb//c?x=%20&y", data=b"leaves", headers={"X-Many": "1"}) as response:
            assert (response.status, response.reason) == (418, "Short And Stout")
            assert gzip.decompress(await response.read()) == b"tea"
            assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert response.headers["X-Vcap-Request-Id"] == seen[0].headers["X-Vcap-Request-Id"]
    assert (seen[0].method, seen[0].raw_path, bodies) == ("POST", "/a%2Fb//c?x=%20&y", [b"leaves"])
    assert (seen[0].headers["Host"], seen[0].headers["X-Many"]) == (HOST, "1")
    assert (seen[0].headers["X-Forwarded-For"], seen[0].headers["X-Cf-Applicationid"]) == (
        "127.0.0.1",
        "shop-app",
    )


async def test_nothing_is_added_to_the_heads(router: Address, runs: Runs) -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nDate: today\r\n\r\nok")

    async with app_of(talk) as port:
        runs("shop", HOST, port)
        request = b"POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        head, body = await exchange(router, request)
    names = {line.partition(b":")[0] for line in head.split(b"\r\n")[1:]}
    assert body == b"ok"
    assert names == {b"Content-Length", b"Date", b"X-Vcap-Request-Id", b"Connection"}
    sent = {line.partition(b":")[0].lower() for line in heads[0].strip().split(b"\r\n")[1:]}
    assert sent.isdisjoint({b"user-agent", b"accept", b"accept-encoding", b"content-type"})


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_a_body(client: aiohttp.ClientSession, runs: Runs, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"ETag": '"x"'})

    async with server_of(answer) as url:
        runs("shop", HOST, port_of(url))
        async with client.get("/") as response:
            assert (response.status, await response.read(), response.headers["ETag"]) == (status, b"", '"x"')


async def test_head_tells_the_length_without_the_body(client: aiohttp.ClientSession, runs: Runs) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"12345")

    async with server_of(answer) as url:
        runs("shop", HOST, port_of(url))
        async with client.head("/") as response:
            assert (response.headers["Content-Length"], await response.read()) == ("5", b"")


async def test_both_bodies_stream(client: aiohttp.ClientSession, runs: Runs) -> None:
    """Each piece of the request is answered before the next one is sent."""

    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece.upper())
        return response

    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def upload() -> AsyncIterator[bytes]:
        while piece := await pieces.get():
            yield piece

    async with server_of(echo) as url:
        runs("shop", HOST, port_of(url))
        pieces.put_nowait(b"one")
        async with client.post("/", data=upload()) as response:
            assert await response.content.readany() == b"ONE"
            pieces.put_nowait(b"two")
            assert await response.content.readany() == b"TWO"
            pieces.put_nowait(b"")
            assert await response.read() == b""


async def test_a_slow_reader_makes_the_app_wait(router: Address, runs: Runs) -> None:
    """The router holds a bounded part of the body."""
    written = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with app_of(talk) as port:
        runs("shop", HOST, port)
        _, writer = await asyncio.open_connection(router.host, router.port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
        await until(lambda: written)
        before = -1
        while before < written:  # until the app has to wait
            before = written
            with suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await until(lambda seen=before: written > seen)
        assert written < 50_000_000
        writer.transport.abort()


async def test_a_client_that_leaves_ends_the_request_to_the_app(router: Address, runs: Runs) -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert await reader.read() == b""
        gone.set()

    async with app_of(talk) as port:
        runs("shop", HOST, port)
        reader, writer = await asyncio.open_connection(router.host, router.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
        await reader.readuntil(b"x\r\n")
        writer.close()
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()


async def test_a_response_that_breaks_off_does_not_look_complete(router: Address, runs: Runs) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()

    async with app_of(talk) as port:
        runs("shop", HOST, port)
        reader, writer = await asyncio.open_connection(router.host, router.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
        received = b""
        with suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_S):
                while piece := await reader.read(1000):
                    received += piece
        assert b"abc" in received
        assert b"0\r\n\r\n" not in received
        writer.close()


async def test_refused_connections_are_tried_at_another_instance(
    client: aiohttp.ClientSession, runs: Runs, closed_port: int
) -> None:
    """Also with a body and a method that has effects: nothing of it has been sent."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async with server_of(answer) as url:
        runs("shop", HOST, closed_port, port_of(url), closed_port)
        for _ in range(3):
            async with client.post("/", data=b"once") as response:
                assert (response.status, await response.read()) == (200, b"once")


async def test_an_address_without_an_answer_is_left_in_time(
    runs: Runs, table: RouteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a cell that died: a listener with a full queue answers no connection, either."""
    monkeypatch.setattr(forwarding, "CONNECT_TIMEOUT_S", 0.05)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="alive")

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect(full.getsockname())
        async with server_of(answer) as url, routed(table) as router, asking(router) as client:
            runs("shop", HOST, full.getsockname()[1], port_of(url))
            for _ in range(2):
                async with client.get("/") as response:
                    assert await response.text() == "alive"
        for each in waiting:
            each.close()


async def test_a_request_without_effects_is_repeated_when_an_instance_hangs_up(
    client: aiohttp.ClientSession, runs: Runs
) -> None:
    hung_up = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hung_up
        await reader.readuntil(b"\r\n\r\n")
        hung_up += 1

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async with app_of(talk) as dying, server_of(answer) as url:
        runs("shop", HOST, dying, port_of(url))
        async with client.get("/") as response:
            assert (response.status, await response.text()) == (200, "ok")
        assert hung_up
        async with client.get("/") as response:  # at the turn of the other one
            assert response.status == 200
        async with client.post("/") as response:
            assert response.status == 502, "it may have had its effect"
            assert response.headers["X-Cf-RouterError"].startswith("endpoint_failure (")


@pytest.mark.parametrize(
    ("host", "instances", "status", "kind"),
    [
        ("unknown.localhost", [], 404, "unknown_route"),
        ("", [], 400, "empty_host"),
        (HOST, [], 503, "no_endpoints"),
        (HOST, ["closed"], 502, "endpoint_failure (Connection refused)"),
    ],
)
async def test_errors_of_the_router(
    router: Address, runs: Runs, closed_port: int, host: str, instances: list[str], status: int, kind: str
) -> None:
    runs("shop", HOST, *(closed_port for _ in instances))
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    head, body = await exchange(router, request.encode())
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"X-Cf-RouterError: {kind}\r\n".encode() in head
    assert body.startswith(f"{status}: ".encode())


async def test_an_app_that_does_not_answer(
    runs: Runs, table: RouteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "SILENCE_TIMEOUT_S", 0.05)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with app_of(talk) as port, routed(table) as router, asking(router) as client:
        runs("shop", HOST, port)
        async with client.get("/") as response:
            assert (response.status, await response.text()) == (504, "504: the app did not respond in time\n")


async def test_the_path_and_the_host_in_any_form(router: Address, runs: Runs) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.headers['Host']} {request.raw_path}")

    async with server_of(answer) as url:
        runs("shop", HOST, port_of(url))
        for line, host, seen in (
            ("GET /x", "SHOP.localhost:8000", "SHOP.localhost:8000 /x"),
            ("GET http://shop.localhost/y?z", "ignored", "shop.localhost /y?z"),
            ("GET http://shop.localhost", "ignored", "shop.localhost /"),
        ):
            request = f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            assert (await exchange(router, request.encode()))[1] == seen.encode()


async def test_one_instance_by_its_header(client: aiohttp.ClientSession, runs: Runs) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["X-Cf-Instanceindex"])

    async with server_of(answer) as url:
        runs("shop", HOST, *[port_of(url)] * 3)
        for _ in range(2):
            async with client.get("/", headers={"X-Cf-App-Instance": "shop-app:2"}) as response:
                assert await response.text() == "2"
        async with client.get("/", headers={"X-Cf-App-Instance": "shop-app:7"}) as response:
            assert (response.status, response.headers["X-Cf-RouterError"]) == (404, "unknown_route")
        async with client.get("/", headers={"X-Cf-App-Instance": "seven"}) as response:
            assert response.status == 400


async def test_a_session_stays_at_its_instance(router: Address, runs: Runs) -> None:
    async def answer(request: web.Request) -> web.Response:
        response = web.Response(text=request.headers["X-Cf-Instanceindex"])
        response.set_cookie("JSESSIONID", "s")
        return response

    async with server_of(answer) as url:
        runs("shop", HOST, *[port_of(url)] * 3)
        cookies = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(router.url(), headers={"Host": HOST}, cookie_jar=cookies) as session:
            indices = set()
            for _ in range(5):
                async with session.get("/") as response:
                    indices.add(await response.text())
        assert len(indices) == 1


async def test_a_websocket_passes_in_both_directions(router: Address, runs: Runs) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        await socket.send_str(request.headers["X-Cf-Instanceid"])
        async for message in socket:
            await (
                socket.send_bytes(message.data)
                if message.type is aiohttp.WSMsgType.BINARY
                else socket.close()
            )
        return socket

    async with server_of(answer) as url, aiohttp.ClientSession() as session:
        runs("shop", HOST, port_of(url))
        async with session.ws_connect(
            f"ws://127.0.0.1:{router.port}/chat", headers={"Host": HOST}, protocols=["chat"], compress=15
        ) as peer:
            assert peer.protocol == "chat"
            assert await peer.receive_str(timeout=PATIENCE_S) == "shop-0"
            for size in (0, 1, 300_000):
                await peer.send_bytes(b"x" * size)
                assert len(await peer.receive_bytes(timeout=PATIENCE_S)) == size
            await peer.send_str("bye")
            assert (await peer.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE


async def test_a_websocket_of_a_client_that_leaves_ends_at_the_app(router: Address, runs: Runs) -> None:
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        try:
            async for _ in socket:
                pass
        finally:
            ended.set()
        return socket

    async with server_of(answer) as url, aiohttp.ClientSession() as session:
        runs("shop", HOST, port_of(url))
        peer = await session.ws_connect(f"ws://127.0.0.1:{router.port}/", headers={"Host": HOST})
        await peer.receive_str(timeout=PATIENCE_S)
        assert peer._conn is not None
        peer._conn.transport.abort()  # type: ignore[union-attr] # as a client that dies
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
        await peer.close()


async def test_an_app_that_refuses_a_websocket_says_why(
    router: Address, runs: Runs, closed_port: int
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=403, text="members only")

    async with server_of(answer) as url:
        runs("shop", HOST, closed_port, port_of(url))
        head, body = await exchange(
            router,
            b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"members only" in body


async def test_other_upgrades_are_served_without_them(router: Address, runs: Runs) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str("Upgrade" in request.headers))

    async with server_of(answer) as url:
        runs("shop", HOST, port_of(url))
        _, body = await exchange(
            router,
            b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
    assert body == b"False"
