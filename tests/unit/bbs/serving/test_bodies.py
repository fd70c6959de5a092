"""The common memory bound of request bodies."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from bbs.serving.bodies import SMALL_BYTES, Budget, whole_body
from bbs.serving.listener import serving
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

LARGE = 4 * SMALL_BYTES
MOST = 8 * SMALL_BYTES


@asynccontextmanager
async def site(budget: Budget, handling: asyncio.Event | None = None) -> AsyncIterator[str]:
    """A server that answers the length of a body, once ``handling`` is set."""

    async def length(request: web.Request) -> web.Response:
        async with whole_body(request, budget) as body:
            if handling is not None and len(body) > SMALL_BYTES:
                await handling.wait()
            return web.Response(text=str(len(body)))

    application = web.Application(client_max_size=MOST)
    application.router.add_post("/", length)
    async with serving(application, ("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


async def post(http: aiohttp.ClientSession, url: str, size: int) -> tuple[int, str]:
    async with http.post(url, data=bytes(size)) as answer:
        return answer.status, await answer.text()


async def test_large_bodies_beyond_the_bound_are_refused_and_small_ones_are_not() -> None:
    budget, go_on = Budget(LARGE), asyncio.Event()
    async with site(budget, go_on) as url, aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        first = group.create_task(post(http, url, LARGE))
        while not budget.held:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        refused, _ = await post(http, url, LARGE)
        small = await post(http, url, SMALL_BYTES)
        go_on.set()
    assert (refused, small, first.result()) == (503, (200, str(SMALL_BYTES)), (200, str(LARGE)))
    assert budget.held == 0


async def test_a_body_that_does_not_end_gives_way_to_another_one() -> None:
    """Clients that keep large bodies almost complete would keep all others out, on all listeners."""
    budget = Budget(LARGE, min_age_s=0)
    async with site(budget) as url, aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_S):
        port = int(url.rstrip("/").rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % LARGE)
        writer.write(bytes(LARGE - 1))
        while budget.held < LARGE - SMALL_BYTES - 1:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert await post(http, url, LARGE) == (200, str(LARGE))
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
    assert budget.held == 0


async def test_a_complete_body_does_not_give_way() -> None:
    budget, go_on = Budget(LARGE, min_age_s=0), asyncio.Event()
    async with site(budget, go_on) as url, aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        first = group.create_task(post(http, url, LARGE))
        while budget.held < LARGE - SMALL_BYTES:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert (await post(http, url, LARGE))[0] == 503
        go_on.set()
    assert first.result() == (200, str(LARGE))


async def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(MOST // SMALL_BYTES + 1):
            yield bytes(SMALL_BYTES)

    budget = Budget(10 * MOST)
    async with site(budget) as url, aiohttp.ClientSession() as http:
        assert (await post(http, url, MOST + 1))[0] == 413
        async with http.post(url, data=unannounced()) as answer:
            assert answer.status == 413
        assert await post(http, url, MOST) == (200, str(MOST))
    assert budget.held == 0


async def test_a_compressed_body_is_not_decompressed() -> None:
    """300 MB of zeros in a gzip body stay the few bytes that were sent."""
    body = gzip.compress(bytes(30 * MOST))
    headers = {"Content-Encoding": "gzip"}
    async with (
        site(Budget(MOST)) as url,
        aiohttp.ClientSession() as http,
        http.post(url, data=body, headers=headers) as answer,
    ):
        assert (answer.status, await answer.text()) == (200, str(len(body)))


async def test_a_client_that_goes_away_gives_its_bytes_back() -> None:
    budget = Budget(MOST)
    async with site(budget) as url, asyncio.timeout(PATIENCE_S):
        port = int(url.rstrip("/").rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % MOST)
        writer.write(bytes(LARGE))
        while not budget.held:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while budget.held:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
