"""The executor: manages the containers of one cell for the rep.

Use it as an async context manager. Entering restores the containers of the previous process from the journal,
waits for the engine, adopts what still runs, sets up the network and measures the capacity. Leaving ends
every task but destroys no containers; a caller that wants an empty cell deletes them first. After
:meth:`Executor.detach` the processes keep running for the next executor. If an essential part fails, the
body is cancelled and leaving raises the error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from functools import partial
from io import BytesIO
from types import TracebackType
from typing import Self

import psutil

from common.liveness import Liveness
from common.logsubject import about
from common.metrics.instruments import Instruments
from executor import capacity
from executor.boot import Boot
from executor.clock import Clock, SystemClock
from executor.config import ExecutorConfig, OnStop
from executor.containers.actor import ContainerActor
from executor.containers.applog import AppLog
from executor.containers.creation import Creator, Dependencies, OptionalResources
from executor.containers.eventbus import EventBus
from executor.containers.facilities import BuildGroup, Facilities
from executor.containers.observing import NoObserver, Observer
from executor.containers.record import Records
from executor.containers.store import ContainerStore
from executor.containment import Containment
from executor.engine.api import Engine
from executor.enginehealth import EngineHealth
from executor.errors import ContainerNotFound, ExecutorError, HandedOver
from executor.journal.detachable import DetachableJournal
from executor.logs.api import LogSink, Stream
from executor.model import (
    AllocationFailure,
    AllocationRequest,
    Container,
    ContainerEvent,
    ContainerMetrics,
    ContainerState,
    Resources,
    RunRequest,
    UpdateRequest,
)
from executor.network.api import Network
from executor.restoration import Restoration
from executor.scheduler import Scheduler
from executor.steps.context import StepSlots
from executor.telemetry import families
from executor.telemetry.app_metrics import AppMetrics
from executor.telemetry.meter import Meter
from executor.upkeep import Upkeep
from executor.watch.diskusage import DiskUsage
from executor.watch.limits import LimitsWatch
from executor.watch.readings import MetricsKeeper


class Executor:
    """Implements :class:`executor.api.ExecutorAPI`.

    journal: open, under the lock of the state folder. unreadable: guids of containers whose recorded steps
    cannot be read.
    probe_engine: the same engine with the owner name of health check containers. build_group: builds the
    steps of a created container. log_volume: sets the totals of app logs. resources: optional resources of
    containers. slots: of the steps. observer: of its containers. liveness: receives the turns of the loops.
    All calls need a running executor.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        *,
        journal: DetachableJournal,
        unreadable: Set[str] = frozenset(),
        engine: Engine,
        probe_engine: Engine,
        network: Network,
        sink: LogSink,
        dependencies: Dependencies,
        build_group: BuildGroup,
        meter: Meter,
        app_metrics: AppMetrics | None = None,
        log_volume: Callable[[Instruments], None] = lambda _: None,
        resources: OptionalResources | None = None,
        slots: StepSlots | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
        liveness: Liveness | None = None,
    ) -> None:
        liveness = liveness or Liveness()
        clock = clock or SystemClock()
        resources = resources or OptionalResources()
        observer = NoObserver() if observer is None else observer
        app_log = AppLog(sink, config.cell_id, clock, config.log_origin)
        containment = Containment()
        disk = DiskUsage(clock, min_age_s=config.container_limits_interval_s)
        self._journal = journal
        self._engine = engine
        self._slots = slots or StepSlots()
        self._meter = meter
        self._log_volume = log_volume
        self._app_log = app_log
        self._volumes = resources.volumes
        self._health = EngineHealth(config, probe_engine, meter, liveness)
        self._bus = EventBus()
        records = Records(journal)
        self._store = ContainerStore(self._bus.publish, clock.time_ns, records, observer)
        self._scheduler = Scheduler(config, containment)
        self._metrics = MetricsKeeper(
            config,
            clock,
            disk,
            cores=psutil.cpu_count() or 1,
            total_memory_mb=psutil.virtual_memory().total // capacity.MIB,
            containment=containment,
        )
        self._shared = shared = Facilities(
            store=self._store,
            records=records,
            creator=Creator(
                config=config,
                engine=engine,
                network=network,
                dependencies=dependencies,
                app_log=app_log,
                meter=meter,
                clock=clock,
                resources=resources,
                observer=observer,
            ),
            build_group=build_group,
            engine=engine,
            network=network,
            app_log=app_log,
            meter=meter,
            clock=clock,
            limits=LimitsWatch(
                app_log.warn,
                disk,
                clock,
                inode_limit=config.container_inode_limit,
                cpu_percent=partial(capacity.cpu_percent, config),
                containment=containment,
            ),
            containment=containment,
            scheduler=self._scheduler,
        )
        self._actors: dict[str, ContainerActor] = {}
        upkeep = Upkeep(
            config=config,
            shared=shared,
            actors=self._actors,
            metrics=self._metrics,
            app_metrics=app_metrics,
            liveness=liveness,
        )
        self._upkeep = upkeep
        self._boot = Boot(
            config=config,
            journal=journal,
            restoration=Restoration(
                journal=journal, shared=shared, actors=self._actors, unreadable=unreadable
            ),
            shared=shared,
            actors=self._actors,
            resources=resources,
            health=self._health,
            upkeep=upkeep,
            bus=self._bus,
            disk=disk,
        )
        self._running = self._boot.running()

    async def __aenter__(self) -> Self:
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._running.__aexit__(kind, error, trace)

    def end_with(self, on_stop: OnStop) -> None:
        """Say what the end of the executor means for the containers, instead of the configuration."""
        self._boot.on_stop = on_stop

    async def detach(self) -> None:
        """Leave all containers and their processes to the next executor; no later call has an effect on them.

        On return the journal has stored everything.
        """
        await self._boot.detach()

    def allocate(
        self, requests: Sequence[AllocationRequest], *, trace_id: str = ""
    ) -> list[AllocationFailure]:
        if self._boot.detached:
            return [AllocationFailure(request=each, reason=HandedOver.text) for each in requests]
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
        with about(request.guid):
            self._actor(request.guid).run(request, trace_id=trace_id)

    def container(self, guid: str) -> Container:
        return self._store.get(guid)

    def containers(self) -> list[Container]:
        return self._store.list()

    async def update(self, request: UpdateRequest, *, trace_id: str = "") -> None:
        with about(request.guid):
            self._actor(request.guid).update(request, trace_id=trace_id)

    async def stop(self, guid: str, *, trace_id: str = "") -> None:
        with about(guid):
            self._actor(guid).stop(trace_id=trace_id)

    async def delete(self, guid: str, *, trace_id: str = "") -> None:
        with about(guid):
            if await self._actor(guid).delete(trace_id=trace_id):
                del self._actors[guid]

    async def force_destroy(self, guid: str, *, trace_id: str = "") -> None:
        with about(guid):
            actor = self._actor(guid)
            del self._actors[guid]
            await actor.force_destroy(trace_id=trace_id)

    async def read_file(self, guid: str, path: str, limit: int) -> bytes:
        engine_container = self._actor(guid).engine_container
        if engine_container is None:
            raise ContainerNotFound
        with about(guid), BytesIO() as content:
            async with self._scheduler.reads:
                await self._engine.copy_out(engine_container, path, "root", content, limit)
            return content.getvalue()

    def orphans(self) -> Mapping[str, float]:
        return self._upkeep.orphans()

    async def remove_orphan(self, guid: str) -> None:
        await self._upkeep.remove_orphan(guid)

    def subscribe(self) -> AbstractContextManager[AsyncIterator[ContainerEvent]]:
        return self._bus.subscribe()

    def total_resources(self) -> Resources:
        return self._store.total

    def remaining_resources(self) -> Resources:
        return self._store.remaining()

    def volume_drivers(self) -> list[str]:
        return self._volumes.drivers

    def resize(self, *, creations: int, deletions: int, reads: int, downloads: int, probes: int) -> None:
        """Change the limits of concurrent work; work in progress is not affected."""
        self._scheduler.resize(creations=creations, deletions=deletions, reads=reads)
        self._slots.resize(downloads=downloads, probes=probes)

    @property
    def healthy(self) -> bool:
        return self._health.healthy and self._journal.failure is None

    @property
    def meter(self) -> Meter:
        """The component metrics of the cell."""
        return self._meter

    def report(self, instruments: Instruments) -> None:
        """Set the values that are states: capacity, containers, health."""
        containers = self._store.list()
        for name, gauge in capacity.gauges(
            self._store.total, self._store.remaining(), containers, self._metrics.latest
        ).items():
            self._meter.show(name, gauge)
        states = Counter(container.state for container in containers)
        for state in ContainerState:
            instruments.set(families.CONTAINERS, states[state], state.value)
        self._log_volume(instruments)
        instruments.set(families.HEALTHY, 1 if self.healthy else 0)
        instruments.set(families.JOURNAL_TROUBLE, 0 if self._journal.failure is None else 1)

    @property
    def left_behind(self) -> str:
        """Why a stopped executor could not remove its network; empty if it could."""
        return self._boot.left_behind

    def metrics(self) -> Mapping[str, ContainerMetrics]:
        return self._metrics.latest

    def log(self, guid: str, text: str, stream: Stream = Stream.OUT) -> None:
        self._app_log.write(self._store.get(guid).run_info.log_config, text, stream)

    def _actor(self, guid: str) -> ContainerActor:
        """Raises ContainerNotFound, HandedOver."""
        if self._boot.detached:
            raise HandedOver
        try:
            return self._actors[guid]
        except KeyError:
            raise ContainerNotFound from None
