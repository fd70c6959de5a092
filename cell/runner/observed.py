"""Observed engine and network for the executor of a run.

The engine's calls become events. Requested host ports are reserved while the run lasts.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import ExitStack, asynccontextmanager
from typing import BinaryIO, TypeVar

from cell.errors import CommandError
from cell.runner.events import EngineCalled, EngineProgress, RunEvent
from executor.clock import Clock
from executor.engine.api import (
    ContainerSpec,
    Engine,
    EngineContainer,
    OutputHandler,
    Process,
    ProcessSpec,
)
from executor.errors import ContainerGone, EngineUnavailable, ExecutorError
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig

T = TypeVar("T")


class ObservedEngine:
    """Implements :class:`executor.engine.api.Engine` with another one; reports calls about containers.

    fault: the first error of the engine, the image or the machine (not of the workload).
    container: set while it exists.
    """

    def __init__(self, engine: Engine, record: Callable[[RunEvent], None], clock: Clock) -> None:
        self._engine = engine
        self._record = record
        self._clock = clock
        self.fault: ExecutorError | None = None
        self.container: EngineContainer | None = None

    async def ping(self) -> None:
        await self._engine.ping()

    async def create(
        self, spec: ContainerSpec, *, progress: Callable[[str], None] | None = None
    ) -> EngineContainer:
        def report(text: str) -> None:
            self._record(EngineProgress(time_ns=self._clock.time_ns(), text=text))
            if progress is not None:
                progress(text)

        call = self._engine.create(spec, progress=report)
        self.container = await self._observed(f"create container from {spec.root_fs}", call, faulty=True)
        return self.container

    async def destroy(self, guid: str) -> None:
        await self._observed("destroy container", self._engine.destroy(guid), faulty=True)
        self.container = None

    async def list_guids(self) -> set[str]:
        return await self._engine.list_guids()

    async def find(self, guid: str) -> EngineContainer | None:
        return await self._engine.find(guid)

    def detach(self) -> None:
        self._engine.detach()

    async def start_process(
        self,
        container: EngineContainer,
        spec: ProcessSpec,
        stdout: OutputHandler,
        stderr: OutputHandler,
        name: str = "",
    ) -> Process:
        call = self._engine.start_process(container, spec, stdout, stderr, name)
        return await self._observed(f"start process {spec.path}", call)

    async def adopt_process(
        self, container: EngineContainer, name: str, stdout: OutputHandler, stderr: OutputHandler
    ) -> Process | None:
        return await self._engine.adopt_process(container, name, stdout, stderr)

    async def sweep(self, keep: Collection[str]) -> None:
        await self._engine.sweep(keep)

    async def sweep_processes(self, container: EngineContainer, keep: Collection[str]) -> None:
        await self._engine.sweep_processes(container, keep)

    async def stream_in(self, container: EngineContainer, path: str, user: str, tar_path: str) -> None:
        call = self._engine.stream_in(container, path, user, tar_path)
        await self._observed(f"copy into {path}", call)

    async def copy_out(
        self, container: EngineContainer, path: str, user: str, target: BinaryIO, limit: int
    ) -> int:
        call = self._engine.copy_out(container, path, user, target, limit)
        return await self._observed(f"copy out of {path}", call)

    async def out_of_memory(self, container: EngineContainer) -> bool:
        return await self._engine.out_of_memory(container)

    async def has_ended(self, container: EngineContainer) -> bool:
        return await self._engine.has_ended(container)

    async def total_memory_bytes(self) -> int:
        return await self._engine.total_memory_bytes()

    async def storage_bytes(self) -> int:
        return await self._engine.storage_bytes()

    async def _observed(self, name: str, call: Awaitable[T], *, faulty: bool = False) -> T:
        async with self._timed(name, faulty=faulty):
            return await call

    @asynccontextmanager
    async def _timed(self, name: str, *, faulty: bool = False) -> AsyncIterator[None]:
        begun = self._clock.monotonic()
        text = "cancelled"
        try:
            yield
            text = ""
        except ExecutorError as error:
            text = str(error)
            if faulty or isinstance(error, EngineUnavailable | ContainerGone):
                self.fault = self.fault or error
            raise
        finally:
            seconds = self._clock.monotonic() - begun
            self._record(EngineCalled(time_ns=self._clock.time_ns(), seconds=seconds, call=name, error=text))


class PinnedNetwork(CellNetwork):
    """A cell's network with some fixed host ports."""

    def __init__(self, config: NetworkConfig, wanted: tuple[int, ...]) -> None:
        """wanted: a host port for each container port, in order; 0 for any."""
        super().__init__(config)
        self._wanted = wanted

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """The fixed ports, and ports of the pool for the others. Raises NoFreePorts."""
        free = iter(super().reserve(guid, self._wanted.count(0)))
        return tuple(port or next(free) for port in self._wanted)


def hold_ports(ports: tuple[int, ...]) -> ExitStack:
    """Reserve these host ports against other listeners. Raises CommandError for a port in use.

    Our packet rules take precedence over a listener, so they would cut off a running server.
    """
    with ExitStack() as held:
        for port in ports:
            holder = held.enter_context(socket.socket())
            try:
                holder.bind(("", port))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise CommandError(f"host port {port} cannot be used: {reason}") from error
        return held.pop_all()
