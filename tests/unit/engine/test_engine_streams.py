"""Transfers with an engine that answers, refuses, is silent, or goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from executor.engine import streams as streams_module
from executor.engine.client import EngineClient
from executor.engine.faults import ContainerGone
from executor.engine.streams import Streams
from executor.errors import EngineError, EngineUnavailable

pytestmark = pytest.mark.unit

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]
ARCHIVE = "/containers/abc/archive"


class FakeEngine:
    """Knows its version, and does with archives what a test wants."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, str, bytes]] = []
        self.reply: Reply = self.accept
        self.asked = asyncio.Event()
        self.over = asyncio.Event()
        self.tells: list[bytes] | None = []
        self.wishes: list[tuple[str, str]] = []

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.24"})

    async def create_image(self, request: web.Request) -> web.StreamResponse:
        self.wishes.append((request.query["fromImage"], request.headers["X-Registry-Auth"]))
        if self.tells is None:
            return web.json_response({"message": "pull access denied"}, status=404)
        response = web.StreamResponse()
        await response.prepare(request)
        for part in self.tells:
            await response.write(part)
        return response

    async def archive(self, request: web.Request) -> web.StreamResponse:
        self.asked.set()
        return await self.reply(request)

    async def accept(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append((request.method, request.path, request.query["path"], body))
        return web.Response(body=b"an archive")

    async def say_nothing(self, request: web.Request) -> web.StreamResponse:
        await self.over.wait()
        return web.Response()

    async def break_off(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * 1000)
        assert request.transport is not None
        request.transport.abort()
        return response

    def refuse(self, status: int, body: bytes) -> None:
        async def reply(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body)

        self.reply = reply


@pytest.fixture(params=["unix", "tcp"])
async def address(request: pytest.FixtureRequest, fake: FakeEngine, tmp_path: Path) -> AsyncIterator[str]:
    """Where the fake engine listens."""
    app = web.Application()
    app.router.add_get("/version", fake.version)
    app.router.add_post("/v1.41/images/create", fake.create_image)
    app.router.add_route("*", "/v1.41/containers/{id}/archive", fake.archive)
    runner = web.AppRunner(app)
    await runner.setup()
    if request.param == "unix":
        await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
        yield f"unix://{tmp_path}/engine.sock"
    else:
        port = unused_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"tcp://127.0.0.1:{port}"
    fake.over.set()
    await runner.cleanup()


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def streams(address: str) -> AsyncIterator[Streams]:
    client = EngineClient(address, workers=1)
    made = Streams(address, client)
    yield made
    await made.close()
    await asyncio.to_thread(client.close)


async def body_of(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def received(streams: Streams, path: str = "/a b") -> bytes:
    async with streams.receive("g1", "read", ARCHIVE, {"path": path}) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_there_and_back(streams: Streams, fake: FakeEngine) -> None:
    await streams.send("g1", "copy", ARCHIVE, {"path": "/"}, body_of(b"some", b"thing"))
    assert await received(streams) == b"an archive"
    assert fake.received == [
        ("PUT", f"/v1.41{ARCHIVE}", "/", b"something"),
        ("GET", f"/v1.41{ARCHIVE}", "/a b", b""),
    ]


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, b'{"message": "No such container: abc"}', ContainerGone, "No such container: abc"),
        (409, b'{"message": "Container abc is not running"}', ContainerGone, "Container abc is not running"),
        (404, b'{"message": "Could not find the file /x"}', EngineError, "Could not find the file /x"),
        (500, b'{"message": "disk quota exceeded"}', EngineError, "disk quota exceeded"),
        (502, b"<html>", EngineError, "<html>"),
        (503, b"", EngineError, "status 503"),
        (500, b"[1]", EngineError, "[1]"),
    ],
)
async def test_what_the_engine_says(
    streams: Streams, fake: FakeEngine, status: int, body: bytes, kind: type[EngineError], text: str
) -> None:
    fake.refuse(status, body)
    with pytest.raises(EngineError) as caught:
        await streams.send("g1", "copy", ARCHIVE, {"path": "/"}, body_of(b"x"))
    assert (type(caught.value), str(caught.value)) == (kind, f"copy: {text}")
    with pytest.raises(EngineError) as caught:
        await received(streams)
    assert (type(caught.value), str(caught.value)) == (kind, f"read: {text}")


