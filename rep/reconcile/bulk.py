"""The bulk loop: compares containers with the records of the BBS at an interval."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager

from bbs.client.api import BBSClient
from bbs.models.actual_lrp import ActualLRP
from bbs.models.errors import BBSError
from bbs.models.task import Task
from common.liveness import Liveness
from common.metrics.instruments import Instruments
from common.tasks import running
from executor.api import ExecutorAPI
from executor.errors import ExecutorError
from rep.evacuation import EvacuationFlag
from rep.families import BULK_PASS_DURATION, BULK_PASS_SUCCEEDED
from rep.metrics import MetricsSink
from rep.reconcile.batch import Operation, batch

FAILED = "running-bulker.sync.batch-operations.failed"

PASS_LIMIT_S = 300.0
"""Longest time of a pass, far above the attempts that the client of the BBS makes in one."""

logger = logging.getLogger(__name__)


class Bulker:
    """Runs a pass at start, then one per interval. An evacuation starts a pass, then shortens the interval.

    The first pass repairs the records of a previous process of this cell, whose containers are gone.
    """

    def __init__(
        self,
        cell_id: str,
        executor: ExecutorAPI,
        bbs: BBSClient,
        push: Callable[[Operation], None],
        evacuation: EvacuationFlag,
        metrics: MetricsSink,
        *,
        instruments: Instruments | None = None,
        interval_s: float,
        evacuation_interval_s: float,
        unreported: Container[str] = (),
        liveness: Liveness | None = None,
    ) -> None:
        """unreported: guids whose report waits for the BBS. liveness: receives the turns of the loop."""
        self._cell_id = cell_id
        self._executor = executor
        self._bbs = bbs
        self._push = push
        self._evacuation = evacuation
        self._metrics = metrics
        self._instruments = instruments or Instruments()
        self._interval_s = interval_s
        self._evacuation_interval_s = evacuation_interval_s
        self._unreported = unreported
        self._liveness = liveness or Liveness()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loop while inside."""
        async with running(self._loop(), "bulker"):
            yield
        logger.info("running-bulker.finished")

    async def sync(self) -> None:
        """One pass. Any failed read abandons the pass and is logged."""
        logger.info("running-bulker.sync.starting")
        began = time.monotonic_ns()
        operations: Mapping[str, Operation] = {}
        outcome = "cancelled"
        try:
            actual_lrps, tasks = await self._read()
            operations = batch(self._executor.containers(), actual_lrps, tasks, self._unreported)
            outcome = "succeeded"
            self._instruments.set(BULK_PASS_SUCCEEDED, time.time())
        except* (BBSError, ExecutorError) as group:
            outcome = "failed"
            errors = [str(error) for error in group.exceptions]
            logger.error(FAILED, extra={"data": {"errors": errors}})
        except* Exception as group:
            # An unreadable answer must not end the cell; the next pass reads again.
            outcome = "failed"
            logger.error(FAILED, exc_info=group, extra={"data": {"errors": [str(group)]}})
        finally:
            took_ns = time.monotonic_ns() - began
            self._metrics.gauge("RepBulkSyncDuration", took_ns, "nanos")
            self._instruments.observe(BULK_PASS_DURATION, took_ns / 1e9, outcome)
        for operation in operations.values():
            self._push(operation)
        logger.info("running-bulker.sync.finished", extra={"data": {"batch-size": len(operations)}})

    async def _read(self) -> tuple[list[ActualLRP], list[Task]]:
        async with asyncio.TaskGroup() as group:
            lrps = group.create_task(self._bbs.actual_lrps(cell_id=self._cell_id))
            tasks = group.create_task(self._bbs.tasks(cell_id=self._cell_id))
        return lrps.result(), tasks.result()

    async def _loop(self) -> None:
        logger.info("running-bulker.starting", extra={"data": {"interval": self._interval_s}})
        limit_s = max(self._interval_s, self._evacuation_interval_s) + PASS_LIMIT_S
        with self._liveness.loop("bulk pass", limit_s) as turned:
            await self.sync()
            turned()
            while await self._evacuation.stays_down(self._interval_s):
                await self.sync()
                turned()
            logger.info("running-bulker.notified-of-evacuation")
            while True:
                await self.sync()
                turned()
                await asyncio.sleep(self._evacuation_interval_s)
