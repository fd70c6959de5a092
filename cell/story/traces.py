"""Traces of containers for OpenTelemetry: one trace for each, from its reservation to its removal.

::

    container                reserved until it runs, or until it ends without having run
    ├── allocate, queue ...  the stages of its start, see executor.telemetry.stages
    ├── action/serial ...    its steps, nested as in the tree; each is sent at its end
    └── remove               from its end until it is destroyed

The trace has the id of the request that reserved the container, if it had one (``X-Vcap-Request-Id``), so it
belongs to the trace of who asked. This module must not be imported without the extra ``otel``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from bbs.tracing import current_trace
from executor.clock import Clock, SystemClock
from executor.model import Container, ContainerState
from executor.steps.trace import Outcome, StepEnded, StepEvent, StepStarted
from executor.telemetry.stages import StageEnded

STEPS_MOST: Final = 500
"""Open steps of a container with a span."""
TAGS: Final = {
    "process-guid": "diego.process_guid",
    "process-index": "diego.index",
    "domain": "diego.domain",
    "lifecycle": "diego.lifecycle",
}
"""Attributes from a container's tags."""


@dataclass(slots=True)
class _Traced:
    """The spans of one container. root: also after its end, as the parent of others."""

    container: Container
    root: Span
    steps: dict[str, Span] = field(default_factory=dict)
    removal: Span = INVALID_SPAN

    def parent_of(self, path: str) -> Context:
        """The context of the closest step above a path."""
        while path:
            path = path.rpartition("/")[0]
            for above in (
                path,
                path.rpartition("[")[0],
            ):  # a child's path has its index, the parent's has not
                if above in self.steps:
                    return set_span_in_context(self.steps[above])
        return set_span_in_context(self.root)


class Traces:
    """Implements :class:`executor.containers.observing.Observer`; ``recorder`` records the steps.

    redact: removes secrets from texts.
    """

    def __init__(
        self, tracer: Tracer, redact: Callable[[object], object], clock: Clock | None = None
    ) -> None:
        self._tracer = tracer
        self._redact = redact
        self._clock = clock or SystemClock()
        self._live: dict[str, _Traced] = {}

    def moved(self, container: Container) -> None:
        traced = self._live.get(container.guid)
        if traced is None:
            self._live[container.guid] = self._begun(container)
            return
        before, traced.container = traced.container.state, container
        if container.state is before:
            return
        now = self._clock.time_ns()
        if container.state is ContainerState.RUNNING:
            traced.root.end(now)
        elif container.state is ContainerState.COMPLETED:
            self._completed(traced, now)

    def noted(self, guid: str, text: str) -> None:
        traced = self._live.get(guid)
        if traced is not None and traced.root.is_recording():
            traced.root.add_event("waiting", {"text": self._shown(text)}, self._clock.time_ns())

    def removed(self, guid: str) -> None:
        traced = self._live.pop(guid, None)
        if traced is None:
            return
        now = self._clock.time_ns()
        for span in (*reversed(traced.steps.values()), traced.root, traced.removal):
            if span.is_recording():
                span.end(now)

    def stage(self, event: StageEnded) -> None:
        """A stage has ended."""
        traced = self._live.get(event.guid)
        if traced is None:
            return
        now = self._clock.time_ns()
        span = self._tracer.start_span(
            event.stage,
            set_span_in_context(traced.root),
            start_time=now - round(event.seconds * 1e9),
            attributes={"diego.outcome": event.outcome},
        )
        if event.outcome != Outcome.SUCCEEDED.value:
            span.set_status(Status(StatusCode.ERROR, event.outcome))
        span.end(now)

    def recorder(self, guid: str) -> StepSpans:
        """The recorder of a container's steps."""
        return StepSpans(self, guid)

    def step(self, guid: str, event: StepEvent) -> None:
        """A step has begun or ended."""
        traced = self._live.get(guid)
        if traced is None:
            return
        if isinstance(event, StepStarted):
            if len(traced.steps) < STEPS_MOST:
                name = event.path.rpartition("/")[2]
                traced.steps[event.path] = self._tracer.start_span(
                    name,
                    traced.parent_of(event.path),
                    start_time=event.time_ns,
                    attributes={"diego.step": event.path},
                )
        elif isinstance(event, StepEnded):
            span = traced.steps.pop(event.path, INVALID_SPAN)
            span.set_attributes(self._facts(event))
            if event.outcome is not Outcome.SUCCEEDED:
                span.set_status(Status(StatusCode.ERROR, self._shown(event.reason)))
            span.end(event.time_ns)

    def _begun(self, container: Container) -> _Traced:
        is_new = container.state is ContainerState.RESERVED
        now = self._clock.time_ns()
        root = self._tracer.start_span(
            "container" if is_new else "container of the previous process",
            _requested(),
            start_time=container.allocated_at if is_new else now,
            attributes=_about(container),
        )
        if container.state in (ContainerState.RUNNING, ContainerState.COMPLETED):
            root.end(now)
        return _Traced(container, root)

    def _completed(self, traced: _Traced, now: int) -> None:
        result = traced.container.run_result
        reason = self._shown(result.failure_reason)
        if traced.root.is_recording():
            if result.failed:
                traced.root.set_status(Status(StatusCode.ERROR, reason))
            traced.root.end(now)
        traced.removal = self._tracer.start_span(
            "remove",
            set_span_in_context(traced.root),
            start_time=now,
            attributes={"diego.failed": result.failed, "diego.reason": reason},
        )

    def _facts(self, event: StepEnded) -> Mapping[str, AttributeValue]:
        facts = {
            "diego.outcome": event.outcome.value,
            "process.exit.code": event.facts.exit_status,
            "diego.transferred_bytes": event.facts.transferred_bytes,
            "diego.artifact": event.facts.artifact or None,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def _shown(self, text: str) -> str:
        return str(self._redact(text))


@dataclass(frozen=True, slots=True)
class StepSpans:
    """Implements :class:`executor.steps.trace.TraceRecorder` for one container."""

    traces: Traces
    guid: str

    def record(self, event: StepEvent) -> None:
        self.traces.step(self.guid, event)


def _requested() -> Context:
    """The context of the request in progress; an empty one, for a trace of its own, without one."""
    trace = current_trace()
    if trace is None:
        return Context()
    trace_id, span_id = trace
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _about(container: Container) -> Mapping[str, AttributeValue]:
    known = {name: container.tags[tag] for tag, name in TAGS.items() if tag in container.tags}
    return {"container.id": container.guid, "diego.memory_mb": container.memory_mb, **known}
