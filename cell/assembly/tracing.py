"""Traces of the cell's containers, sent by OpenTelemetry if its environment variables name a receiver.

The variables are those of OpenTelemetry. ``OTEL_EXPORTER_OTLP_ENDPOINT`` and
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` switch traces on; ``OTEL_SDK_DISABLED=true`` and
``OTEL_TRACES_EXPORTER=none`` switch them off. Without them nothing of OpenTelemetry is imported. A thread of
its library sends the spans, with OTLP over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from rep.config import RepConfig
from rep.redaction import Redaction

if TYPE_CHECKING:
    from cell.story.traces import Traces

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE: Final = "diego-cell"
CLOSE_LIMIT_S: Final = 5.0
"""Limit of the wait for the receiver at the end, as for log sinks."""

logger = logging.getLogger(__name__)


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether the variables name a receiver of traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in ("", "otlp"):
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


@asynccontextmanager
async def opened_traces(config: RepConfig, environment: Mapping[str, str]) -> AsyncIterator[Traces | None]:
    """The traces of a cell; None if the environment asks for none. The exit sends the rest.

    Without the extra ``otel`` a cell that should send traces logs that, and runs.
    """
    if not wants_traces(environment):
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from cell.story.traces import Traces
    except ImportError as error:
        data = {"error": str(error), "install": "diego-cell[otel]"}
        logger.error("traces-not-sent", extra={"data": data})
        yield None
        return
    resource = Resource.create(
        {
            "service.name": environment.get("OTEL_SERVICE_NAME", SERVICE),
            "service.version": version("diego-cell"),
            "service.instance.id": config.cell_id,
            "diego.zone": config.zone,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield Traces(provider.get_tracer(SERVICE), Redaction(config.redact_patterns))
    finally:
        await asyncio.to_thread(_end, provider.shutdown)


def _end(shutdown: Callable[[], None]) -> None:
    """Send the rest, within the limit; the thread ends with the process."""
    sending = threading.Thread(target=shutdown, name="last spans", daemon=True)
    sending.start()
    sending.join(CLOSE_LIMIT_S)
