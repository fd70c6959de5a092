"""When traces are sent, and what happens when they cannot be."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from cell.assembly.tracing import opened_traces, wants_traces
from cell.story.traces import Traces
from executor.model import Container
from rep.config import RepConfig

pytestmark = pytest.mark.unit

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "wants"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_environment_decides(environment: dict[str, str], wants: bool) -> None:
    assert wants_traces(environment) is wants


def test_without_a_receiver_nothing_of_opentelemetry_is_loaded() -> None:
    code = """
import asyncio, sys
from cell.assembly import service
from cell.assembly.telemetry import open_telemetry
from rep.config import RepConfig

async def run():
    async with open_telemetry(RepConfig(cell_id="c")) as telemetry:
        assert telemetry.traces is None

asyncio.run(run())
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=90, env=environment)


async def test_a_cell_without_the_extra_runs_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    async with opened_traces(RepConfig(), ENDPOINT) as traces:
        assert traces is None
    [record] = caplog.records
    assert record.getMessage() == "traces-not-sent"
    assert record.__dict__["data"]["install"] == "diego-cell[otel]"


async def test_a_receiver_that_is_not_there_delays_the_end_for_seconds_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("cell.assembly.tracing.CLOSE_LIMIT_S", 0.2)
    async with opened_traces(RepConfig(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as traces:
        assert isinstance(traces, Traces)
        traces.moved(Container(guid="ig"))
        traces.removed("ig")
        begun = time.monotonic()
    assert time.monotonic() - begun < 20
