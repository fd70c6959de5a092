"""A scripted web server, and archives to serve."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from executor.cache.downloader import Downloader
from executor.cache.http import Fetcher
from tests.support.http import server_of

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Web:
    """Answers the n-th request with ``replies[n]``, the last one repeats; keeps the requests' headers."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(dict(request.headers))
        self.bodies.append(await request.read())
        return await reply(request)

    def answer(self, body: bytes = b"", *, status: int = 200, **headers: str) -> None:
        """Add a plain answer; header names with underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def reply(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=named)

        self.replies.append(reply)

    def serve(self, body: bytes, etag: str = '"1"') -> None:
        """Add an answer that a request with the right If-None-Match finds not modified."""

        async def reply(request: web.Request) -> web.StreamResponse:
            if request.headers.get("If-None-Match") == etag:
                return web.Response(status=304)
            return web.Response(body=body, headers={"ETag": etag})

        self.replies.append(reply)


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    site = Web()
    async with server_of(site.handle) as url:
        site.url = f"{url}/asset"
        yield site


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


class Pauses(list[int]):
    """A back-off that takes no time and is noted."""

    def __call__(self, failures: int) -> float:
        self.append(failures)
        return 0


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


OpenCache = Callable[..., Downloader]


@pytest.fixture
def open_cache(session: aiohttp.ClientSession, pauses: Pauses, tmp_path: Path) -> OpenCache:
    """A downloader over the test's cache directory; enter it."""

    def open_cache(max_bytes: int = 1 << 30, timeout: aiohttp.ClientTimeout | None = None) -> Downloader:
        fetcher = Fetcher(session, pause=pauses, timeout=timeout or aiohttp.ClientTimeout(total=10))
        return Downloader(fetcher, tmp_path / "cache", max_bytes)

    return open_cache


@pytest.fixture
async def cache(open_cache: OpenCache) -> AsyncIterator[Downloader]:
    async with open_cache() as cache:
        yield cache


@pytest.fixture
def names() -> Callable[[Path], list[str]]:
    """The members of a tar."""

    def names(path: Path) -> list[str]:
        with tarfile.open(path) as archive:
            return archive.getnames()

    return names


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], list[str]]:
    """Names of the tars and directories the cache has on disk."""
    return lambda: sorted(path.name for path in (tmp_path / "cache").iterdir() if len(path.name) > 20)
