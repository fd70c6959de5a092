"""Scripted engine, network and step groups, and an executor on top of them."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any, BinaryIO

from bbs.models.actions import RunAction
from bbs.models.workload import SecurityGroupRule
from executor.api import ExecutorAPI
from executor.config import ExecutorConfig
from executor.containers.creation import OptionalResources
from executor.engine.api import (
    BindMount,
    ContainerSpec,
    EngineContainer,
    OutputHandler,
    Process,
    ProcessSpec,
)
from executor.errors import NoFreePorts
from executor.executor import Executor
from executor.journal.detachable import DetachableJournal
from executor.model import (
    AllocationRequest,
    Container,
    ContainerEvent,
    EventKind,
    LogConfig,
    RunInfo,
    RunRequest,
)
from executor.network.api import Lease
from executor.network.footprint import Footprint
from executor.telemetry.meter import Meter
from tests.support.clocks import HeldClock
from tests.support.journals import FailingJournal
from tests.support.loglines import RecordingSink
from tests.support.waiting import PATIENCE_S

CELL = "cell-1"


class ScriptedProcess:
    """Ends with the status it was given, at once or when its gate opens, or of a signal."""

    pid = 4242
    released = False

    def __init__(self, status: int, gate: asyncio.Event | None) -> None:
        self._status = status
        self._ended = gate or asyncio.Event()
        if gate is None:
            self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return self._status

    async def signal(self, signum: int) -> None:
        self._status = 128 + signum
        self._ended.set()

    async def release(self) -> None:
        self.released = True


class ScriptedEngine:
    """Containers in a dictionary. An operation fails with what is queued for it, and waits at its gate."""

    def __init__(self) -> None:
        self.containers: dict[str, ContainerSpec] = {}
        self.failures: dict[str, list[Exception]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.ids: dict[str, str] = {}
        self.stopped: set[str] = set()
        """Guids of containers that exist but do not run."""
        self.detached = False
        self.calls: list[str] = []
        self.called = asyncio.Condition()
        self.exit_status = 0
        self.processes: list[ProcessSpec] = []
        self.memory_bytes = 16 << 30
        self.disk_bytes = 100 << 30

    async def _perform(self, operation: str) -> None:
        if self.detached:
            raise asyncio.CancelledError
        self.calls.append(operation)
        async with self.called:
            self.called.notify_all()
        name = operation.split()[0]
        if name in self.gates:
            await self.gates[name].wait()
        if self.failures.get(name):
            raise self.failures[name].pop(0)

    async def reached(self, operation: str) -> None:
        """Wait until an operation was begun."""
        async with self.called:
            await self.called.wait_for(lambda: operation in self.calls)

    async def ping(self) -> None:
        await self._perform("ping")

    async def create(
        self, spec: ContainerSpec, *, progress: Callable[[str], None] | None = None
    ) -> EngineContainer:
        await self._perform(f"create {spec.guid}")
        self.containers[spec.guid] = spec
        return self._made(spec)

    async def destroy(self, guid: str) -> None:
        await self._perform(f"destroy {guid}")
        self.containers.pop(guid, None)
        self.ids.pop(guid, None)
        self.stopped.discard(guid)

    async def list_guids(self) -> set[str]:
        await self._perform("list_guids")
        return set(self.containers)

    async def find(self, guid: str) -> EngineContainer | None:
        await self._perform(f"find {guid}")
        spec = self.containers.get(guid)
        if spec is None or guid in self.stopped:
            return None
        return self._made(spec)

    def _made(self, spec: ContainerSpec) -> EngineContainer:
        mounted = tuple(mount.source for mount in spec.mounts)
        made = self.ids.setdefault(spec.guid, f"id-{spec.guid}")
        return EngineContainer(guid=spec.guid, id=made, init_pid=1, address=spec.address, mounted=mounted)

    def detach(self) -> None:
        self.detached = True

    async def start_process(
        self,
        container: EngineContainer,
        spec: ProcessSpec,
        stdout: OutputHandler,
        stderr: OutputHandler,
        name: str = "",
    ) -> Process:
        await self._perform(f"start_process {container.guid}")
        self.processes.append(spec)
        return ScriptedProcess(self.exit_status, self.gates.get("exit"))

    async def adopt_process(
        self, container: EngineContainer, name: str, stdout: OutputHandler, stderr: OutputHandler
    ) -> Process | None:
        await self._perform(f"adopt_process {container.guid}")
        return ScriptedProcess(self.exit_status, self.gates.get("exit"))

    async def sweep(self, keep: Collection[str]) -> None:
        """No files of this engine are left behind."""

    async def sweep_processes(self, container: EngineContainer, keep: Collection[str]) -> None:
        """No process of this engine is left behind."""

    async def stream_in(self, container: EngineContainer, path: str, user: str, tar_path: str) -> None:
        await self._perform(f"stream_in {container.guid}")

    async def copy_out(
        self, container: EngineContainer, path: str, user: str, target: BinaryIO, limit: int
    ) -> int:
        await self._perform(f"copy_out {container.guid}")
        return target.write(f"{user} reads {path}".encode())

    async def out_of_memory(self, container: EngineContainer) -> bool:
        return False

    async def has_ended(self, container: EngineContainer) -> bool:
        return False

    async def total_memory_bytes(self) -> int:
        return self.memory_bytes

    async def storage_bytes(self) -> int:
        return self.disk_bytes


class ScriptedNetwork:
    """A pool of host ports from 61001 and the mappings that are in force."""

    external_ip = "192.0.2.9"

    def __init__(self) -> None:
        self.free = list(range(61001, 61011))
        self.reserved: dict[str, tuple[int, ...]] = {}
        self.mappings: dict[str, Mapping[int, int]] = {}
        self.addresses: dict[str, str] = {}
        self.egress: dict[str, tuple[SecurityGroupRule, ...]] = {}
        self.verified = asyncio.Event()
        self.first_address = "10.255.0.7"
        self.failures: dict[str, list[Exception]] = {}
        self.running = False
        self.closed = False
        self.leases: dict[str, Lease] = {}
        self.refused: dict[str, str] = {}
        self.on_message: Callable[[str, str], None] = lambda guid, text: None
        self.on_unreachable = self.on_message
        self.swept = False
        self.footprints = (Footprint(name="cell", table="cell", subnet="10.255.0.0/16", subnet_ipv6="none"),)
        self.previous: tuple[Footprint, ...] = ()

    def _fail(self, name: str) -> None:
        if self.failures.get(name):
            raise self.failures[name].pop(0)

    async def start(
        self, leases: Sequence[Lease] = (), previous: Sequence[Footprint] = ()
    ) -> Mapping[str, str]:
        self.previous = tuple(previous)
        self._fail("start")
        self.running = True
        self.closed = False
        self.leases = {lease.guid: lease for lease in leases}
        for lease in leases:
            self.addresses[lease.guid] = lease.address
            self.reserved[lease.guid] = tuple(lease.ports)
            self.free = [port for port in self.free if port not in lease.ports]
            if lease.container is not None and lease.guid not in self.refused:
                self.mappings[lease.guid] = lease.ports
                self.egress[lease.guid] = tuple(lease.egress)
        return {guid: reason for guid, reason in self.refused.items() if guid in self.leases}

    async def stop(self) -> None:
        self._fail("stop")
        self.running = False

    async def sweep(self) -> None:
        self._fail("sweep")
        self.swept = self.running

    async def close(self) -> None:
        self.closed = True

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        if count > len(self.free):
            raise NoFreePorts
        taken, self.free = tuple(self.free[:count]), self.free[count:]
        self.reserved[guid] = taken
        return taken

    def address(self, guid: str) -> str:
        following = str(IPv4Address(self.first_address) + len(self.addresses))
        return self.addresses.setdefault(guid, following)

    async def attach(
        self,
        container: EngineContainer,
        ports: Mapping[int, int],
        egress: Sequence[SecurityGroupRule] = (),
    ) -> None:
        self._fail("attach")
        self.mappings[container.guid] = ports
        self.egress[container.guid] = tuple(egress)

    async def open_socket(self, guid: str, family: socket.AddressFamily) -> socket.socket:
        self._fail("open_socket")
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    async def watch(
        self, on_message: Callable[[str, str], None], on_unreachable: Callable[[str, str], None]
    ) -> None:
        self.on_message, self.on_unreachable = on_message, on_unreachable
        await asyncio.Event().wait()

    async def verify(self) -> None:
        self._fail("verify")
        self.verified.set()

    async def detach(self, guid: str) -> None:
        if self.closed:
            return
        self._fail("detach")
        self.addresses.pop(guid, None)
        self.mappings.pop(guid, None)
        self.free = sorted([*self.free, *self.reserved.pop(guid, ())])


class ScriptedDependencies:
    """Mounts that are given, or the failure that is."""

    def __init__(self) -> None:
        self.result: tuple[BindMount, ...] | Exception = ()
        self.release_failures: list[Exception] = []
        self.released: list[str] = []
        self.held: dict[str, tuple[str, ...]] = {}
        self.swept = False

    def adopt(self, guid: str, mounted: Sequence[str]) -> None:
        self.held[guid] = tuple(mounted)

    async def sweep(self) -> None:
        self.swept = True

    async def mounts(self, container: Container) -> tuple[BindMount, ...]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def release(self, guid: str) -> None:
        self.held.pop(guid, None)
        if self.release_failures:
            raise self.release_failures.pop(0)
        self.released.append(guid)


class ScriptedGroup:
    """A container's steps: they end when the test says so, or with ``dying`` when interrupted."""

    def __init__(self, container: Container, flip: Callable[[bool], None]) -> None:
        self.container = container
        self.flip_readiness = flip
        self.ready = asyncio.Event()
        self.started = asyncio.Event()
        self.interrupts = 0
        self.interrupted = asyncio.Event()
        self.may_die = asyncio.Event()
        self.may_die.set()
        self.dying: BaseException | None = asyncio.CancelledError()
        self.routable_when_ready = True
        self.tags: Mapping[str, str] | None = None
        self.closed = False
        self.close_failure: Exception | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def step(self) -> ScriptedGroup:
        return self

    def note_running(self) -> None:
        """Nothing is measured."""

    def note_end(self, *, cancelled: bool) -> None:
        """Nothing is measured."""

    def update_tags(self, tags: Mapping[str, str]) -> None:
        self.tags = tags

    async def close(self) -> None:
        self.closed = True
        if self.close_failure is not None:
            raise self.close_failure

    @property
    def ended(self) -> bool:
        return self._end.done()

    def end(self, error: Exception | None = None) -> None:
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    async def run(self) -> None:
        self.started.set()
        try:
            await self._end
        except asyncio.CancelledError:
            self.interrupts += 1
            self.interrupted.set()
            await self.may_die.wait()
            if self.dying is not None:
                raise self.dying from None


