"""Keeps a routing table in step with a BBS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bbs.backoff import Backoff
from bbs.client.api import BBSClient
from bbs.models.errors import BBSError
from bbs.models.events import Event
from cell.routing.table import RouteTable
from common.tasks import leaves, running

LIST_INTERVAL_S: Final = 60.0
"""Interval of the complete lists, which repair what a lost event left."""

BACKOFF: Final = Backoff(attempts=0, first_s=0.25, most_s=5.0)

logger = logging.getLogger(__name__)


class Follower:
    """Applies a BBS's events to a table, and its lists: at first, after a break of the stream, and at times.

    Without a BBS the table stays as it is: the instances still run.
    """

    def __init__(
        self,
        bbs: BBSClient,
        table: RouteTable,
        *,
        list_interval_s: float = LIST_INTERVAL_S,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._bbs = bbs
        self._table = table
        self._list_interval_s = list_interval_s
        self._backoff = backoff
        self._due = asyncio.Event()
        self.listed = asyncio.Event()
        """Set once the table is complete."""

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow while the context lasts."""
        async with running(self._follow(), "routes"):
            yield

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                async with self._bbs.lrp_instance_events(reopened=self._due.set) as events:
                    failures = 0
                    self._due.set()
                    async with running(self._keep_listing(), "lists of routes"):
                        await self._apply(events)
            except* BBSError as group:
                failures += 1
                reasons = ", ".join(str(each) for each in leaves(group))
                logger.info("routes.no-events", extra={"data": {"error": reasons}})
            await self._backoff.sleep(self._backoff.pause_s(max(failures, 1)))

    async def _apply(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self._table.apply(event)

    async def _keep_listing(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self._list_interval_s):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self._list()
                failures = 0
            except BBSError as error:
                failures += 1
                logger.info("routes.no-list", extra={"data": {"error": str(error)}})
                await self._backoff.sleep(self._backoff.pause_s(failures))
                self._due.set()

    async def _list(self) -> None:
        with self._table.recording() as touched:
            desired = await self._bbs.desired_lrps()
            rows = await self._bbs.actual_lrps()
            self._table.replace(desired, rows, touched)
        self.listed.set()
