"""One run from start to end: start a cell, run the workload, stop the cell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from bbs.models.actions import Action
from cell.assembly.cell import Hooks, running_executor
from cell.errors import FAILED, HOST, SUCCESS, CommandError
from cell.runner.events import ContainerChanged, EventRecorder, ResultRead, Warned
from cell.runner.interrupts import Interrupts
from cell.runner.keep import attach_default_network, open_shell
from cell.runner.observed import ObservedEngine, PinnedNetwork, hold_ports
from cell.runner.options import Options
from cell.runner.request import Order
from cell.runner.verdict import Verdict, judge
from executor.clock import SystemClock
from executor.engine.api import Engine, EngineContainer
from executor.errors import ExecutorError, NetworkError
from executor.executor import Executor
from executor.logs.api import LogLine
from executor.model import Container, ContainerEvent, EventKind, RunResult
from executor.network.api import Network
from executor.network.config import NetworkConfig
from executor.steps.trace import StepEvent
from rep.config import RepConfig
from rep.results import ResultTooLarge, fetch_result


class _NullSink:
    """Sink for the cell's lines about a container's life, which the events repeat."""

    def emit(self, line: LogLine) -> None:
        """Dropped."""


class Session:
    """Runs one order and records its events. Use it once."""

    def __init__(
        self,
        order: Order,
        options: Options,
        recorder: EventRecorder,
        interrupts: Interrupts,
        *,
        failing_action: Callable[[], Action | None],
        pause: Callable[[], None],
    ) -> None:
        """failing_action: the failed action, called after a failure. pause: frees the terminal."""
        self._order = order
        self._options = options
        self._recorder = recorder
        self._interrupts = interrupts
        self._failing_action = failing_action
        self._pause = pause
        self._timed_out = False
        self._created: Callable[[], None] | None = None
        self._engine: ObservedEngine | None = None
        self._network: PinnedNetwork | None = None
        self.kept: EngineContainer | None = None
        """The container kept on request."""

    async def run(self, config: RepConfig) -> Verdict:
        """Raises CommandError and ExecutorError if the cell cannot start."""
        order = self._order
        wanted = tuple(order.host_ports.get(port, 0) for port in order.info.ports)
        hooks = Hooks(
            recorder=lambda _guid: self,
            engine=self._observed,
            network=lambda config: self._pinned(config, wanted),
            life_sink=_NullSink(),
        )
        verdict = None
        with hold_ports(tuple(port for port in wanted if port)):
            try:
                async with running_executor(config, self._recorder, hooks) as executor:
                    verdict = await self._in(executor)
                if self.kept is not None and self._network is not None:
                    await self._network.stop()
                elif executor.left_behind:
                    self._warn(f"the run's network is removed at the next run: {executor.left_behind}")
            except NetworkError as error:
                if verdict is None:
                    raise
                self._warn(f"the run's network is removed at the next run: {error}")
        return verdict

    def record(self, event: StepEvent) -> None:
        """Implements ``TraceRecorder``; the first step means that the container exists."""
        if self._created is not None:
            self._created()
            self._created = None
        self._recorder.record(event)

    def _observed(self, engine: Engine) -> Engine:
        self._engine = ObservedEngine(engine, self._recorder.record, SystemClock())
        return self._engine

    def _pinned(self, config: NetworkConfig, wanted: tuple[int, ...]) -> Network:
        self._network = PinnedNetwork(config, wanted)
        return self._network

    async def _in(self, executor: Executor) -> Verdict:
        guid = self._order.allocation.guid
        with executor.subscribe() as events:
            for failure in executor.allocate([self._order.allocation]):
                return Verdict(HOST, f"no room for the container: {failure.reason}")
            left = ""
            try:
                self._changed(executor.container(guid))
                await executor.run(self._order.run)
                self._changed(executor.container(guid))
                self._created = lambda: self._changed(executor.container(guid))
                async with asyncio.TaskGroup() as group:
                    stopper = group.create_task(self._stop_on_request(executor))
                    result = await self._end(events)
                    stopper.cancel()
                verdict = await self._aftermath(executor, self._verdict(result))
            finally:
                if self.kept is None:
                    left = await self._delete(executor)
        return Verdict(HOST, left) if left and verdict.exit_code == SUCCESS else verdict

    async def _aftermath(self, executor: Executor, verdict: Verdict) -> Verdict:
        """Read the result, and keep or enter the container, before its deletion."""
        path = self._order.result_file
        if path and verdict.exit_code == SUCCESS:
            try:
                text = await fetch_result(executor, self._order.allocation.guid, path)
            except (ResultTooLarge, ExecutorError) as error:
                verdict = Verdict(FAILED, f"result file {path}: {error}")
            else:
                self._recorder.record(ResultRead(time_ns=time.time_ns(), text=text))
        container = self._engine.container if self._engine is not None else None
        if container is None:
            return verdict
        try:
            if self._options.shell and verdict.exit_code == FAILED:
                self._pause()
                await open_shell(container, self._failing_action(), verdict.reason)
            if self._options.keep and self._network is not None:
                await self._network.detach(container.guid)
                self.kept = container
                await asyncio.to_thread(attach_default_network, container, self._options.docker_host)
        except (CommandError, ExecutorError) as error:
            self._warn(str(error))
        return verdict

    async def _delete(self, executor: Executor) -> str:
        """Destroy the container; returns the reason if it remains."""
        guid = self._order.allocation.guid
        try:
            await executor.delete(guid)
        except ExecutorError as error:
            text = f"container {guid} could not be removed: {error}"
            self._warn(text)
            return text
        return ""

    async def _end(self, events: AsyncIterator[ContainerEvent]) -> RunResult:
        async for event in events:
            if event.kind is not EventKind.RESERVED:
                self._changed(event.container)
            if event.kind is EventKind.COMPLETE:
                return event.container.run_result
        return RunResult(failed=True, failure_reason="the executor stopped before the container's end")

    async def _stop_on_request(self, executor: Executor) -> None:
        """Stop gracefully on a signal or at the time limit; on the next signal stop at once."""
        guid = self._order.allocation.guid
        forced = self._interrupts.forced
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await self._interrupts.requested.wait()
        except TimeoutError:
            self._timed_out = True
            forced = self._interrupts.requested
        try:
            await executor.stop(guid)
            await forced.wait()
            if self._engine is not None:
                await self._engine.destroy(guid)
        except ExecutorError as error:
            self._warn(f"container {guid} could not be stopped: {error}")

    def _verdict(self, result: RunResult) -> Verdict:
        return judge(
            result,
            interrupted=self._interrupts.requested.is_set(),
            timed_out_s=self._options.timeout_s if self._timed_out else None,
            fault=self._engine.fault if self._engine is not None else None,
        )

    def _warn(self, text: str) -> None:
        self._recorder.record(Warned(time_ns=time.time_ns(), text=text))

    def _changed(self, container: Container) -> None:
        self._recorder.record(
            ContainerChanged(
                time_ns=time.time_ns(),
                guid=container.guid,
                state=container.state.value,
                address=container.internal_ip,
                ports=tuple((port.host_port, port.container_port) for port in container.ports),
            )
        )