class ScriptedGroups:
    """Keeps the groups it made, by guid."""

    def __init__(self) -> None:
        self.groups: dict[str, ScriptedGroup] = {}
        self.failure: Exception | None = None
        self.routable_when_ready = True
        self.built: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def __call__(
        self,
        container: Container,
        engine_container: EngineContainer,
        started_at: float,
        on_readiness: Callable[[bool], None],
    ) -> ScriptedGroup:
        if self.failure is not None:
            raise self.failure
        group = ScriptedGroup(container, on_readiness)
        group.routable_when_ready = self.routable_when_ready
        self.groups[container.guid] = group
        self.built[container.guid].set()
        return group


class EventReader:
    """A subscription, read with a limit so that a missing event fails the test instead of hanging it."""

    def __init__(self, events: AsyncIterator[ContainerEvent]) -> None:
        self._events = events
        self.seen: list[ContainerEvent] = []

    async def next(self) -> ContainerEvent:
        async with asyncio.timeout(PATIENCE_S):
            event = await anext(self._events)
        self.seen.append(event)
        return event

    async def until(self, kind: EventKind) -> Container:
        """The container of the next event of a kind."""
        while (event := await self.next()).kind is not kind:
            pass
        return event.container


def allocation(guid: str = "ig", **changes: Any) -> AllocationRequest:
    request = AllocationRequest(guid=guid, memory_mb=128, disk_mb=256, tags={"lifecycle": "lrp"})
    return replace(request, **changes)


