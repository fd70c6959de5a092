"""Composition of a cell: engine, network, executor, control plane clients, and the agent.

Only this module imports every package. Each part is a context manager; parts close in reverse order, so
the agent ends before the executor, and the executor before the engine's client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity, IdentityFiles
from bbs.client.locket import LocketClient, channel_credentials
from bbs.client.transport import Policy
from cell.assembly.locks import alone
from cell.assembly.observation import Report, observed
from cell.assembly.telemetry import Telemetry
from cell.page.api import Page
from cell.page.local import LocalCell, Memories
from cell.page.source import CellSource
from cell.story.observers import Observers, Recorders
from common.liveness import Liveness
from executor.assembly import assemble
from executor.cache.downloader import Downloader
from executor.cache.http import Fetcher
from executor.cache.session import AssetTLS, asset_session
from executor.cache.uploader import Uploader
from executor.config import ExecutorConfig, OnStop
from executor.containers.observing import Observer
from executor.engine.api import Engine
from executor.engine.docker import DockerEngine, EngineConfig
from executor.engine.spools import Spools
from executor.executor import Executor
from executor.journal.api import Journal
from executor.journal.sqlite import SQLiteJournal
from executor.logs.api import LogSink
from executor.logs.leftovers import LeftoverOutput
from executor.logs.sinks import FanOut
from executor.network.api import Network
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig
from executor.steps.trace import NoTrace, TraceRecorder
from executor.telemetry.api import MetricsEmitter
from executor.telemetry.meter import Meter
from rep.agent import RepAgent
from rep.config import RepConfig, executor_config, seconds
from rep.ending import Ending
from rep.server import ListenerStore
from rep.tls import check_admin_certificate

BBS_ATTEMPTS = 5
"""Attempts per call of the rep, within 4 to 8 s if the BBS is down: it may be restarting."""
REPORT_DIAL_TIMEOUT_S = 1.0
"""Timeout of a connection for a report: the courier tries again, and soon notices the return of the BBS."""
JOURNAL_FOLDER = "journal"
"""The journal's folder inside the state folder."""
SPOOL_FOLDER = "spool"
"""The folder of the apps' undelivered output inside the state folder."""
PAGE_PREFIX = "/page"
"""The page's path on the admin listener."""


def network_config(config: RepConfig) -> NetworkConfig:
    """The settings of the container network and the host ports in ``rep.json``."""
    return NetworkConfig(
        name=config.network_name,
        table=config.nft_table,
        subnet=config.network_subnet,
        subnet_ipv6=config.network_subnet_ipv6,
        mtu=config.network_mtu,
        denied_networks=config.denied_networks,
        allowed_networks=config.allowed_networks,
        dns_servers=config.dns_servers,
        bandwidth_in=config.container_bandwidth_in,
        bandwidth_out=config.container_bandwidth_out,
        connection_limit=config.container_connection_limit,
        external_ip=config.external_ip,
        port_start=config.host_port_start,
        port_count=config.host_port_count,
    )


