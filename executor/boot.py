"""Boot of the executor: the order in which a cell starts and stops.

::

    start   store restored from the journal -> engine answers -> containers found -> network, with them
            -> leftovers swept -> capacity measured -> tasks, containers resumed
    stop    tasks -> event bus -> steps of the remaining containers -> volumes -> network
    detach  journal and event bus closed, engine detached -> tasks -> network closed -> journal stored

The journal is open before the start, under the lock of the state folder. If a part cannot start, the ones
before it are stopped. After a detach the containers keep running, and the next executor adopts them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from collections.abc import AsyncIterator, Mapping, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from executor import capacity
from executor.config import ExecutorConfig, OnStop
from executor.containers.actor import ContainerActor
from executor.containers.creation import OptionalResources
from executor.containers.eventbus import EventBus
from executor.containers.facilities import Facilities
from executor.engine.api import Engine
from executor.enginehealth import CHECK_PREFIX, EngineHealth
from executor.errors import EngineError, NetworkError
from executor.journal.api import FactRow, Put
from executor.journal.detachable import DetachableJournal
from executor.network.footprint import decode, encode
from executor.privatedir import make_private
from executor.restoration import Restoration
from executor.scheduler import lasting
from executor.telemetry.families import ADOPTION_DURATION
from executor.upkeep import Upkeep
from executor.watch.diskusage import DiskUsage

log = logging.getLogger(__name__)

PING_PAUSE_S = 1.0
"""Pause between attempts to reach the engine at start."""

NETWORK_FACT = "network"
"""Key of the fact that names the networks which this cell has on the host."""

STALLED_INTERVAL_S = 5.0
"""Interval of the log messages while a start waits for the engine."""


@dataclass(slots=True, kw_only=True)
class Boot:
    """Starts and stops the parts of one executor. actors: of the containers, by guid."""

    journal: DetachableJournal
    restoration: Restoration

    config: ExecutorConfig
    shared: Facilities
    actors: Mapping[str, ContainerActor]
    resources: OptionalResources
    health: EngineHealth
    upkeep: Upkeep
    bus: EventBus
    disk: DiskUsage
    on_stop: OnStop = field(init=False)
    """What the end of the executor means for the containers, whatever caused it."""
    left_behind: str = field(default="", init=False)
    """Why the stop could not remove the network; empty if it could."""
    detached: bool = field(default=False, init=False)
    """Whether the containers are left to the next executor."""

    def __post_init__(self) -> None:
        self.on_stop = self.config.on_stop

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start before the body and stop after it."""
        shared = self.shared
        begun = shared.clock.monotonic()
        self.restoration.restore_store()
        await self._await_engine()
        await self._spare(await self.restoration.find_containers())
        refused = await self._start_network()
        try:
            await self._sweep()
            shared.store.total = await capacity.measure(self.config, shared.engine)
            async with shared.scheduler.running():
                try:
                    await self.restoration.resume(refused)
                    adopted = shared.clock.monotonic() - begun
                    shared.meter.instruments.set(ADOPTION_DURATION, adopted)
                    await self.upkeep.report_capacity()
                    self._start_work()
                    yield
                finally:
                    if self.on_stop is OnStop.HAND_OVER:
                        await self.detach()
        finally:
            await self._stop()

    async def _start_network(self) -> Mapping[str, str]:
        """Start the network; the reasons why a container cannot continue in it, by guid. Raises NetworkError.

        The networks of previous processes of this boot stay recorded until they are removed.
        """
        network, journal = self.shared.network, self.journal
        previous = decode(journal.contents.facts.get(NETWORK_FACT, b"")) if journal.same_boot else ()
        await journal.record(Put(FactRow(key=NETWORK_FACT, value=encode((*previous, *network.footprints)))))
        refused = await network.start(self.restoration.leases(), previous)
        await journal.record(Put(FactRow(key=NETWORK_FACT, value=encode(network.footprints))))
        return refused

    async def detach(self) -> None:
        """Leave all containers to the next executor. From now on nothing has an effect on them."""
        if self.detached:
            return
        self.detached = True
        self.journal.detach()
        self.bus.close()
        self.shared.engine.detach()
        await self.shared.scheduler.cancel()
        await self.shared.network.close()
        await self.journal.flush()

    async def _spare(self, orphans: Set[str]) -> None:
        """Leave orphans alone for the grace period. Raises EngineError if one cannot be destroyed.

        Check containers of the previous process are destroyed at once.
        """
        checks = frozenset(guid for guid in orphans if guid.startswith(CHECK_PREFIX))
        await destroy_all(checks, self.shared.engine, self.shared.scheduler.deletions)
        orphans -= checks
        if not orphans:
            return
        grace_s = self.config.orphan_grace_s
        data = {"guids": sorted(orphans), "grace_s": grace_s}
        log.warning("containers-without-record", extra={"data": data})
        if grace_s:
            self.upkeep.spare(orphans, grace_s)
        else:
            await destroy_all(orphans, self.shared.engine, self.shared.scheduler.deletions)

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
        await self.shared.creator.sweep(self.restoration.kept())
        kept = {container.guid for container in self.restoration.kept()}
        await self.shared.engine.sweep(kept | self.restoration.present)

    def _start_work(self) -> None:
        spawn = self.shared.scheduler.spawn
        spawn(self.shared.creator.sweep_cache())
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
            for guid, actor in () if self.detached else self.actors.items():
                parts.push_async_callback(self.shared.scheduler.contained, guid, actor.close)

    async def _stop_network(self) -> None:
        """Keep the network while containers remain; the next start removes both.

        A remaining container may be missing from the store because the engine could not destroy it.
        """
        network = self.shared.network
        if self.detached:
            await network.close()
            return
        if left := [container.guid for container in self.shared.store.list()]:
            log.warning("leaving-containers-and-their-network", extra={"data": {"guids": left}})
            await network.close()
            return
        try:
            await network.stop()
        except NetworkError as error:
            self.left_behind = str(error)
            log.error("leaving-network-to-next-start", extra={"data": {"error": str(error)}})


async def destroy_all(guids: Set[str], engine: Engine, concurrency: asyncio.Semaphore) -> None:
    """Destroy containers. Raises EngineError if one cannot be destroyed."""

    async def destroy(guid: str) -> None:
        async with concurrency:
            await engine.destroy(guid)

    results = await asyncio.gather(*(destroy(guid) for guid in sorted(guids)), return_exceptions=True)
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
