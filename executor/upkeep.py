"""Upkeep: the periodic work of the executor on its containers.

Each pass reconciles store and engine (expired reservations, stray and missing containers), reads limits and
metrics, or checks the network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Set
from dataclasses import dataclass, field

from common.liveness import Liveness
from executor import capacity
from executor.config import ExecutorConfig
from executor.containers.actor import ContainerActor
from executor.containers.facilities import Facilities
from executor.containers.machine import Expire, is_expired
from executor.containers.store import ContainerStore
from executor.containment import Containment
from executor.engine.api import Engine
from executor.errors import ContainerNotFound, ExecutorError
from executor.model import Container, ContainerState
from executor.network.api import Network
from executor.scheduler import every, lasting
from executor.telemetry.app_metrics import AppMetrics
from executor.watch.readings import MetricsKeeper, Watched

log = logging.getLogger(__name__)

CAPACITY_INTERVAL_S = 60.0
"""Interval of the capacity gauges; they are also emitted at start."""

NETWORK_CHECK_INTERVAL_S = 60.0
"""Interval of the check of links and packet rules."""

_IN_ENGINE = frozenset({ContainerState.CREATED, ContainerState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The periodic jobs of one executor.

    actors: of the containers, by guid. liveness: receives the turns of the jobs.
    """

    config: ExecutorConfig
    shared: Facilities
    actors: Mapping[str, ContainerActor]
    metrics: MetricsKeeper
    app_metrics: AppMetrics | None
    liveness: Liveness
    _spared_until: dict[str, float] = field(default_factory=dict, init=False)

    def jobs(self) -> Iterator[Coroutine[object, object, None]]:
        """The jobs, which run until they are cancelled."""
        config = self.config
        periodic: tuple[tuple[float, Callable[[], Coroutine[object, object, None]]], ...] = (
            (config.reserved_expiration_time_s / 2, self._expire),
            (config.container_reap_interval_s, self._reap),
            (NETWORK_CHECK_INTERVAL_S, self.shared.network.verify),
            (config.container_metrics_report_interval_s, self._read_metrics),
            (config.container_limits_interval_s, self._watch_limits),
            (CAPACITY_INTERVAL_S, self.report_capacity),
        )
        for interval_s, job in periodic:
            yield every(interval_s, job, self.liveness)
        yield lasting(self._watch_network)

    def spare(self, guids: Set[str], grace_s: float) -> None:
        """Destroy these strays only after the grace period."""
        self._spared_until.update(dict.fromkeys(guids, self.shared.clock.monotonic() + grace_s))

    def orphans(self) -> dict[str, float]:
        """The guids of the spared containers, and the seconds until their removal."""
        now = self.shared.clock.monotonic()
        return {guid: max(until - now, 0.0) for guid, until in self._spared_until.items()}

    async def remove_orphan(self, guid: str) -> None:
        """Destroy a spared container now. Raises ContainerNotFound, EngineError, NetworkError."""
        if guid not in self._spared_until or self.shared.store.has(guid):
            raise ContainerNotFound
        log.info("destroying-orphan", extra={"data": {"guid": guid}})
        await self.shared.engine.destroy(guid)
        await self.shared.network.detach(guid)
        self._spared_until.pop(guid, None)

    async def report_capacity(self) -> None:
        """Emit the capacity gauges."""
        values = capacity.gauges(
            self.shared.store.total,
            self.shared.store.remaining(),
            self.shared.store.list(),
            self.metrics.latest,
        )
        for name, gauge in values.items():
            self.shared.meter.gauge(name, gauge.value, gauge.unit, {"zone": self.config.zone})

    async def _expire(self) -> None:
        now_ns, lifetime_s = self.shared.clock.time_ns(), self.config.reserved_expiration_time_s
        for container in self.shared.store.list():
            with self.shared.containment.of(container.guid, "expire"):
                expire_reservation(self.shared.store, container, now_ns, lifetime_s)

    async def _reap(self) -> None:
        shared = self.shared
        strays, missing = await find_differences(shared.store, shared.engine)
        for guid in missing:
            with shared.containment.of(guid, "complete missing"):
                self.actors[guid].vanished()
        for guid in self._spared_until.keys() - strays:
            del self._spared_until[guid]
        now = self.shared.clock.monotonic()
        due = {guid for guid in strays if now >= self._spared_until.get(guid, now)}
        await destroy_strays(due, self.shared.store, shared.engine, shared.network, self.shared.containment)

    async def _watch_limits(self) -> None:
        limits = self.shared.limits
        for guid, reason in (await limits.check(self._watched())).items():
            with self.shared.containment.of(guid, "end over its limit"):
                self._end(guid, reason)
        known = {container.guid for container in self.shared.store.list()}
        limits.retain(known)
        self.shared.containment.retain(known)

    async def _watch_network(self) -> None:
        await self.shared.network.watch(self._warn, self._end)

    def _warn(self, guid: str, text: str) -> None:
        if guid in self.actors:
            self.shared.app_log.warn(self.shared.store.get(guid), text)

    def _end(self, guid: str, reason: str) -> None:
        if guid in self.actors:
            self.actors[guid].exceeded(reason)

    def _watched(self) -> list[Watched]:
        return [one for actor in self.actors.values() if (one := actor.watched()) is not None]

    async def _read_metrics(self) -> None:
        watched = self._watched()
        await self.metrics.tick(watched)
        if self.app_metrics is not None:
            latest = self.metrics.latest
            containers = (one.container for one in watched)
            self.app_metrics.report((each, latest[each.guid]) for each in containers if each.guid in latest)


def expire_reservation(store: ContainerStore, container: Container, now_ns: int, lifetime_s: float) -> None:
    """Complete a reservation that has expired."""
    if is_expired(container, now_ns, lifetime_s):
        store.move(container.guid, Expire())


async def find_differences(store: ContainerStore, engine: Engine) -> tuple[set[str], set[str]]:
    """The guids of strays (only in the engine) and of missing containers (absent from the engine).

    A missing container is in the store both before and after the query of the engine; a stray is absent from
    the store after it. A container that is being created or deleted is therefore neither. Raises EngineError.
    """
    expected = {container.guid for container in store.list() if container.state in _IN_ENGINE}
    present = await engine.list_guids()
    now = {container.guid: container for container in store.list()}
    missing = {guid for guid in expected - present if guid in now and now[guid].state in _IN_ENGINE}
    return present - now.keys(), missing


async def destroy_strays(
    guids: set[str], store: ContainerStore, engine: Engine, network: Network, containment: Containment
) -> None:
    """Destroy containers that are not in the store; a failed one is retried in the next pass.

    The guid of a stray may be reserved again meanwhile, so the store is checked before each call.
    """
    for guid in sorted(guids):
        with containment.of(guid, "destroy stray"):
            if store.has(guid):
                continue
            log.info("destroying-stray-container", extra={"data": {"guid": guid}})
            try:
                await engine.destroy(guid)
                if not store.has(guid):
                    await network.detach(guid)
            except ExecutorError as error:
                data = {"guid": guid, "error": str(error)}
                log.error("failed-to-destroy-stray-container", extra={"data": data})
