"""Facilities: what the actors of all containers of a cell share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from executor.clock import Clock
from executor.containers.applog import AppLog
from executor.containers.creation import Creator
from executor.containers.record import Records
from executor.containers.store import ContainerStore
from executor.containment import Containment
from executor.engine.api import Engine, EngineContainer
from executor.model import Container
from executor.network.api import Network
from executor.scheduler import Scheduler
from executor.steps.base import Step
from executor.telemetry.meter import Meter
from executor.watch.limits import LimitsWatch


class ProcessGroup(Protocol):
    """The runnable steps of a container."""

    @property
    def step(self) -> Step: ...

    @property
    def routable_when_ready(self) -> bool:
        """Whether the container is routable as soon as its process group is ready (no readiness check)."""
        ...

    def note_running(self) -> None:
        """The container runs now, healthy."""
        ...

    def note_end(self, *, cancelled: bool) -> None:
        """The steps have ended, by an interrupt or by themselves."""
        ...

    def update_tags(self, tags: Mapping[str, str]) -> None:
        """Replace the tags of the log lines."""
        ...

    async def close(self) -> None:
        """End the lingering tasks of interrupted steps and flush buffered output."""
        ...


BuildGroup = Callable[[Container, EngineContainer, float, Callable[[bool], None]], ProcessGroup]
"""Builds the process group of a created container. Raises ExecutorError if there is no action to run.

The number is the start of the creation in monotonic s, for the duration of the setup. The last argument is
called with each result of the readiness check.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facilities:
    """Dependencies shared by all containers of a cell."""

    store: ContainerStore
    records: Records
    creator: Creator
    build_group: BuildGroup
    engine: Engine
    network: Network
    app_log: AppLog
    meter: Meter
    clock: Clock
    limits: LimitsWatch
    containment: Containment
    scheduler: Scheduler