def run_request(guid: str = "ig", **changes: Any) -> RunRequest:
    """changes: of the run info."""
    info = RunInfo(
        root_fs="docker:///busybox",
        action=RunAction(path="/app", user="vcap"),
        log_config=LogConfig(guid="log-guid", index=3, source_name="APP"),
    )
    return RunRequest(guid=guid, run_info=replace(info, **changes), tags={"domain": "d"})


async def begin(executor: ExecutorAPI, guid: str = "ig", **changes: Any) -> None:
    """Allocate a container and run it. changes: of the run info."""
    executor.allocate([allocation(guid)])
    await executor.run(run_request(guid, **changes))


@dataclass
class World:
    """An executor and everything it is built on."""

    config: ExecutorConfig
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    probe_engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    network: ScriptedNetwork = field(default_factory=ScriptedNetwork)
    dependencies: ScriptedDependencies = field(default_factory=ScriptedDependencies)
    groups: ScriptedGroups = field(default_factory=ScriptedGroups)
    sink: RecordingSink = field(default_factory=RecordingSink)
    meter: Meter = field(default_factory=Meter)
    clock: HeldClock = field(default_factory=lambda: HeldClock(1_000_000.0))
    resources: OptionalResources = field(default_factory=OptionalResources)
    journal: FailingJournal = field(default_factory=FailingJournal)

    def configure(self, **changes: Any) -> None:
        self.config = replace(self.config, **changes)

    def build(self) -> Executor:
        return Executor(
            self.config,
            journal=DetachableJournal(self.journal),
            engine=self.engine,
            probe_engine=self.probe_engine,
            network=self.network,
            sink=self.sink,
            dependencies=self.dependencies,
            build_group=self.groups,
            meter=self.meter,
            clock=self.clock,
            resources=self.resources,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[ExecutorAPI, EventReader]]:
        async with self.build() as executor:
            with executor.subscribe() as events:
                yield executor, EventReader(events)

    def later(self, *, same_boot: bool = True, **settings: Any) -> World:
        """The world of the next agent process: the same engine, host and journal."""
        self.engine.detached = False
        return World(
            replace(self.config, **settings),
            engine=self.engine,
            network=self.network,
            dependencies=self.dependencies,
            resources=self.resources,
            clock=self.clock,
            journal=FailingJournal(self.journal.rows, same_boot=same_boot),
        )

    async def group(self, guid: str) -> ScriptedGroup:
        """The container's steps once they run."""
        async with asyncio.timeout(PATIENCE_S):
            await self.groups.built[guid].wait()
            group = self.groups.groups[guid]
            await group.started.wait()
        return group
