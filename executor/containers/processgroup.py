"""Process groups: the step tree of a created container and the parts that it uses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from executor.config import ExecutorConfig
from executor.containers.creation import instance_env
from executor.engine.api import EngineContainer
from executor.errors import NetworkError
from executor.identity.instances import Identity
from executor.logs.api import LogSink
from executor.logs.ledger import LogLedger
from executor.logs.streamer import LogStreamer
from executor.model import Container
from executor.network.api import Network
from executor.steps.base import Step
from executor.steps.check import valid_checks
from executor.steps.context import StepContext, StepSettings, StepTools
from executor.steps.group import CredentialedGroup
from executor.steps.lingering import LingeringTasks
from executor.steps.replay import History
from executor.steps.trace import TraceRecorder
from executor.steps.tree import ACTION, build_container_step
from executor.telemetry.meter import Meter
from executor.telemetry.stages import StartStages
from healthcheck.probe import ProbeNotMade

_LIVENESS_METRICS = {"http": "HTTPLivenessChecksFailedCount", "tcp": "TCPLivenessChecksFailedCount"}


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Implements :class:`executor.containers.facilities.ProcessGroup`."""

    step: Step
    streamer: LogStreamer
    lingering: LingeringTasks
    routable_when_ready: bool
    stages: StartStages
    reserved_for_s: Callable[[], float]

    def note_running(self) -> None:
        self.stages.running(self.reserved_for_s())

    def note_end(self, *, cancelled: bool) -> None:
        self.stages.gave_up(cancelled=cancelled)

    def update_tags(self, tags: Mapping[str, str]) -> None:
        self.streamer.update_tags(tags)

    async def close(self) -> None:
        await self.lingering.settle()
        self.streamer.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepGroups:
    """Builds the process groups of a cell (:data:`executor.containers.facilities.BuildGroup`).

    ledger: counts the log output of apps. identity: its runners renew a container's credentials while its
    steps run. recorder: returns the trace recorder of a container's steps, by guid. histories: returns the
    records of its steps.
    """

    config: ExecutorConfig
    tools: StepTools
    network: Network
    sink: LogSink
    meter: Meter
    ledger: LogLedger
    identity: Identity
    recorder: Callable[[str], TraceRecorder]
    histories: Callable[[str], History] = lambda _guid: History()

    def build(
        self,
        container: Container,
        engine_container: EngineContainer,
        started_at: float,
        on_readiness: Callable[[bool], None],
    ) -> StepGroup:
        """Build the steps of a container. Raises EmptyAction."""
        info = container.run_info
        streamer = LogStreamer(
            self.sink,
            info.log_config,
            info.log_rate_limit_bytes_per_second,
            self.config.max_log_lines_per_second,
            self.tools.clock,
            origin=self.config.log_origin,
            on_limit_exceeded=self.ledger.limit_exceeded,
            on_dropped=partial(self.ledger.dropped, container.guid),
        )
        self.ledger.enter(container.guid, streamer)
        lingering = LingeringTasks()
        history, clock = self.histories(container.guid), self.tools.clock
        stages = StartStages(self.meter.stages, container.guid, clock.monotonic, counts=not history.continues)
        context = StepContext(
            tools=self.tools,
            container=container,
            engine_container=engine_container,
            env=instance_env(self.config, info, self.identity.env),
            logs=streamer,
            on_readiness=on_readiness,
            on_setup_end=lambda succeeded: self._setup_ended(stages, succeeded, started_at),
            on_process_start=partial(_process_started, stages),
            on_liveness_failure=self._liveness_failed,
            open_socket=partial(self._open_socket, container.guid),
            recorder=self.recorder(container.guid),
            lingering=lingering,
            history=history,
        )
        step = build_container_step(info, context)
        if runner := self.identity.runner(container):
            step = CredentialedGroup(runner, step)
        return StepGroup(
            step,
            streamer,
            lingering,
            routable_when_ready=not checks_readiness(container),
            stages=stages,
            reserved_for_s=lambda: (clock.time_ns() - container.allocated_at) / 1e9,
        )

    async def _open_socket(self, guid: str, family: socket.AddressFamily) -> socket.socket:
        try:
            return await self.network.open_socket(guid, family)
        except NetworkError as error:
            raise ProbeNotMade(str(error)) from error

    def _setup_ended(self, stages: StartStages, succeeded: bool, started_at: float) -> None:
        stages.ended("setup", succeeded=succeeded)
        name = "ContainerSetupSucceededDuration" if succeeded else "ContainerSetupFailedDuration"
        self.meter.duration(name, self.tools.clock.monotonic() - started_at)

    def _liveness_failed(self, kind: str) -> None:
        if self.config.enable_healthcheck_metrics:
            self.meter.count(_LIVENESS_METRICS[kind])


def _process_started(stages: StartStages, path: str) -> None:
    if path.startswith(ACTION):
        stages.ended("start")


def step_settings(config: ExecutorConfig) -> StepSettings:
    """The settings of steps, taken from the configuration."""
    return StepSettings(
        graceful_shutdown_interval=config.graceful_shutdown_interval_s,
        healthy_monitoring_interval=config.healthy_monitoring_interval_s,
        unhealthy_monitoring_interval=config.unhealthy_monitoring_interval_s,
        default_check_timeout=config.declarative_healthcheck_default_timeout_s,
        post_setup_hook=config.post_setup_hook,
        post_setup_user=config.post_setup_user,
        work_dir=Path(config.work_dir),
    )


def checks_readiness(container: Container) -> bool:
    """Whether the container has a valid readiness check and becomes routable only when it passes."""
    definition = container.run_info.check_definition
    return definition is not None and bool(valid_checks(definition.readiness_checks))
