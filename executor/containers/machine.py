"""State machine of a container: allowed moves, their effects and their events.

Pure. A *move* is something that happened to a container. :func:`apply` returns the container after the move
and the kind of event to publish, if any, or raises :class:`~executor.errors.InvalidStateTransition`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from executor.errors import InvalidStateTransition
from executor.model import (
    AllocationRequest,
    Container,
    ContainerState,
    EventKind,
    PortMapping,
    RunInfo,
    RunResult,
)

FAILURE_REASON_LIMIT = 10000
"""Maximum length of a failure reason in bytes, set by the control plane."""

_TRUNCATED = b"\n... (truncated)\n"
_KEPT_HEAD = 4991
_KEPT_TAIL = 4992

EXPIRED = "expired container"
MISSING = "missing garden container"
STOPPED_BEFORE_RUNNING = "stopped-before-running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialize:
    """A run request arrived; its tags are merged into the tags of the reservation."""

    run_info: RunInfo
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """The engine created the container. Limits in bytes."""

    external_ip: str
    internal_ip: str
    ports: tuple[PortMapping, ...]
    memory_limit: int
    disk_limit: int
    advertise_preference_for_instance_address: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BecomeReady:
    """The process group is ready."""

    routable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipReadiness:
    """The result of the readiness check changed."""

    routable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStop:
    """A stop was requested. Publishes no event; the completion does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The container ended. ``stopped`` of the result comes from an earlier stop request."""

    failed: bool = False
    failure_reason: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The reservation expired before its run request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Routes or metric tags were replaced; None keeps the current value."""

    internal_routes: tuple[str, ...] | None = None
    metric_tags: Mapping[str, str] | None = None


Move = Initialize | Create | BecomeReady | FlipReadiness | RequestStop | Complete | Expire | Update

_ANY = frozenset(ContainerState)

ALLOWED: Mapping[type[Move], frozenset[ContainerState]] = {
    Initialize: frozenset({ContainerState.RESERVED}),
    Create: frozenset({ContainerState.INITIALIZING}),
    BecomeReady: frozenset({ContainerState.CREATED}),
    FlipReadiness: frozenset({ContainerState.RUNNING}),
    Expire: frozenset({ContainerState.RESERVED}),
    RequestStop: _ANY,
    Complete: _ANY,
    Update: _ANY,
}
"""The states in which each move is allowed."""

Outcome = tuple[Container, EventKind | None]


def reserve(request: AllocationRequest, now_ns: int) -> Outcome:
    """A new container for an accepted allocation."""
    container = Container(
        guid=request.guid,
        memory_mb=request.memory_mb,
        disk_mb=request.disk_mb,
        max_pids=request.max_pids,
        tags=dict(request.tags),
        allocated_at=now_ns,
    )
    return container, EventKind.RESERVED


def apply(container: Container, move: Move) -> Outcome:
    """The container after ``move``, and the kind of event to publish. Raises InvalidStateTransition."""
    if container.state not in ALLOWED[type(move)]:
        raise InvalidStateTransition
    match move:
        case Initialize():
            tags = {**container.tags, **move.tags}
            initialized = replace(
                container, state=ContainerState.INITIALIZING, run_info=move.run_info, tags=tags
            )
            return initialized, None
        case Create():
            return _created(container, move), None
        case BecomeReady():
            running = replace(container, state=ContainerState.RUNNING, routable=move.routable)
            return running, EventKind.RUNNING
        case FlipReadiness():
            return replace(container, routable=move.routable), EventKind.RUNNING
        case RequestStop():
            return replace(container, run_result=replace(container.run_result, stopped=True)), None
        case Complete():
            return _completed(container, move), EventKind.COMPLETE
        case Expire():
            expired = _completed(container, Complete(failed=True, failure_reason=EXPIRED))
            unused = replace(expired.run_result, unused=True)
            return replace(expired, run_result=unused), EventKind.COMPLETE
        case Update():
            return _updated(container, move), None
        case _:
            assert_never(move)


def is_expired(container: Container, now_ns: int, lifetime_s: float) -> bool:
    """Whether a reservation has reached its maximum age."""
    return container.state is ContainerState.RESERVED and now_ns - container.allocated_at >= lifetime_s * 1e9


def cap_failure_reason(reason: str) -> str:
    """Cap a failure reason at 10000 bytes: a longer one keeps its head and tail, with a mark in between.

    A character cut at either edge is dropped, so the result stays within the limit and is valid text.
    """
    data = reason.encode()
    if len(data) <= FAILURE_REASON_LIMIT:
        return reason
    return (data[:_KEPT_HEAD] + _TRUNCATED + data[-_KEPT_TAIL:]).decode(errors="ignore")


def _created(container: Container, move: Create) -> Container:
    return replace(
        container,
        state=ContainerState.CREATED,
        external_ip=move.external_ip,
        internal_ip=move.internal_ip,
        ports=move.ports,
        memory_limit=move.memory_limit,
        disk_limit=move.disk_limit,
        advertise_preference_for_instance_address=move.advertise_preference_for_instance_address,
    )


def _completed(container: Container, move: Complete) -> Container:
    result = RunResult(
        failed=move.failed,
        failure_reason=cap_failure_reason(move.failure_reason),
        retryable=move.retryable,
        stopped=container.run_result.stopped,
    )
    return replace(container, state=ContainerState.COMPLETED, run_result=result)


def _updated(container: Container, move: Update) -> Container:
    info = container.run_info
    if move.internal_routes is not None:
        info = replace(info, internal_routes=move.internal_routes)
    if move.metric_tags is not None:
        tags = dict(move.metric_tags)
        info = replace(
            info,
            log_config=replace(info.log_config, tags=tags),
            metrics_config=replace(info.metrics_config, tags=tags),
        )
    return replace(container, run_info=info)
