"""Long calls of an engine that answers, refuses, hangs or disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from executor.engine.client import EngineClient
from executor.engine.streams import Streams
from executor.errors import ContainerGone, EngineError, EngineUnavailable

pytestmark = pytest.mark.unit


class FakeEngine:
    """Answers its version, and the pull of an image by script."""

    def __init__(self) -> None:
        self.breaks_off = False
        self.refusal = (404, b'{"message": "pull access denied"}')
        self.tells: list[bytes] | None = []
        self.wishes: list[tuple[str, str]] = []

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.24"})

    async def create_image(self, request: web.Request) -> web.StreamResponse:
        self.wishes.append((request.query["fromImage"], request.headers["X-Registry-Auth"]))
        if self.tells is None:
            return web.Response(status=self.refusal[0], body=self.refusal[1])
        response = web.StreamResponse()
        await response.prepare(request)
        for part in self.tells:
            await response.write(part)
        if self.breaks_off:
            assert request.transport is not None
            request.transport.abort()
        return response


@pytest.fixture(params=["unix", "tcp"])
async def address(request: pytest.FixtureRequest, fake: FakeEngine, tmp_path: Path) -> AsyncIterator[str]:
    """Where the fake engine listens."""
    app = web.Application()
    app.router.add_get("/version", fake.version)
    app.router.add_post("/v1.41/images/create", fake.create_image)
    runner = web.AppRunner(app)
    await runner.setup()
    if request.param == "unix":
        await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
        yield f"unix://{tmp_path}/engine.sock"
    else:
        port = unused_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"tcp://127.0.0.1:{port}"
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


async def told(streams: Streams) -> list[Mapping[str, object]]:
    async with streams.progress_of(
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


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, b'{"message": "pull access denied"}', EngineError, "pull access denied"),
        (404, b'{"message": "No such container: abc"}', ContainerGone, "No such container: abc"),
        (500, b'{"message": "disk quota exceeded"}', EngineError, "disk quota exceeded"),
        (502, b"<html>", EngineError, "<html>"),
        (503, b"", EngineError, "status 503"),
        (500, b"[1]", EngineError, "[1]"),
    ],
)
async def test_a_wish_that_is_refused(
    streams: Streams, fake: FakeEngine, status: int, body: bytes, kind: type[EngineError], text: str
) -> None:
    fake.tells, fake.refusal = None, (status, body)
    with pytest.raises(EngineError) as caught:
        await told(streams)
    assert (type(caught.value), str(caught.value)) == (kind, f"pull: {text}")


async def test_an_engine_that_goes_away_in_the_middle(streams: Streams, fake: FakeEngine) -> None:
    fake.tells, fake.breaks_off = [b'{"status": "one"}\n'], True
    with pytest.raises(EngineError, match=r"^pull: "):
        await told(streams)


async def test_addresses_that_cannot_be_used(streams: Streams, address: str, tmp_path: Path) -> None:
    client = EngineClient(address, workers=1)
    other = Streams("ssh://somewhere", client)
    with pytest.raises(EngineError, match="neither a unix socket nor an HTTP address"):
        await told(other)
    gone = Streams(f"unix://{tmp_path}/none.sock", client)
    with pytest.raises(EngineUnavailable, match=r"^pull: "):
        await told(gone)
    await gone.close()
    await asyncio.to_thread(client.close)
