"""Emptying a cell: the flag, the wait for the last container, and the clean-up of every shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bbs.client.api import BBSClient
from bbs.models.actual_lrp import Presence
from executor.api import ExecutorAPI
from executor.errors import ContainerNotFound, ExecutorError
from rep.metrics import MetricsSink
from rep.removals import Removals

CLEANUP_SLACK_S = 5.0
"""Added to the graceful and the proxy interval: the limit of a clean-up."""
CLEANUP_POLL_S = 1.0

logger = logging.getLogger(__name__)


class EvacuationFlag:
    """Set once, never reset during the life of the process."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Start the evacuation; again is harmless."""
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Until the evacuation starts."""
        await self._event.wait()

    async def stays_down(self, seconds: float) -> bool:
        """Wait; True when that time passed without an evacuation, False as soon as there is one."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return not self
        return False


class Evacuator:
    """Ends the process once an evacuated cell is empty, or out of time."""

    def __init__(
        self,
        executor: ExecutorAPI,
        flag: EvacuationFlag,
        removals: Removals,
        *,
        polling_interval_s: float,
        timeout_s: float,
    ) -> None:
        self._executor = executor
        self._flag = flag
        self._removals = removals
        self._polling_interval_s = polling_interval_s
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def running(self, finished: Callable[[], None]) -> AsyncIterator[None]:
        """Wait for an evacuation while inside; ``finished`` is called when one is over."""

        async def watch() -> None:
            await self._flag.wait()
            logger.info("running-evacuator.notified-of-evacuation")
            await self.evacuate()
            finished()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch(), name="evacuator")
            logger.info("running-evacuator.started")
            yield
            task.cancel()
        logger.info("running-evacuator.finished")

    async def evacuate(self) -> bool:
        """Wait for the last container. False when the evacuation timeout came first."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not self._empty():
                    await self._removals.wait(self._polling_interval_s)
        except TimeoutError:
            logger.error("running-evacuator.failed-to-evacuate-before-timeout", extra=self._waiting_for())
            return False
        logger.info("running-evacuator.evacuation-complete")
        return True

    def _empty(self) -> bool:
        try:
            left = self._executor.containers()
        except ExecutorError as error:
            logger.error("running-evacuator.failed-to-list-containers", extra={"data": {"error": str(error)}})
            return False
        if left:
            logger.info("running-evacuator.evacuating.evacuation-incomplete", extra=self._waiting_for())
        return not left

    def _waiting_for(self) -> dict[str, object]:
        left = self._executor.containers()
        states = Counter(container.state.value for container in left)
        return {"data": {"containers": [container.guid for container in left], "states": dict(states)}}


class CleanupFailed(Exception):
    """Containers were left when the time for the clean-up was over."""


class Cleanup:
    """Deletes every container of the cell, at every shutdown."""

    def __init__(
        self,
        cell_id: str,
        executor: ExecutorAPI,
        bbs: BBSClient,
        removals: Removals,
        metrics: MetricsSink,
        *,
        timeout_s: float,
        poll_s: float = CLEANUP_POLL_S,
    ) -> None:
        self._cell_id = cell_id
        self._executor = executor
        self._bbs = bbs
        self._removals = removals
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._poll_s = poll_s

    @asynccontextmanager
    async def at_exit(self) -> AsyncIterator[None]:
        """Clean up when left, whatever the reason."""
        try:
            yield
        finally:
            logger.info("evacuation-cleanup.signalled")
            await self.run()

    async def run(self) -> None:
        """Raises BBSError when the BBS cannot be asked (nothing is deleted then), CleanupFailed when late."""
        actual_lrps = await self._bbs.actual_lrps(cell_id=self._cell_id)
        stranded = sum(lrp.presence is Presence.EVACUATING for lrp in actual_lrps)
        self._metrics.gauge("StrandedEvacuatingActualLRPs", stranded, "Metric")
        logger.info(
            "evacuation-cleanup.finished-evacuating",
            extra={"data": {"stranded-evacuating-actual-lrps": stranded}},
        )
        try:
            async with asyncio.timeout(self._timeout_s), asyncio.TaskGroup() as group:
                begun: set[str] = set()
                # the listeners are still up: work that comes now has to go as well
                while left := {container.guid for container in self._executor.containers()}:
                    for guid in left - begun:
                        group.create_task(self._delete(guid), name=f"clean up {guid}")
                    begun |= left
                    await self._removals.wait(self._poll_s)
        except TimeoutError:
            guids = [container.guid for container in self._executor.containers()]
            logger.error(
                "evacuation-cleanup.failed-to-cleanup-all-containers", extra={"data": {"containers": guids}}
            )
            raise CleanupFailed(
                f"failed-to-cleanup-all-containers: {len(guids)} left after {self._timeout_s:g} s: {guids}"
            ) from None
        logger.info("evacuation-cleanup.deleted-containers-successfully")

    async def _delete(self, guid: str) -> None:
        try:
            self._executor.log(guid, f"Cell {self._cell_id} reached evacuation timeout for instance {guid}")
            await self._executor.delete(guid)
        except ContainerNotFound:
            pass
        except ExecutorError as error:
            logger.error(
                "evacuation-cleanup.failed-to-delete-container",
                extra={"data": {"container-guid": guid, "error": str(error)}},
            )
        self._removals.notify()
