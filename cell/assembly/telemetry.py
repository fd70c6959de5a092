"""Destinations of logs and metrics, from rep.json.

App logs go to every target in ``log_sinks``, and to loggregator if its identity is configured; with neither
they go to stderr. Each target has its own buffer and task. Metrics go to loggregator, and with or without it
to the instruments that the admin listener shows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bbs.client.tls import CertificateExpired, TLSConfigurationError, client_context
from cell.assembly.catalogue import ALL
from cell.assembly.observation import Report
from cell.assembly.tracing import opened_traces
from common.metrics.instruments import Instruments
from executor.logs.api import LogSink
from executor.logs.loggregator import Agent, Loggregator, credentials
from executor.logs.shipper import LineShipper
from executor.logs.sinkset import SinkSet
from executor.logs.targets import open_target
from executor.telemetry.api import Labels, MetricsEmitter, NoEmitter
from executor.telemetry.meter import Meter
from rep.config import Loggregator as LoggregatorKeys
from rep.config import RepConfig

if TYPE_CHECKING:
    from cell.story.traces import Traces

logger = logging.getLogger(__name__)

DEFAULT_SINK = "stderr"


class TelemetryError(Exception):
    """A log or metrics target cannot be used as configured; the message names it and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The cell's outputs.

    sink: receives the apps' lines. change_sinks: sends them to the targets of other settings from now on;
    raises TelemetryError and then changes nothing. emitter: receives the apps' metrics. meter: of the cell.
    report: shows the states of the sinks. traces: of the containers, if the environment asks for them.
    """

    sink: LogSink
    change_sinks: Callable[[RepConfig], Awaitable[None]]
    emitter: MetricsEmitter
    meter: Meter
    report: Report
    traces: Traces | None = None


@asynccontextmanager
async def open_telemetry(config: RepConfig, *others: LogSink) -> AsyncIterator[Telemetry]:
    """All configured outputs, plus ``others`` for app logs. Closing delivers the rest of the buffers.

    Raises TelemetryError.
    """
    keys = config.loggregator
    loggregator = Loggregator(_agent(keys)) if keys.enabled else None
    others = (*others, loggregator) if loggregator else others
    sinks = SinkSet(partial(_line_shipper, cell_id=config.cell_id), others)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sinks.running(_targets(config, others)))
        if loggregator is not None:
            await stack.enter_async_context(loggregator.running())
        traces = await stack.enter_async_context(opened_traces(config, os.environ))
        emitter: MetricsEmitter = loggregator or NoEmitter()
        yield Telemetry(
            sink=sinks,
            change_sinks=lambda changed: sinks.change(_targets(changed, others)),
            emitter=emitter,
            meter=Meter(emitter, _labels(keys), instruments=Instruments(ALL), shown=ALL),
            report=partial(_report, [sinks, *([loggregator] if loggregator else [])]),
            traces=traces,
        )


def _targets(config: RepConfig, others: Sequence[LogSink]) -> Sequence[str]:
    return config.log_sinks or (() if others else (DEFAULT_SINK,))


def _report(sinks: Sequence[SinkSet | Loggregator], instruments: Instruments) -> None:
    for sink in sinks:
        sink.report(instruments)


def _line_shipper(text: str, cell_id: str) -> LineShipper:
    try:
        return open_target(text, hostname=cell_id)
    except (OSError, ValueError) as error:  # unreadable identity files; ssl.SSLError is an OSError
        raise TelemetryError(f"log_sinks: {text!r} cannot be used: {error}") from error


def _labels(keys: LoggregatorKeys) -> Labels:
    return Labels(
        source_id=keys.loggregator_source_id,
        instance_id=keys.loggregator_instance_id,
        tags={"origin": keys.loggregator_job_origin},
    )


def _check_identity(files: Sequence[Path]) -> None:
    """Report problems of the files, which gRPC does not. Raises TLSConfigurationError.

    An expired certificate does not prevent the start: it may be renewed, and every new connection reads the
    files again.
    """
    try:
        client_context(*files)
    except CertificateExpired as error:
        logger.error("loggregator-certificate-expired", extra={"data": {"error": str(error)}})


def _agent(keys: LoggregatorKeys) -> Agent:
    files = [
        Path(path)
        for path in (keys.loggregator_ca_path, keys.loggregator_cert_path, keys.loggregator_key_path)
    ]
    try:
        _check_identity(files)
        identity = credentials(*files)
    except (OSError, TLSConfigurationError) as error:
        raise TelemetryError(f"failed-to-initialize-metron-client: {error}") from error
    host = keys.loggregator_api_host or "127.0.0.1"
    return Agent(
        address=f"{host}:{keys.loggregator_api_port or 3458}",
        credentials=identity,
        batch_size=keys.loggregator_batch_max_size or 100,
        flush_interval_s=(keys.BatchFlushInterval or 100_000_000) / 1e9,
    )