async def test_an_engine_that_goes_away_in_the_middle(streams: Streams, fake: FakeEngine) -> None:
    fake.reply = fake.break_off
    with pytest.raises(EngineError, match=r"^read: "):
        await received(streams)


async def test_an_engine_that_is_silent_for_too_long(
    streams: Streams, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "CALL_TIMEOUT", 0.05)
    fake.reply = fake.say_nothing
    with pytest.raises(EngineUnavailable, match=r"copy: nothing moved for 0\.05 s"):
        await streams.send("g1", "copy", ARCHIVE, {"path": "/"}, body_of(b"x"))
    with pytest.raises(EngineUnavailable, match=r"read: nothing moved for 0\.05 s"):
        await received(streams)


async def test_ending_what_an_engine_has_not_answered_yet(streams: Streams, fake: FakeEngine) -> None:
    fake.reply = fake.say_nothing
    for transfer in (
        streams.send("g1", "copy", ARCHIVE, {"path": "/"}, body_of(b"x")),
        received(streams),
    ):
        fake.asked.clear()
        running = asyncio.create_task(transfer)
        await fake.asked.wait()
        streams.end("g2")
        assert not running.done()
        streams.end("g1")
        with pytest.raises(ContainerGone, match="is being destroyed"):
            await running


async def test_cancelling_what_an_engine_has_not_answered_yet(streams: Streams, fake: FakeEngine) -> None:
    fake.reply = fake.say_nothing
    running = asyncio.create_task(received(streams))
    await fake.asked.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def told(streams: Streams) -> list[Mapping[str, object]]:
    async with streams.told(
        "pull", "/images/create", {"fromImage": "a/b"}, {"X-Registry-Auth": "x"}
    ) as lines:
        return [line async for line in lines]


async def test_what_is_told_meanwhile(streams: Streams, fake: FakeEngine) -> None:
    fake.tells = [b'{"status": "one"}\r\n{"sta', b'tus": "two"}\r\n\r\n', b'{"error": "no"}']
    assert await told(streams) == [{"status": "one"}, {"status": "two"}, {"error": "no"}]
    assert fake.wishes == [("a/b", "x")]


@pytest.mark.parametrize("said", [b"<html>\n", b"x" * (4 << 20)])
async def test_what_cannot_be_understood_is_an_error_of_the_engine(
    streams: Streams, fake: FakeEngine, said: bytes
) -> None:
    fake.tells = [said]
    with pytest.raises(EngineError, match=r"^pull: "):
        await told(streams)


async def test_a_wish_that_is_refused(streams: Streams, fake: FakeEngine) -> None:
    fake.tells = None
    with pytest.raises(EngineError, match=r"^pull: pull access denied$"):
        await told(streams)


async def test_a_body_that_fails(streams: Streams) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise EngineError("refused")

    with pytest.raises(EngineError, match=r"^copy: "):
        await streams.send("g1", "copy", ARCHIVE, {"path": "/"}, body())


async def test_addresses_that_cannot_be_used(streams: Streams, address: str, tmp_path: Path) -> None:
    client = EngineClient(address, workers=1)
    other = Streams("ssh://somewhere", client)
    with pytest.raises(EngineError, match="neither a unix socket nor an HTTP address"):
        await received(other)
    gone = Streams(f"unix://{tmp_path}/none.sock", client)
    with pytest.raises(EngineUnavailable, match=r"^read: "):
        await received(gone)
    await gone.close()
    await asyncio.to_thread(client.close)
