"""The executor: manages the containers of one cell for the rep.

Use it as an async context manager. Entering waits for the engine, removes the previous process's remains,
sets up the network and measures the capacity. Leaving ends every task but destroys no containers; a caller
that wants an empty cell deletes them first. If an essential part fails, the body is cancelled and leaving
raises the error.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from executor import capacity
from executor.config import ExecutorConfig
from executor.containers.actor import ContainerActor, Facilities, Launch
from executor.containers.applog import AppLog
from executor.containers.creation import Creator, Dependencies, cpu_percent
from executor.containers.eventbus import EventBus
from executor.containers.resources import OptionalResources
from executor.containers.store import ContainerStore
from executor.containers.upkeep import destroy_strays, expire_reservation, find_differences, wipe
from executor.containment import Containment
from executor.engine.api import Engine
from executor.enginehealth import EngineHealth
from executor.errors import ContainerNotFound, EngineError, ExecutorError, NetworkError
from executor.logs.api import LogSink, Stream
from executor.logs.clock import Clock, SystemClock
from executor.model import (
    AllocationFailure,
    AllocationRequest,
    Container,
    ContainerEvent,
    ContainerMetrics,
    Resources,
    RunRequest,
    UpdateRequest,
)
from executor.network.api import Network
from executor.periodic import every, lasting
from executor.privatedir import make_private
from executor.telemetry.app_metrics import AppMetricsReporter
from executor.telemetry.meter import Meter
from executor.watch.diskusage import DiskUsage
from executor.watch.limits import LimitsWatch
from executor.watch.readings import MetricsKeeper, Watched

log = logging.getLogger(__name__)

PING_PAUSE_S = 1.0
"""Pause between attempts to reach the engine at start."""

CAPACITY_INTERVAL_S = 60.0
"""Interval of the capacity gauges; they are also emitted at start."""

NETWORK_CHECK_INTERVAL_S = 60.0
"""Interval of the check of links and packet rules."""

STALLED_INTERVAL_S = 5.0
"""Interval of the log messages while a start waits for the engine."""


class Executor:
    """Implements :class:`executor.api.ExecutorAPI`.

    probe_engine: the same engine with the owner name of health check containers. launch: builds the steps of
    a created container. resources: optional resources of containers. All calls need a running executor.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        *,
        engine: Engine,
        probe_engine: Engine,
        network: Network,
        sink: LogSink,
        dependencies: Dependencies,
        launch: Launch,
        meter: Meter,
        app_metrics: AppMetricsReporter | None = None,
        resources: OptionalResources | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._engine = engine
        self._network = network
        self._meter = meter
        self._clock = clock or SystemClock()
        self._app_log = AppLog(sink, config.cell_id, self._clock, config.log_origin)
        self._app_metrics = app_metrics
        self._resources = resources or OptionalResources()
        self._health = EngineHealth(config, probe_engine, meter)
        self._bus = EventBus()
        self._store = ContainerStore(self._bus.publish, self._clock.time_ns)
        self._containment = Containment()
        self._disk = DiskUsage(self._clock, min_age_s=config.container_limits_interval_s)
        self._limits = LimitsWatch(
            self._tell_limit,
            self._disk,
            self._clock,
            inode_limit=config.container_inode_limit,
            cpu_percent=partial(cpu_percent, config),
            containment=self._containment,
        )
        self._metrics = MetricsKeeper(
            config,
            self._clock,
            self._disk,
            cores=psutil.cpu_count() or 1,
            total_memory_mb=psutil.virtual_memory().total // capacity.MIB,
            containment=self._containment,
        )
        self._reads = asyncio.Semaphore(config.read_work_pool_size)
        self._deletions = asyncio.Semaphore(config.delete_work_pool_size)
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = AsyncExitStack()
        self._actors: dict[str, ContainerActor] = {}
        self._left_behind = ""
        self._shared = Facilities(
            store=self._store,
            creator=Creator(
                config, engine, network, dependencies, self._app_log, meter, self._clock, self._resources
            ),
            launch=launch,
            engine=engine,
            network=network,
            app_log=self._app_log,
            meter=meter,
            clock=self._clock,
            limits=self._limits,
            containment=self._containment,
            creations=asyncio.Semaphore(config.create_work_pool_size),
            deletions=self._deletions,
            spawn=self._spawn_for,
        )

    async def __aenter__(self) -> Self:
        await self._running.enter_async_context(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._running.__aexit__(kind, error, trace)

    def allocate(
        self, requests: Sequence[AllocationRequest], *, trace_id: str = ""
    ) -> list[AllocationFailure]:
        failures = []
        for request in requests:
            try:
                self._store.reserve(request, trace_id=trace_id)
            except ExecutorError as error:
                failures.append(AllocationFailure(request=request, reason=str(error)))
            else:
                self._actors[request.guid] = ContainerActor(request.guid, self._shared)
        return failures

    async def run(self, request: RunRequest, *, trace_id: str = "") -> None:
        self._actor(request.guid).run(request, trace_id=trace_id)

    def container(self, guid: str) -> Container:
        return self._store.get(guid)

    def containers(self) -> list[Container]:
        return self._store.list()

    async def update(self, request: UpdateRequest, *, trace_id: str = "") -> None:
        self._actor(request.guid).update(request, trace_id=trace_id)

    async def stop(self, guid: str, *, trace_id: str = "") -> None:
        self._actor(guid).stop(trace_id=trace_id)

    async def delete(self, guid: str, *, trace_id: str = "") -> None:
        if await self._actor(guid).delete(trace_id=trace_id):
            del self._actors[guid]

    async def force_destroy(self, guid: str, *, trace_id: str = "") -> None:
        actor = self._actor(guid)
        del self._actors[guid]
        await actor.force_destroy(trace_id=trace_id)

    async def read_file(self, guid: str, path: str, limit: int) -> bytes:
        engine_container = self._actor(guid).engine_container
        if engine_container is None:
            raise ContainerNotFound
        with BytesIO() as content:
            async with self._reads:
                await self._engine.copy_out(engine_container, path, "root", content, limit)
            return content.getvalue()

    def subscribe(self) -> AbstractContextManager[AsyncIterator[ContainerEvent]]:
        return self._bus.subscribe()

    def total_resources(self) -> Resources:
        return self._store.total

    def remaining_resources(self) -> Resources:
        return self._store.remaining()

    def volume_drivers(self) -> list[str]:
        return self._resources.volumes.drivers

    @property
    def healthy(self) -> bool:
        return self._health.healthy

    @property
    def meter(self) -> Meter:
        """The component metrics of the cell."""
        return self._meter

    @property
    def left_behind(self) -> str:
        """Why a stopped executor could not remove its network; empty if it could."""
        return self._left_behind

    def metrics(self) -> Mapping[str, ContainerMetrics]:
        return self._metrics.latest

    def log(self, guid: str, text: str, stream: Stream = Stream.OUT) -> None:
        self._app_log.write(self._store.get(guid).run_info.log_config, text, stream)

    def _actor(self, guid: str) -> ContainerActor:
        try:
            return self._actors[guid]
        except KeyError:
            raise ContainerNotFound from None

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        await self._await_engine()
        await wipe(self._engine, self._deletions)
        await self._network.start()
        try:
            await self._network.sweep()
            await asyncio.to_thread(_renew, Path(self._config.work_dir))
            await self._shared.creator.sweep()
            await self._resources.identity.retain(set())
            await self._resources.volumes.start()
            self._store.total = await capacity.measure(self._config, self._engine)
            await self._report_capacity()
            async with self._group:
                self._spawn(self._health.run())
                self._spawn(lasting(self._resources.identity.run))
                self._spawn(lasting(self._resources.volumes.run))
                self._spawn(every(self._config.reserved_expiration_time_s / 2, self._expire))
                self._spawn(every(self._config.container_reap_interval_s, self._reap))
                self._spawn(every(NETWORK_CHECK_INTERVAL_S, self._network.verify))
                self._spawn(lasting(self._watch_network))
                self._spawn(every(self._config.container_metrics_report_interval_s, self._read_metrics))
                self._spawn(every(self._config.container_limits_interval_s, self._watch_limits))
                self._spawn(every(CAPACITY_INTERVAL_S, self._report_capacity))
                yield
                # An error of the body is raised at the yield, and the group then cancels its tasks.
                for task in self._tasks:
                    task.cancel()
        finally:
            self._bus.close()
            async with AsyncExitStack() as parts:  # every part closes, even if another fails
                parts.callback(self._disk.close)
                parts.push_async_callback(self._stop_network)
                parts.push_async_callback(self._resources.volumes.close)
                for guid, actor in self._actors.items():
                    parts.push_async_callback(self._contained, guid, actor.close)

    async def _stop_network(self) -> None:
        """Keep the network while containers remain; the next start removes both.

        A remaining container may be missing from the store because the engine could not destroy it.
        """
        if left := [container.guid for container in self._store.list()]:
            log.warning("leaving-containers-and-their-network", extra={"data": {"guids": left}})
            await self._network.close()
            return
        try:
            await self._network.stop()
        except NetworkError as error:
            self._left_behind = str(error)
            log.error("leaving-network-to-next-start", extra={"data": {"error": str(error)}})

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _spawn_for(self, guid: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a task for one container; its failures are contained."""
        return self._spawn(self._contained(guid, work))

    async def _contained(self, guid: str, work: Callable[[], Awaitable[None]]) -> None:
        with self._containment.of(guid, "work"):
            await work()

    async def _await_engine(self) -> None:
        """Ping until the engine answers; log the failure at intervals."""
        started, told = self._clock.monotonic(), -math.inf
        while True:
            try:
                await self._engine.ping()
            except EngineError as error:
                stalled = self._clock.monotonic() - started
                if stalled - told >= STALLED_INTERVAL_S:
                    told = stalled
                    self._meter.duration("StalledGardenDuration", stalled)
                    data = {
                        "docker_host": self._config.docker_host,
                        "stalled_s": stalled,
                        "error": str(error),
                    }
                    log.error("waiting-for-container-engine", extra={"data": data})
                await asyncio.sleep(PING_PAUSE_S)
            else:
                self._meter.duration("StalledGardenDuration", 0)
                return

    async def _expire(self) -> None:
        for container in self._store.list():
            with self._containment.of(container.guid, "expire"):
                expire_reservation(
                    self._store, container, self._clock.time_ns(), self._config.reserved_expiration_time_s
                )

    async def _reap(self) -> None:
        strays, missing = await find_differences(self._store, self._engine)
        for guid in missing:
            with self._containment.of(guid, "complete missing"):
                self._actors[guid].vanished()
        await destroy_strays(strays, self._store, self._engine, self._network, self._containment)

    async def _report_capacity(self) -> None:
        values = capacity.gauges(
            self._store.total, self._store.remaining(), self._store.list(), self._metrics.latest
        )
        for name, gauge in values.items():
            self._meter.gauge(name, gauge.value, gauge.unit, {"zone": self._config.zone})

    async def _watch_limits(self) -> None:
        for guid, reason in (await self._limits.look(self._watched())).items():
            with self._containment.of(guid, "end over its limit"):
                if guid in self._actors:
                    self._actors[guid].exceeded(reason)
        known = {container.guid for container in self._store.list()}
        self._limits.retain(known)
        self._containment.retain(known)

    async def _watch_network(self) -> None:
        await self._network.watch(self._tell_owner, self._give_up)

    def _tell_owner(self, guid: str, text: str) -> None:
        if guid in self._actors:
            self._tell_limit(self._store.get(guid), text)

    def _give_up(self, guid: str, reason: str) -> None:
        if guid in self._actors:
            self._actors[guid].exceeded(reason)

    def _tell_limit(self, container: Container, text: str) -> None:
        self._app_log.write(container.run_info.log_config, text, Stream.ERR)

    def _watched(self) -> list[Watched]:
        return [one for actor in self._actors.values() if (one := actor.watched()) is not None]

    async def _read_metrics(self) -> None:
        watched = self._watched()
        await self._metrics.tick(watched)
        if self._app_metrics is not None:
            latest = self._metrics.latest
            containers = (one.container for one in watched)
            self._app_metrics.report((each, latest[each.guid]) for each in containers if each.guid in latest)


def _renew(directory: Path) -> None:
    """Create an empty directory that only this user can write to, or empty it. Raises OSError."""
    make_private(directory)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
