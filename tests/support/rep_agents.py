"""An agent in a task of its own, with scripted executor, BBS and Locket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import aiohttp

from bbs.client.api import BBSClient
from common.liveness import Liveness
from rep.agent import RepAgent
from rep.server import ListenerStore
from tests.support.journals import FailingJournal, Rows
from tests.support.rep_doubles import FakeExecutor, FakeLocket, RecordedMetrics, ScriptedBBS, agent_config
from tests.support.waiting import PATIENCE_S


async def until_true(holds: Callable[[], bool]) -> None:
    for _ in itertools.takewhile(lambda _: not holds(), itertools.count()):
        await asyncio.sleep(0)


class Running:
    """An agent in a task of its own."""

    def __init__(
        self, executor: FakeExecutor, bbs: ScriptedBBS, locket: FakeLocket, metrics: RecordedMetrics
    ) -> None:
        self.executor, self.bbs, self.locket, self.metrics = executor, bbs, locket, metrics
        self.rows = Rows()
        self.liveness = Liveness()
        self.listener_store: ListenerStore | None = None
        self.begin()

    def begin(self, *, same_boot: bool = True, **keys: str) -> None:
        """A new agent: the next process of the cell. keys: changes of its configuration."""
        config = agent_config(debug_address="127.0.0.1:0", **keys)
        journal = FailingJournal(self.rows, same_boot=same_boot)
        client = cast(BBSClient, self.bbs)
        self.metrics.gauges.clear()
        self.agent = RepAgent(
            config,
            self.executor,
            client,
            self.locket,
            journal,
            metrics=self.metrics,
            presence_retry_s=0.01,
            liveness=self.liveness,
            listener_store=self.listener_store,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Ready when entered, its first bulk pass over; stopped and awaited when left.

        The test looks at how it ended, and at the calls of the BBS since it was entered.
        """
        task = asyncio.create_task(self.agent.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.agent.ready.wait()
                await until_true(lambda: "RepBulkSyncDuration" in {name for name, *_ in self.metrics.gauges})
            self.bbs.calls.clear()
            self.bbs.arguments.clear()
            yield task
        finally:
            self.agent.stop()
            await asyncio.wait([task])

    async def ask(self, side: str, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        address = getattr(self.agent.listeners, side)
        async with aiohttp.ClientSession() as session:
            url = f"http://{address.host}:{address.port}{path}"
            async with session.request(method, url, json=body) as response:
                return response.status, await response.read()