def engine_config(config: RepConfig, owner: str) -> EngineConfig:
    """Settings of the engine for the owner ``owner``."""
    return EngineConfig(
        state_dir=Path(config.state_dir) / "engine",
        owner=owner,
        cell_id=config.cell_id,
        docker_host=config.docker_host,
        dns_servers=config.dns_servers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Replacements and observers of an executor; none by default.

    recorder: the step recorder of a container, by guid. observer: of the containers. engine: wraps the real
    one. network: creates it. life_sink: receives the cell's own lines about a container's life instead of the
    app's sink.
    """

    recorder: Callable[[str], TraceRecorder] = lambda _guid: NoTrace()
    engine: Callable[[Engine], Engine] = lambda engine: engine
    network: Callable[[NetworkConfig], Network] = CellNetwork
    life_sink: LogSink | None = None
    observer: Observer | None = None


@asynccontextmanager
async def running_executor(
    config: RepConfig, sink: LogSink, hooks: Hooks | None = None
) -> AsyncIterator[Executor]:
    """An executor on the real engine, without a rep and without a journal: nothing continues after its end.

    What an earlier process left is removed at the start.
    Takes all locks of the cell before any change. Raises AlreadyInUse, EngineError, NetworkError,
    UnknownStack, ValueError.
    """
    with alone(config, settings := executor_config(config)):
        settings = replace(settings, orphan_grace_s=0, on_stop=OnStop.DESTROY)
        async with _executor(config, settings, None, sink, hooks or Hooks()) as executor:
            yield executor


@asynccontextmanager
async def _executor(
    config: RepConfig,
    settings: ExecutorConfig,
    journal: Journal | None,
    sink: LogSink,
    hooks: Hooks,
    meter: Meter | None = None,
    emitter: MetricsEmitter | None = None,
    liveness: Liveness | None = None,
    reports: Sequence[Report] = (),
) -> AsyncIterator[Executor]:
    """meter: of the cell; emitter: receives the apps' metrics; liveness: receives the turns of the loops;
    reports: of further parts of the cell.
    """
    meter = meter or Meter()
    spools = Spools(
        Path(config.state_dir) / SPOOL_FOLDER,
        stream_bytes=config.log_spool_stream_bytes,
        cell_bytes=config.log_spool_bytes,
    )
    engine = DockerEngine(
        replace(engine_config(config, config.container_owner_name), archive_limits=settings.archive_limits),
        spools,
        meter,
    )
    probe_engine = DockerEngine(
        replace(engine_config(config, config.healthcheck_container_owner_name), logs_disk_limits=False)
    )
    try:
        async with (
            asset_session(_asset_tls(settings)) as session,
            Downloader(
                Fetcher(session, limits=settings.archive_limits),
                Path(settings.cache_path),
                settings.max_cache_size_bytes,
                limits=settings.archive_limits,
                instruments=meter.instruments,
            ) as downloader,
            assemble(
                settings,
                journal=journal,
                engine=hooks.engine(engine),
                probe_engine=probe_engine,
                network=hooks.network(network_config(config)),
                sink=sink,
                fetcher=downloader,
                uploader=Uploader(session),
                recorder=hooks.recorder,
                life_sink=hooks.life_sink,
                observer=hooks.observer,
                meter=meter,
                emitter=emitter,
                liveness=liveness,
            ) as executor,
            LeftoverOutput(
                spools=spools,
                sink=sink,
                live=lambda: {container.guid for container in executor.containers()},
            ).running(),
            observed(
                config, meter.instruments, (executor.report, spools.report, downloader.report, *reports)
            ),
        ):
            yield executor
    finally:
        await probe_engine.close()
        await engine.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """What connects a cell with a service manager; by default nothing does.

    liveness: receives the turns of all loops. listener_store: keeps listening sockets for the next process.
    """

    liveness: Liveness = field(default_factory=Liveness)
    listener_store: ListenerStore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedCell:
    """The parts of a cell that its process uses. identities: those of its certificate files.

    shown: the cell as its page shows it.
    """

    agent: RepAgent
    executor: Executor
    identities: tuple[Identity, ...]
    shown: LocalCell


@asynccontextmanager
async def composed_cell(
    config: RepConfig, telemetry: Telemetry, supervised: Supervised | None = None
) -> AsyncIterator[ComposedCell]:
    """A cell whose agent is ready for ``run()`` inside the context.

    With certificate files all connections are mutual TLS; without them (development) all are plain. Renewed
    files apply from the next connection on. Raises the errors of :func:`running_executor`,
    TLSConfigurationError, BBSError, LocketError, JournalError.
    """
    supervised = supervised or Supervised()
    identities = _identity(config), locket_identity(config)
    memories = Memories.empty()
    hooks = _observed_by(memories, telemetry)
    sink = FanOut([telemetry.sink, memories.tails])
    # The locks first, because the journal is not safe for two processes; then the journal, from which the
    # executor restores its containers; then the executor, so that the rep never sees a partial store.
    with alone(config, settings := executor_config(config)):
        async with (
            SQLiteJournal(Path(config.state_dir) / JOURNAL_FOLDER) as journal,
            _executor(
                config,
                settings,
                journal,
                sink,
                hooks,
                telemetry.meter,
                telemetry.emitter,
                supervised.liveness,
                reports=(telemetry.report,),
            ) as executor,
            _agent(config, identities, executor, journal, telemetry, supervised, memories) as agent,
        ):
            try:
                yield ComposedCell(
                    agent=agent,
                    executor=executor,
                    identities=tuple(filter(None, identities)),
                    shown=LocalCell(config, executor, agent, memories),
                )
            finally:
                is_hand_over = agent.ending is Ending.HAND_OVER
                executor.end_with(OnStop.HAND_OVER if is_hand_over else OnStop.DESTROY)


def _observed_by(memories: Memories, telemetry: Telemetry) -> Hooks:
    """Containers are observed for the page, and for traces if they are sent."""
    stories, traces = memories.stories, telemetry.traces
    if traces is None:
        return Hooks(recorder=stories.recorder, observer=stories)
    telemetry.meter.stages.watcher = traces.stage
    return Hooks(
        recorder=lambda guid: Recorders((stories.recorder(guid), traces.recorder(guid))),
        observer=Observers((stories, traces)),
    )


@asynccontextmanager
async def _agent(
    config: RepConfig,
    identities: tuple[Identity | None, Identity | None],
    executor: Executor,
    journal: SQLiteJournal,
    telemetry: Telemetry,
    supervised: Supervised,
    memories: Memories,
) -> AsyncIterator[RepAgent]:
    """The rep of a running executor, with its clients. identities: of the rep, and towards Locket."""
    identity, towards_locket = identities

    def page(agent: RepAgent, admin: web.Application) -> AbstractAsyncContextManager[None]:
        shown = CellSource(LocalCell(config, executor, agent, memories))
        return Page(shown).mounted(admin, PAGE_PREFIX)

    async with (
        HTTPBBSClient(
            config.bbs_address,
            ssl_context=identity.client_context() if identity else None,
            policy=Policy(attempts=BBS_ATTEMPTS, request_timeout_s=seconds(config.communication_timeout)),
            instruments=telemetry.meter.instruments,
        ) as bbs,
        HTTPBBSClient(
            config.bbs_address,
            ssl_context=identity.client_context() if identity else None,
            policy=Policy(
                attempts=1,
                request_timeout_s=seconds(config.communication_timeout),
                dial_timeout_s=REPORT_DIAL_TIMEOUT_S,
            ),
            instruments=telemetry.meter.instruments,
        ) as reports_bbs,
        LocketClient(
            config.locket_address,
            _locket_credentials(towards_locket) if towards_locket else None,
            keepalive_time_s=config.locket_client_keepalive_time,
            keepalive_timeout_s=config.locket_client_keepalive_timeout,
        ) as locket,
        _following(identity),
        _following_for(locket, towards_locket),
    ):
        await locket.ready()
        if identity:
            check_admin_certificate(identity.files.cert_file)
        yield RepAgent(
            config,
            executor,
            bbs,
            locket,
            journal,
            reports_bbs=reports_bbs,
            admin_tls=identity.server_context() if identity else None,
            network_tls=identity.server_context() if identity else None,
            metrics=telemetry.meter,
            liveness=supervised.liveness,
            listener_store=supervised.listener_store,
            extend_admin=page,
            instruments=telemetry.meter.instruments,
        )


def _asset_tls(settings: ExecutorConfig) -> AssetTLS:
    return AssetTLS(
        cert=settings.path_to_tls_cert,
        key=settings.path_to_tls_key,
        ca_files=(settings.path_to_tls_ca_cert, settings.path_to_ca_certs_for_downloads),
        skip_cert_verify=settings.skip_cert_verify,
    )


def _identity(config: RepConfig) -> Identity | None:
    if not config.cert_file:
        return None
    return Identity(
        IdentityFiles(
            ca_file=Path(config.ca_cert_file),
            cert_file=Path(config.cert_file),
            key_file=Path(config.key_file),
        )
    )


def locket_identity(config: RepConfig) -> Identity | None:
    """The client identity for Locket: a separate one if configured, else the rep's."""
    if not config.locket_client_cert_file:
        return _identity(config)
    return Identity(
        IdentityFiles(
            ca_file=Path(config.locket_ca_cert_file),
            cert_file=Path(config.locket_client_cert_file),
            key_file=Path(config.locket_client_key_file),
        )
    )


def _locket_credentials(identity: Identity) -> grpc.ChannelCredentials:
    files = identity.files
    return channel_credentials(files.ca_file, files.cert_file, files.key_file)


def _following(identity: Identity | None) -> AbstractAsyncContextManager[None]:
    return identity.watched() if identity else nullcontext()


def _following_for(locket: LocketClient, identity: Identity | None) -> AbstractAsyncContextManager[None]:
    """Follow the certificate files: gRPC does not watch them and needs a new connection after a change."""
    if identity is None:
        return nullcontext()

    async def renewed() -> None:
        await locket.renew(_locket_credentials(identity))

    return identity.watched(renewed)
