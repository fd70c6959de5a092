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
from executor.model import Container, ContainerState
from rep.config import RepConfig, seconds
from rep.deletions import Deletions
from rep.metrics import MetricsSink
from rep.removals import Removals

CLEANUP_SLACK_S = 5.0
"""Added to the graceful and the proxy interval: the limit of a clean-up."""
CLEANUP_POLL_S = 1.0
TELL_S = 10.0
"""Between two log lines about what an evacuation waits for."""
DELETIONS_BEFORE_FORCE = 2
"""How often the deletion of a container that will not go is asked for again before force is used."""

logger = logging.getLogger(__name__)


def shutdown_limit_s(config: RepConfig) -> float:
    """How long the containers of a cell may take to go when it is shut down."""
    return (
        seconds(config.graceful_shutdown_interval)
        + seconds(config.envoy_config_reload_duration)
        + CLEANUP_SLACK_S
    )


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
    """Ends the process once an evacuated cell is empty, or out of time.

    patience_s: how long a container that has ended, or was asked to, may take to go; then its deletion is
    asked for again, loudly, each time that long, and in the end it is destroyed by force. tell_s: how often
    the log says what is waited for.
    """

    def __init__(
        self,
        executor: ExecutorAPI,
        flag: EvacuationFlag,
        removals: Removals,
        deletions: Deletions,
        *,
        polling_interval_s: float,
        timeout_s: float,
        patience_s: float,
        tell_s: float = TELL_S,
    ) -> None:
        self._executor = executor
        self._flag = flag
        self._removals = removals
        self._deletions = deletions
        self._polling_interval_s = polling_interval_s
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._tell_s = tell_s

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
            async with asyncio.timeout(self._timeout_s), asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._tell()), group.create_task(self._insist())]
                while self._left():
                    await self._removals.wait(self._polling_interval_s)
                for helper in helpers:
                    helper.cancel()
        except TimeoutError:
            logger.error(
                "running-evacuator.failed-to-evacuate-before-timeout",
                extra={"data": _waiting_for(self._left())},
            )
            return False
        logger.info("running-evacuator.evacuation-complete")
        return True

    async def _tell(self) -> None:
        while True:
            data = {"polling-interval": self._polling_interval_s, **_waiting_for(self._left())}
            logger.info("running-evacuator.evacuating.evacuation-incomplete", extra={"data": data})
            await asyncio.sleep(self._tell_s)

    async def _insist(self) -> None:
        """A container that has ended should go; the end or the deletion of one that stays hangs or failed."""
        looks: dict[str, int] = {}
        while True:
            await asyncio.sleep(self._patience_s)
            ending = (item.guid for item in self._left() if _should_go(item))
            looks = {guid: looks.get(guid, 0) + 1 for guid in sorted(ending)}
            for guid, look in looks.items():
                if look == 1:
                    continue
                force = look > 1 + DELETIONS_BEFORE_FORCE
                data = {
                    "container-guid": guid,
                    "for-at-least-s": (look - 1) * self._patience_s,
                    "force": force,
                }
                logger.error("running-evacuator.evacuating.container-will-not-go", extra={"data": data})
                self._deletions.start(guid, "running-evacuator.failed-to-delete-container", force=force)

    def _left(self) -> list[Container]:
        return self._executor.containers()


def _should_go(container: Container) -> bool:
    return container.state is ContainerState.COMPLETED or container.run_result.stopped


def _waiting_for(left: list[Container]) -> dict[str, object]:
    """What the log says: the containers, and how many of them are in which state."""
    states = Counter(container.state.value for container in left)
    return {"containers": [container.guid for container in left], "states": dict(states)}


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
        deletions: Deletions,
        metrics: MetricsSink,
        *,
        timeout_s: float,
        poll_s: float = CLEANUP_POLL_S,
    ) -> None:
        self._cell_id = cell_id
        self._executor = executor
        self._bbs = bbs
        self._removals = removals
        self._deletions = deletions
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
        try:
            async with asyncio.timeout(self._timeout_s):
                actual_lrps = await self._bbs.actual_lrps(cell_id=self._cell_id)
        except TimeoutError:
            raise CleanupFailed(f"the BBS did not answer within {self._timeout_s:g} s") from None
        stranded = sum(lrp.presence is Presence.EVACUATING for lrp in actual_lrps)
        self._metrics.gauge("StrandedEvacuatingActualLRPs", stranded, "Metric")
        logger.info(
            "evacuation-cleanup.finished-evacuating",
            extra={"data": {"stranded-evacuating-actual-lrps": stranded}},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                begun: set[str] = set()
                # the listeners are still up: work that comes now has to go as well
                while left := {container.guid for container in self._executor.containers()}:
                    for guid in left - begun:
                        self._delete(guid)
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

    def _delete(self, guid: str) -> None:
        self._executor.log(guid, f"Cell {self._cell_id} reached evacuation timeout for instance {guid}")
        self._deletions.start(guid, "evacuation-cleanup.failed-to-delete-container")
