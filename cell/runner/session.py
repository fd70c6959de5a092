"""One run, start to end: a cell of its own comes up, does the work, and goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from cell.compose import Hooks, running_executor
from cell.runner.errors import HOST, SUCCESS
from cell.runner.events import ContainerChanged, Story, Warned
from cell.runner.interrupts import Interrupts
from cell.runner.observed import ObservedEngine, PinnedPorts, hold_ports
from cell.runner.request import Order
from cell.runner.verdict import Verdict, judge
from executor.engine.api import Engine, Network
from executor.errors import ExecutorError, NetworkError
from executor.executor import Executor
from executor.logs.api import LogLine
from executor.logs.clock import SystemClock
from executor.model import Container, ContainerEvent, EventKind, RunResult
from rep.config import RepConfig


class _Unheard:
    """The cell's lines about a container's life: the story tells the same."""

    def emit(self, line: LogLine) -> None:
        """Dropped."""


class Session:
    """Runs one order under one configuration; the story hears of everything. Use it once."""

    def __init__(
        self, order: Order, config: RepConfig, story: Story, interrupts: Interrupts, timeout_s: float | None
    ) -> None:
        self._order = order
        self._config = config
        self._story = story
        self._interrupts = interrupts
        self._timeout_s = timeout_s
        self._timed_out = False
        self._engine: ObservedEngine | None = None
        self._network: PinnedPorts | None = None

    async def run(self) -> Verdict:
        """Raises HostCannot and ExecutorError where the cell itself could not come up."""
        order = self._order
        wanted = tuple(order.host_ports.get(port, 0) for port in order.info.ports)
        hooks = Hooks(
            recorder=lambda _guid: self._story,
            engine=self._observed,
            network=lambda network: self._pinned(network, wanted),
            life_sink=_Unheard(),
        )
        verdict = None
        with hold_ports(tuple(port for port in wanted if port)):
            try:
                async with running_executor(self._config, self._story, hooks) as executor:
                    verdict = await self._in(executor)
            except NetworkError as error:
                if verdict is None:
                    raise
                self._warn(f"the run's network stays until the next run: {error}")
        return verdict

    def _observed(self, engine: Engine) -> Engine:
        self._engine = ObservedEngine(engine, self._story.record, SystemClock())
        return self._engine

    def _pinned(self, network: Network, wanted: tuple[int, ...]) -> Network:
        self._network = PinnedPorts(network, wanted)
        return self._network

    async def _in(self, executor: Executor) -> Verdict:
        guid = self._order.allocation.guid
        with executor.subscribe() as events:
            for failure in executor.allocate([self._order.allocation]):
                return Verdict(HOST, f"no room for the container: {failure.reason}")
            try:
                await executor.run(self._order.run)
                self._changed(executor.container(guid))
                async with asyncio.TaskGroup() as group:
                    stopper = group.create_task(self._stop_when_asked(executor))
                    result = await self._end(events)
                    stopper.cancel()
                verdict = self._verdict(result)
            finally:
                left = await self._delete(executor)
        return Verdict(HOST, left) if left and verdict.exit_code == SUCCESS else verdict

    async def _delete(self, executor: Executor) -> str:
        """Destroy the container; answers why it is still there, if it is."""
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
            self._changed(event.container)
            if event.kind is EventKind.COMPLETE:
                return event.container.run_result
        return RunResult(failed=True, failure_reason="the executor stopped before the container's end")

    async def _stop_when_asked(self, executor: Executor) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._interrupts.wanted.wait()
        except TimeoutError:
            self._timed_out = True
        await executor.stop(self._order.allocation.guid)

    def _verdict(self, result: RunResult) -> Verdict:
        faults = [part.fault for part in (self._engine, self._network) if part is not None and part.fault]
        return judge(
            result,
            interrupted=self._interrupts.wanted.is_set(),
            timed_out_s=self._timeout_s if self._timed_out else None,
            fault=faults[0] if faults else None,
        )

    def _warn(self, text: str) -> None:
        self._story.record(Warned(time_ns=time.time_ns(), text=text))

    def _changed(self, container: Container) -> None:
        self._story.record(
            ContainerChanged(
                time_ns=time.time_ns(),
                guid=container.guid,
                state=container.state.value,
                address=container.internal_ip,
                ports=tuple((port.host_port, port.container_port) for port in container.ports),
            )
        )
