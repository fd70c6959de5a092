"""Executor assembly: builds an executor from its packages."""

from __future__ import annotations

from collections.abc import Callable

from common.liveness import Liveness
from executor.cache.api import ArchiveFetcher, FileUploader
from executor.clock import Clock, SystemClock
from executor.config import ExecutorConfig
from executor.containers.applog import AppLog
from executor.containers.creation import OptionalResources
from executor.containers.dependencies import CachedDependencies
from executor.containers.histories import Histories, NoHistories
from executor.containers.layers import CachedLayers
from executor.containers.observing import Observer
from executor.containers.processgroup import StepGroups, step_settings
from executor.engine.api import Engine
from executor.executor import Executor
from executor.identity.instances import configured_identity
from executor.journal.api import Journal, NoJournal
from executor.journal.detachable import DetachableJournal
from executor.logs.api import LogSink
from executor.logs.ledger import LogLedger
from executor.network.api import Network
from executor.places import FairPlaces
from executor.pools import yield_often
from executor.steps.context import StepSlots, StepTools, transfer_places
from executor.steps.trace import NoTrace, TraceRecorder
from executor.telemetry.api import MetricsEmitter, NoEmitter
from executor.telemetry.app_metrics import AppMetrics
from executor.telemetry.meter import Meter
from executor.volumes.manager import VolumeManager


def assemble(
    config: ExecutorConfig,
    *,
    journal: Journal | None,
    engine: Engine,
    probe_engine: Engine,
    network: Network,
    sink: LogSink,
    fetcher: ArchiveFetcher,
    uploader: FileUploader,
    meter: Meter | None = None,
    emitter: MetricsEmitter | None = None,
    clock: Clock | None = None,
    recorder: Callable[[str], TraceRecorder] = lambda _guid: NoTrace(),
    life_sink: LogSink | None = None,
    liveness: Liveness | None = None,
    observer: Observer | None = None,
) -> Executor:
    """Build an executor; the caller enters it with ``async with``.

    journal: open, under the lock of the state folder; None: containers end with this process.
    probe_engine: the same engine with the owner name ``config.healthcheck_container_owner_name``. Download
    steps and cached dependencies share one limiter. emitter: sink of the app metrics. life_sink: sink of the
    cell's lines about creation, stop and destruction of containers; default: ``sink``. observer: of the
    containers. liveness: receives the turns of the executor's loops. Raises IdentityError if the CA for
    instance credentials is unusable.
    """
    yield_often()
    clock = clock or SystemClock()
    meter = meter or Meter()
    own_journal = DetachableJournal(journal or NoJournal())
    histories = Histories(own_journal) if journal is not None else NoHistories()
    ledger = LogLedger(meter)
    slots = StepSlots(
        downloads=transfer_places(config.max_concurrent_downloads),
        probes=FairPlaces(config.healthcheck_work_pool_size),
    )
    resources = OptionalResources(
        identity=configured_identity(config, meter),
        volumes=VolumeManager(config.volman_driver_paths, config.volume_bind_paths, meter=meter),
        layers=CachedLayers(fetcher, slots.downloads, engine),
    )
    tools = StepTools(
        engine=engine,
        fetcher=fetcher,
        uploader=uploader,
        settings=step_settings(config),
        slots=slots,
        clock=clock,
    )
    groups = StepGroups(
        config=config,
        tools=tools,
        network=network,
        sink=sink,
        meter=meter,
        ledger=ledger,
        identity=resources.identity,
        recorder=recorder,
        histories=histories.of,
    )
    dependencies = CachedDependencies(
        fetcher, slots.downloads, AppLog(sink, config.cell_id, clock, config.log_origin)
    )
    return Executor(
        config,
        journal=own_journal,
        unreadable=histories.unreadable,
        engine=engine,
        probe_engine=probe_engine,
        network=network,
        sink=life_sink or sink,
        dependencies=dependencies,
        build_group=groups.build,
        meter=meter,
        app_metrics=AppMetrics(
            emitter or NoEmitter(),
            ledger.accepted_bytes,
            clock,
            origin=config.log_origin,
            excluded=config.app_metric_exclusion_filter,
        ),
        log_volume=ledger.report,
        resources=resources,
        slots=slots,
        observer=observer,
        clock=clock,
        liveness=liveness,
    )
