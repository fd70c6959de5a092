"""Boot of the executor: the order in which a cell starts and stops.

::

    start   engine answers -> containers of the previous process removed -> network -> leftovers swept
            -> capacity measured -> tasks
    stop    tasks -> event bus -> steps of the remaining containers -> volumes -> network

If a part cannot start, the ones before it are stopped.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from executor import capacity
from executor.config import ExecutorConfig
from executor.containers.actor import ContainerActor
from executor.containers.creation import OptionalResources
from executor.containers.eventbus import EventBus
from executor.containers.facilities import Facilities
from executor.engine.api import Engine
from executor.enginehealth import EngineHealth
from executor.errors import EngineError, NetworkError
from executor.privatedir import make_private
from executor.scheduler import lasting
from executor.upkeep import Upkeep
from executor.watch.diskusage import DiskUsage

log = logging.getLogger(__name__)

PING_PAUSE_S = 1.0
"""Pause between attempts to reach the engine at start."""

STALLED_INTERVAL_S = 5.0
"""Interval of the log messages while a start waits for the engine."""


@dataclass(slots=True, kw_only=True)
class Boot:
    """Starts and stops the parts of one executor. actors: of the containers, by guid."""

    config: ExecutorConfig
    shared: Facilities
    actors: Mapping[str, ContainerActor]
    resources: OptionalResources
    health: EngineHealth
    upkeep: Upkeep
    bus: EventBus
    disk: DiskUsage
    left_behind: str = field(default="", init=False)
    """Why the stop could not remove the network; empty if it could."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start before the body and stop after it."""
        shared = self.shared
        await self._await_engine()
        await wipe(shared.engine, shared.scheduler.deletions)
        await shared.network.start()
        try:
            await self._sweep()
            shared.store.total = await capacity.measure(self.config, shared.engine)
            await self.upkeep.report_capacity()
            async with shared.scheduler.running():
                self._start_work()
                yield
        finally:
            await self._stop()

    async def _await_engine(self) -> None:
        """Ping until the engine answers; log the failure at intervals."""
        clock, meter = self.shared.clock, self.shared.meter
        started, logged = clock.monotonic(), -math.inf
        while True:
            try:
                await self.shared.engine.ping()
            except EngineError as error:
                stalled = clock.monotonic() - started
                if stalled - logged >= STALLED_INTERVAL_S:
                    logged = stalled
                    meter.duration("StalledGardenDuration", stalled)
                    data = {
                        "docker_host": self.config.docker_host,
                        "stalled_s": stalled,
                        "error": str(error),
                    }
                    log.error("waiting-for-container-engine", extra={"data": data})
                await asyncio.sleep(PING_PAUSE_S)
            else:
                meter.duration("StalledGardenDuration", 0)
                return

    async def _sweep(self) -> None:
        """Remove what the previous process left on the host."""
        await self.shared.network.sweep()
        await asyncio.to_thread(_renew, Path(self.config.work_dir))
        await self.shared.creator.sweep()
        await self.resources.identity.retain(set())
        await self.resources.volumes.start()

    def _start_work(self) -> None:
        spawn = self.shared.scheduler.spawn
        spawn(self.health.run())
        spawn(lasting(self.resources.identity.run))
        spawn(lasting(self.resources.volumes.run))
        for job in self.upkeep.jobs():
            spawn(job)

    async def _stop(self) -> None:
        self.bus.close()
        async with AsyncExitStack() as parts:  # in reverse order; every part closes, even if another fails
            parts.callback(self.disk.close)
            parts.push_async_callback(self._stop_network)
            parts.push_async_callback(self.resources.volumes.close)
            for guid, actor in self.actors.items():
                parts.push_async_callback(self.shared.scheduler.contained, guid, actor.close)

    async def _stop_network(self) -> None:
        """Keep the network while containers remain; the next start removes both.

        A remaining container may be missing from the store because the engine could not destroy it.
        """
        network = self.shared.network
        if left := [container.guid for container in self.shared.store.list()]:
            log.warning("leaving-containers-and-their-network", extra={"data": {"guids": left}})
            await network.close()
            return
        try:
            await network.stop()
        except NetworkError as error:
            self.left_behind = str(error)
            log.error("leaving-network-to-next-start", extra={"data": {"error": str(error)}})


async def wipe(engine: Engine, concurrency: asyncio.Semaphore) -> None:
    """Destroy every container of the previous process. Raises EngineError if one cannot be destroyed."""

    async def destroy(guid: str) -> None:
        async with concurrency:
            await engine.destroy(guid)

    guids = await engine.list_guids()
    if guids:
        log.info("destroying-containers-of-an-earlier-life", extra={"data": {"guids": sorted(guids)}})
    results = await asyncio.gather(*(destroy(guid) for guid in guids), return_exceptions=True)
    for error in results:
        if error is not None:
            raise error


def _renew(directory: Path) -> None:
    """Create an empty directory that only this user can write to, or empty it. Raises OSError."""
    make_private(directory)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
