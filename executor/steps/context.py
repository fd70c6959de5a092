"""Step context: the dependencies of a step tree."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from executor.cache.api import ArchiveFetcher, FileUploader, Progress
from executor.clock import Clock, SystemClock
from executor.engine.api import Engine, EngineContainer
from executor.environment import Env
from executor.errors import EngineError
from executor.logs.api import LogStreams
from executor.model import Container
from executor.places import FairPlaces
from executor.steps.base import Step
from executor.steps.lingering import LingeringTasks
from executor.steps.replay import Activity, History
from executor.steps.throttle import Turns
from executor.steps.trace import Node, NoTrace, Traced, TraceRecorder, transfer_progress
from healthcheck.probe import OpenSocket, ProbeNotMade

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepSlots:
    """Slots shared by all containers of the cell; the owner is the guid."""

    downloads: FairPlaces = field(default_factory=lambda: transfer_places(5))
    uploads: FairPlaces = field(default_factory=lambda: transfer_places(5))
    probes: FairPlaces = field(default_factory=lambda: FairPlaces(64))

    def resize(self, *, downloads: int, probes: int) -> None:
        """Change the numbers of slots."""
        self.downloads.resize(downloads, _most_transfers(downloads))
        self.probes.resize(probes)


def transfer_places(count: int) -> FairPlaces:
    """Slots for downloads or uploads. If there are several, one container cannot hold all of them."""
    return FairPlaces(count, _most_transfers(count))


def _most_transfers(count: int) -> int:
    return max(1, count - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """The part of the cell's configuration that steps use; durations in s.

    post_setup_hook: the command and its arguments; empty: no hook. work_dir: directory for copies of uploads.
    """

    graceful_shutdown_interval: float = 10.0
    healthy_monitoring_interval: float = 30.0
    unhealthy_monitoring_interval: float = 0.5
    default_check_timeout: float = 1.0
    post_setup_hook: tuple[str, ...] = ()
    post_setup_user: str = ""
    work_dir: Path = Path("/tmp")


def _ignore(_: object) -> None:
    """Default callback: does nothing."""


async def _no_network(_: object) -> socket.socket:
    """Default of ``open_socket``: fails because the container has no network."""
    raise ProbeNotMade("the container has no network")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTools:
    """Dependencies shared by the steps of all containers of a cell."""

    engine: Engine
    fetcher: ArchiveFetcher
    uploader: FileUploader
    settings: StepSettings = StepSettings()
    slots: StepSlots = field(default_factory=StepSlots)
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """One container and the dependencies of its steps.

    container: as it was when its steps were built. env: the instance's variables; each Run step adds those of
    the image, the action and the network. logs: the container's log streamer. on_readiness: called whenever
    routability changes. on_setup_end: called with whether setup succeeded. on_process_start: called with the
    path of a Run step that has started its process. on_liveness_failure: called with
    the kind (``tcp``, ``http``) of a failed liveness check. open_socket: opens a socket in the container's
    network, for checks. turns: shared by the probes of the container. lingering: owns the tasks that
    interrupted steps leave behind; settle it when the container is destroyed. history: the records of the
    steps, for a replay.
    """

    tools: StepTools
    container: Container
    engine_container: EngineContainer
    env: Env = ()
    logs: LogStreams
    on_readiness: Callable[[bool], None] = _ignore
    on_setup_end: Callable[[bool], None] = _ignore
    on_process_start: Callable[[str], None] = _ignore
    on_liveness_failure: Callable[[str], None] = _ignore
    open_socket: OpenSocket = _no_network
    turns: Turns = field(default_factory=Turns)
    recorder: TraceRecorder = field(default_factory=NoTrace)
    lingering: LingeringTasks = field(default_factory=LingeringTasks)
    history: History = field(default_factory=History)

    def traced(self, step: Step, node: Node) -> Traced:
        """The step with its events."""
        return Traced(step, node, self.container.guid, self.recorder, self.tools.clock)

    def activity(
        self,
        step: Step,
        node: Node,
        *,
        adopts: bool = False,
        release: Callable[[], Awaitable[None]] | None = None,
    ) -> Step:
        """The step as a leaf whose effect happens once, if the container outlives the agent."""
        if not self.history.durable:
            return step
        return Activity(step, node, self.history, self.tools.clock, adopts=adopts, release=release)

    def transfer_progress(self, node: Node) -> Progress:
        """The callback for the progress of a download or an upload."""
        return transfer_progress(node.path, self.recorder, self.tools.clock)

    async def sweep_processes(self, keep: Collection[str]) -> None:
        """End the processes of a previous agent process, but for ``keep``; a failure is logged."""
        try:
            await self.tools.engine.sweep_processes(self.engine_container, keep)
        except EngineError as error:
            data = {"guid": self.container.guid, "error": str(error)}
            logger.error("replay.failed-to-sweep", extra={"data": data})

    async def out_of_memory(self) -> bool:
        """Whether the container had an OOM event; False if the engine does not know."""
        try:
            return await self.tools.engine.out_of_memory(self.engine_container)
        except EngineError as error:
            data = {"guid": self.container.guid, "error": str(error)}
            logger.warning("run.failed-to-ask-for-oom", extra={"data": data})
            return False
