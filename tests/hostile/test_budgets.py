"""Budgets of a rep for descriptors, connections and bodies: exhaustion ends nothing and blocks no client."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
import logging
import os
import resource
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.client.transport import Policy
from executor.model import Resources
from rep.agent import RepAgent
from rep.config import parse
from rep.server import MAX_BODY_BYTES
from tests.support.journals import FailingJournal
from tests.support.rep_doubles import FakeExecutor, FakeLocket

pytestmark = pytest.mark.unit

MIB = 1 << 20
WORK = {"Tasks": [{"TaskGuid": "t", "Domain": "d", "RootFs": "docker:///x"}]}


@asynccontextmanager
async def running() -> AsyncIterator[RepAgent]:
    """A plain rep whose BBS is away, which it notices every few ms."""
    keys = {
        "cell_id": "cell-1",
        "zone": "z1",
        "bbs_address": "http://127.0.0.1:1",
        "locket_address": "127.0.0.1:2",
        "listen_addr": "127.0.0.1:0",
        "listen_addr_securable": "127.0.0.1:0",
        "polling_interval": "10ms",
    }
    executor = FakeExecutor(Resources(memory_mb=100, disk_mb=100, containers=9))
    async with HTTPBBSClient(keys["bbs_address"], policy=Policy(attempts=1)) as bbs:
        agent = RepAgent(
            parse(json.dumps(keys)), executor, bbs, FakeLocket(), FailingJournal(), presence_retry_s=0.01
        )
        task = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(10):
                await agent.ready.wait()
            yield agent
            assert not task.done(), "nothing ended it"
        finally:
            agent.stop()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # the BBS cannot be asked for the clean-up


def url(agent: RepAgent, path: str, side: str = "network") -> str:
    return f"http://127.0.0.1:{getattr(agent.listeners, side).port}{path}"


async def status(
    agent: RepAgent, path: str, side: str = "network", method: str = "GET", **options: Any
) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url(agent, path, side), **options) as answer,
    ):
        await answer.read()
        return answer.status


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        for _ in itertools.takewhile(lambda _: not holds(), itertools.count()):
            await asyncio.sleep(0.01)


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """Lets this process have so many descriptors more than it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow(more: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + more, before[1]))

    yield allow
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_rep_without_a_descriptor_left_goes_on(
    few_descriptors: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Out of descriptors, the cell ended and its apps with it."""
    caplog.set_level(logging.INFO)

    def failed_passes() -> int:
        return sum("batch-operations.failed" in record.message for record in caplog.records)

    async with running() as agent:
        with ExitStack() as held:
            few_descriptors(40)
            with suppress(OSError):
                while True:
                    held.callback(os.close, os.dup(0))
            passes = failed_passes()
            await until(lambda: failed_passes() >= passes + 3)
        assert await status(agent, "/state") == 200
        assert await status(agent, "/ping", "admin") == 200
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("rep.rec")]


async def test_silent_connections_keep_no_auctioneer_out(few_descriptors: Callable[[int], None]) -> None:
    """1,461 silent TCP connections took all descriptors of a cell."""
    few_descriptors(600)
    async with running() as agent:
        silent = []
        for side in ("network", "admin"):
            port = getattr(agent.listeners, side).port
            silent += [await asyncio.open_connection("127.0.0.1", port) for _ in range(80)]
        assert await status(agent, "/state") == 200
        assert await status(agent, "/work", method="POST", data=json.dumps(WORK)) == 200
        assert await status(agent, "/ping", "admin") == 200
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_packed_body_stays_packed(encoding: str) -> None:
    """300 KB of gzip became 300 MB in the rep. Peers send bodies as they are, and so are they read."""
    packed = gzip.compress(bytes(64 * MIB), 9)
    async with running() as agent:
        tracemalloc.start()
        try:
            headers = {"Content-Encoding": encoding}
            assert await status(agent, "/work", method="POST", data=packed, headers=headers) == 400
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * MIB
        assert await status(agent, "/work", method="POST", data=json.dumps(WORK)) == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_is_not_read_to_its_end(chunked: bool) -> None:
    """The whole of it would be in memory before anything looked at it."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 4 * MAX_BODY_BYTES:
            taken += MIB
            yield bytes(MIB)

    async with running() as agent:
        body: Any = endless() if chunked else io.BytesIO(bytes(MAX_BODY_BYTES + 1))
        with suppress(aiohttp.ClientError):  # the answer came before the end of the request
            assert await status(agent, "/work", method="POST", data=body) == 413
        assert taken <= MAX_BODY_BYTES + 16 * MIB
        assert await status(agent, "/state") == 200
