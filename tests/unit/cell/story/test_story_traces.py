"""The trace of a container, as a receiver of OpenTelemetry gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from bbs.tracing import traced
from cell.assembly.tracing import opened_traces
from cell.story.traces import Traces
from executor.model import Container, ContainerState, RunResult
from executor.steps.trace import Facts, Outcome, StepEnded, StepStarted
from executor.telemetry.stages import StageEnded
from rep.config import RepConfig
from tests.support.otlp import Receiver, attributes, receiver

pytestmark = pytest.mark.unit

REQUEST = "0af7651916cd43dd8448eb211c80319c"
NEW = Container(
    guid="ig",
    memory_mb=64,
    allocated_at=1_000,
    tags={"process-guid": "web", "process-index": "2", "domain": "apps", "lifecycle": "lrp", "other": "x"},
)


@pytest.fixture
async def came() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


async def sent(came: Receiver, live: object, config: RepConfig | None = None) -> None:
    """Let ``live`` use the traces of a cell, until they are sent."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": came.url}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", came.url)
        async with opened_traces(config or RepConfig(cell_id="cell-7", zone="z2"), environment) as traces:
            assert traces is not None
            assert callable(live)
            live(traces)


def moved(traces: Traces, container: Container, *states: ContainerState) -> Container:
    for state in states:
        container = replace(container, state=state)
        traces.moved(container)
    return container


def step(traces: Traces, path: str, outcome: Outcome = Outcome.SUCCEEDED, reason: str = "") -> None:
    traces.recorder("ig").record(
        StepEnded(
            path=path,
            time_ns=3_000,
            seconds=0.001,
            outcome=outcome,
            reason=reason,
            facts=Facts(exit_status=3 if reason else 0),
        )
    )


def parents(spans: list[Span]) -> dict[str, str]:
    """The name of each span's parent; the id for one that is not among them."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_span_id, span.parent_span_id.hex()) for span in spans}


async def test_the_life_of_a_container_is_one_trace(came: Receiver) -> None:
    def live(traces: Traces) -> None:
        with traced(REQUEST):
            traces.moved(NEW)
        traces.stage(StageEnded("ig", "allocate", 0.5, "succeeded"))
        moved(traces, NEW, ContainerState.INITIALIZING)
        traces.noted("ig", "pulling layer 1")
        traces.stage(StageEnded("ig", "image", 0.5, "succeeded"))
        moved(traces, NEW, ContainerState.CREATED)
        for path in ("action/serial", "action/serial[0]/timeout", "action/serial[0]/timeout/run"):
            traces.recorder("ig").record(StepStarted(path=path, time_ns=2_000))
        moved(traces, NEW, ContainerState.RUNNING)
        for path in ("action/serial[0]/timeout/run", "action/serial[0]/timeout", "action/serial"):
            step(traces, path)
        moved(traces, NEW, ContainerState.COMPLETED)
        traces.removed("ig")

    await sent(came, live)
    assert {span.trace_id.hex() for span in came.spans} == {REQUEST}
    above = parents(came.spans)
    [root] = came.named("container")
    assert len(above["container"]) == 16  # the span of the request, which another program sends
    assert {name: above[name] for name in ("allocate", "image", "serial", "remove")} == dict.fromkeys(
        ("allocate", "image", "serial", "remove"), "container"
    )
    assert (above["run"], above["timeout"]) == ("timeout", "serial")
    assert root.start_time_unix_nano == 1_000
    assert [event.name for event in root.events] == ["waiting"]
    about = attributes(root)
    assert about == {
        "container.id": "ig",
        "diego.memory_mb": 64,
        "diego.process_guid": "web",
        "diego.index": "2",
        "diego.domain": "apps",
        "diego.lifecycle": "lrp",
    }
    [run] = came.named("run")
    assert (run.start_time_unix_nano, run.end_time_unix_nano) == (2_000, 3_000)
    assert attributes(run)["process.exit.code"] == 0
    assert came.resources[0]["service.name"] == "diego-cell"
    assert came.resources[0]["service.instance.id"] == "cell-7"


async def test_failures_have_their_reasons_without_secrets(came: Receiver) -> None:
    secret = "https://user:password@registry/x: 401"

    def live(traces: Traces) -> None:
        traces.moved(NEW)
        moved(traces, NEW, ContainerState.INITIALIZING)
        traces.noted("ig", secret)
        traces.stage(StageEnded("ig", "create", 0.1, "failed"))
        traces.recorder("ig").record(StepStarted(path="action/run", time_ns=2_000))
        step(traces, "action/run", Outcome.FAILED, "APP/PROC/WEB: Exited with status 3")
        result = RunResult(failed=True, failure_reason=f"failed to create container: {secret}")
        traces.moved(replace(NEW, state=ContainerState.COMPLETED, run_result=result))
        traces.removed("ig")

    await sent(came, live)
    [run] = came.named("run")
    assert run.status.message == "APP/PROC/WEB: Exited with status 3"
    failed = {span.name for span in came.spans if span.status.code == SpanStatus.STATUS_CODE_ERROR}
    assert failed == {"create", "run", "container"}
    assert attributes(came.named("remove")[0])["diego.failed"] is True
    assert all(b"password" not in span.SerializeToString() for span in came.spans)


async def test_a_container_of_the_previous_process_has_a_trace_of_its_own(came: Receiver) -> None:
    def live(traces: Traces) -> None:
        moved(traces, NEW, ContainerState.RUNNING, ContainerState.COMPLETED)
        traces.removed("ig")

    await sent(came, live)
    assert parents(came.spans) == {
        "container of the previous process": "",
        "remove": "container of the previous process",
    }


async def test_what_is_unknown_has_no_span(came: Receiver) -> None:
    def live(traces: Traces) -> None:
        traces.noted("gone", "x")
        traces.removed("gone")
        traces.stage(StageEnded("gone", "create", 0.1, "succeeded"))
        traces.recorder("gone").record(StepStarted(path="action/run", time_ns=1))
        traces.moved(NEW)
        step(traces, "action/never-begun")
        traces.removed("ig")

    await sent(came, live)
    assert [span.name for span in came.spans] == ["container"]
