"""Evacuation: the flag, the wait for the last container, and the clean-up at the end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass

from bbs.client.api import BBSClient
from bbs.models.actual_lrp import Presence
from common.tasks import running
from executor.api import ExecutorAPI
from executor.model import Container, ContainerState
from rep.config import RepConfig, seconds
from rep.deletions import Deletions
from rep.metrics import MetricsSink
from rep.outcomes.ledger import Ledger
from rep.removals import Removals

CLEANUP_SLACK_S = 5.0
"""Added to the graceful and the proxy interval: the time limit of a clean-up."""
CLEANUP_POLL_S = 1.0
LOG_INTERVAL_S = 10.0
"""Interval of the log lines that list the containers an evacuation waits for."""
DELETIONS_BEFORE_FORCE = 2
"""Number of repeated deletion requests for a container before it is destroyed by force."""

logger = logging.getLogger(__name__)


def shutdown_limit_s(config: RepConfig) -> float:
    """The longest time for the containers of a cell to end at a shutdown."""
    return (
        seconds(config.graceful_shutdown_interval)
        + seconds(config.envoy_config_reload_duration)
        + CLEANUP_SLACK_S
    )


async def _not_recorded() -> None:
    """For a flag that no restart keeps."""


class EvacuationFlag:
    """Set once, never reset while the process runs. record: makes a restart keep the flag."""

    def __init__(self, record: Callable[[], Awaitable[None]] = _not_recorded) -> None:
        self._record = record
        self._event = asyncio.Event()

    async def begin(self) -> None:
        """Record the evacuation and start it; a repeated call has no effect."""
        if not self:
            await self._record()
        self.set()

    def set(self) -> None:
        """Start an evacuation that is recorded already."""
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the evacuation starts."""
        await self._event.wait()

    async def stays_down(self, seconds: float) -> bool:
        """Wait up to ``seconds``: True after that time without an evacuation, False as soon as one starts."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return not self
        return False


@dataclass(slots=True, eq=False)
class Evacuator:
    """Ends the process when an evacuated cell is empty, or at the evacuation timeout.

    A cell is empty without containers and without reports that wait for the BBS.

    removal_limit_s: time for a container to go after its end or its deletion request. After each further
    ``removal_limit_s`` the evacuator logs an error and repeats the deletion; the last resort is force.
    log_interval_s: interval of the log lines about the containers left.
    """

    executor: ExecutorAPI
    flag: EvacuationFlag
    removals: Removals
    deletions: Deletions
    ledger: Ledger
    _: KW_ONLY
    polling_interval_s: float
    timeout_s: float
    removal_limit_s: float
    log_interval_s: float = LOG_INTERVAL_S

    @asynccontextmanager
    async def running(self, finished: Callable[[], None]) -> AsyncIterator[None]:
        """Wait for an evacuation while inside; call ``finished`` at its end."""

        async def watch() -> None:
            await self.flag.wait()
            logger.info("running-evacuator.notified-of-evacuation")
            await self.evacuate()
            finished()

        async with running(watch(), "evacuator"):
            logger.info("running-evacuator.started")
            yield
        logger.info("running-evacuator.finished")

    async def evacuate(self) -> bool:
        """Wait for the last container. False after the evacuation timeout."""
        try:
            async with asyncio.timeout(self.timeout_s), asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._log_progress()),
                    group.create_task(self._repeat_deletions()),
                ]
                while self._left() or self.ledger:
                    await self.removals.wait(self.polling_interval_s)
                for helper in helpers:
                    helper.cancel()
        except TimeoutError:
            logger.error(
                "running-evacuator.failed-to-evacuate-before-timeout",
                extra={"data": self._waiting_for()},
            )
            return False
        logger.info("running-evacuator.evacuation-complete")
        return True

    async def _log_progress(self) -> None:
        while True:
            data = {"polling-interval": self.polling_interval_s, **self._waiting_for()}
            logger.info("running-evacuator.evacuating.evacuation-incomplete", extra={"data": data})
            await asyncio.sleep(self.log_interval_s)

    async def _repeat_deletions(self) -> None:
        """Repeat the deletion of ended containers that stay: their end or deletion hangs or failed.

        A container whose report could not be stored stays on purpose.
        """
        looks: dict[str, int] = {}
        while True:
            await asyncio.sleep(self.removal_limit_s)
            unstored = {guid for guid in self.ledger if not self.ledger.is_stored(guid)}
            ending = (item.guid for item in self._left() if _should_go(item) and item.guid not in unstored)
            looks = {guid: looks.get(guid, 0) + 1 for guid in sorted(ending)}
            for guid, look in looks.items():
                if look == 1:
                    continue
                force = look > 1 + DELETIONS_BEFORE_FORCE
                data = {
                    "guid": guid,
                    "for-at-least-s": (look - 1) * self.removal_limit_s,
                    "force": force,
                }
                logger.error("running-evacuator.evacuating.container-will-not-go", extra={"data": data})
                self.deletions.start(guid, "running-evacuator.failed-to-delete-container", force=force)

    def _left(self) -> list[Container]:
        return self.executor.containers()

    def _waiting_for(self) -> dict[str, object]:
        """Data of a log entry: the containers left, their number by state, and the number of reports."""
        left = self._left()
        states = Counter(container.state.value for container in left)
        return {
            "containers": [container.guid for container in left],
            "states": dict(states),
            "outcomes": len(self.ledger),
        }


def _should_go(container: Container) -> bool:
    return container.state is ContainerState.COMPLETED or container.run_result.stopped


class CleanupFailed(Exception):
    """Containers were left at the end of the clean-up time."""


@dataclass(slots=True, eq=False)
class Cleanup:
    """Deletes every container of the cell at the end of a rep that leaves none."""

    cell_id: str
    executor: ExecutorAPI
    bbs: BBSClient
    removals: Removals
    deletions: Deletions
    metrics: MetricsSink
    _: KW_ONLY
    timeout_s: float
    poll_s: float = CLEANUP_POLL_S

    async def run(self) -> None:
        """Raises BBSError if the BBS call fails (then nothing is deleted), CleanupFailed on timeout."""
        logger.info("evacuation-cleanup.signalled")
        try:
            async with asyncio.timeout(self.timeout_s):
                actual_lrps = await self.bbs.actual_lrps(cell_id=self.cell_id)
        except TimeoutError:
            raise CleanupFailed(f"the BBS did not answer within {self.timeout_s:g} s") from None
        stranded = sum(lrp.presence is Presence.EVACUATING for lrp in actual_lrps)
        self.metrics.gauge("StrandedEvacuatingActualLRPs", stranded, "Metric")
        logger.info(
            "evacuation-cleanup.finished-evacuating",
            extra={"data": {"stranded-evacuating-actual-lrps": stranded}},
        )
        try:
            async with asyncio.timeout(self.timeout_s):
                begun: set[str] = set()
                # the listeners are still up: containers of new work are deleted too
                while left := {container.guid for container in self.executor.containers()}:
                    for guid in left - begun:
                        self._delete(guid)
                    begun |= left
                    await self.removals.wait(self.poll_s)
        except TimeoutError:
            guids = [container.guid for container in self.executor.containers()]
            logger.error(
                "evacuation-cleanup.failed-to-cleanup-all-containers", extra={"data": {"containers": guids}}
            )
            raise CleanupFailed(
                f"failed-to-cleanup-all-containers: {len(guids)} left after {self.timeout_s:g} s: {guids}"
            ) from None
        logger.info("evacuation-cleanup.deleted-containers-successfully")

    def _delete(self, guid: str) -> None:
        self.executor.log(guid, f"Cell {self.cell_id} reached evacuation timeout for instance {guid}")
        self.deletions.start(guid, "evacuation-cleanup.failed-to-delete-container")
