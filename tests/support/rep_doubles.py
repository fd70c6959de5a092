"""Scripted executor, BBS and Locket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from grpc import StatusCode

from bbs.client.locket import LocketError
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, Presence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import Event
from bbs.models.locket import Resource
from bbs.models.task import Task, TaskDefinition
from executor.errors import ContainerNotFound, ExecutorError, FileTooLarge, NoSuchFile
from executor.logs.api import Stream
from executor.model import (
    AllocationFailure,
    AllocationRequest,
    Container,
    ContainerEvent,
    ContainerMetrics,
    ContainerState,
    EventKind,
    Resources,
    RunRequest,
    UpdateRequest,
)
from rep import tags
from rep.config import RepConfig, parse

CELL = "cell-1"
INSTANCE = "11111111-2222-3333-4444-5555"
TASK = "task-1"
KEY = ActualLRPKey(process_guid="web", index=2, domain="apps")
INSTANCE_KEY = ActualLRPInstanceKey(instance_guid=INSTANCE, cell_id=CELL)


def agent_config(**keys: str) -> RepConfig:
    """Of a cell that listens on free ports; nothing is where its BBS and Locket should be."""
    usual = {
        "cell_id": CELL,
        "zone": "z1",
        "bbs_address": "http://127.0.0.1:1",
        "locket_address": "127.0.0.1:2",
        "listen_addr": "127.0.0.1:0",
        "listen_addr_securable": "127.0.0.1:0",
        "rep_url": "http://127.0.0.1:1801",
        "on_stop": "destroy",
        "evacuation_polling_interval": "20ms",
    }
    return parse(json.dumps(usual | keys))


class FakeExecutor:
    """Containers in a dictionary. A call fails with what stands for it in ``errors``."""

    def __init__(self, total: Resources) -> None:
        self.store: dict[str, Container] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.errors: dict[str, ExecutorError] = {}
        self.logged: list[tuple[str, str]] = []
        self.readings: dict[str, ContainerMetrics] = {}
        self.files: dict[str, bytes] = {}
        self.drivers: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.healthy = True
        self.unknown: dict[str, float] = {}
        self.total = total
        self._subscribers: list[asyncio.Queue[ContainerEvent | None]] = []

    def put(self, *containers: Container) -> None:
        """Make containers exist as they are."""
        for container in containers:
            self.store[container.guid] = container

    def tell(self, kind: EventKind, container: Container, trace_id: str = "") -> None:
        """Set the state of a container, and publish the event."""
        self.put(container)
        for queue in self._subscribers:
            queue.put_nowait(ContainerEvent(kind=kind, container=container, trace_id=trace_id))

    def end_events(self) -> None:
        for queue in self._subscribers:
            queue.put_nowait(None)

    def allocate(
        self, requests: Sequence[AllocationRequest], *, trace_id: str = ""
    ) -> list[AllocationFailure]:
        failures = []
        for request in requests:
            left = self.remaining_resources()
            short = request.memory_mb > left.memory_mb or request.disk_mb > left.disk_mb
            if request.guid in self.store or short:
                failures.append(AllocationFailure(request=replace(request), reason="refused"))
                continue
            container = Container(
                guid=request.guid,
                memory_mb=request.memory_mb,
                disk_mb=request.disk_mb,
                max_pids=request.max_pids,
                tags=request.tags,
            )
            self.tell(EventKind.RESERVED, container, trace_id)
        return failures

    async def run(self, request: RunRequest, *, trace_id: str = "") -> None:
        await self._called("run", request, trace_id)
        container = self.container(request.guid)
        merged = {**container.tags, **request.tags}
        self.put(
            replace(container, state=ContainerState.INITIALIZING, run_info=request.run_info, tags=merged)
        )

    def container(self, guid: str) -> Container:
        if guid not in self.store:
            raise ContainerNotFound
        return self.store[guid]

    def containers(self) -> list[Container]:
        return list(self.store.values())

    async def update(self, request: UpdateRequest, *, trace_id: str = "") -> None:
        await self._called("update", request, trace_id)
        self.container(request.guid)

    async def stop(self, guid: str, *, trace_id: str = "") -> None:
        await self._called("stop", guid, trace_id)
        self.container(guid)

    async def delete(self, guid: str, *, trace_id: str = "") -> None:
        await self._called("delete", guid, trace_id)
        self.container(guid)
        del self.store[guid]

    async def force_destroy(self, guid: str, *, trace_id: str = "") -> None:
        await self._called("force_destroy", guid, trace_id)
        self.container(guid)
        del self.store[guid]

    async def read_file(self, guid: str, path: str, limit: int) -> bytes:
        self.container(guid)
        if path not in self.files:
            raise NoSuchFile(f"{path}: no such file or directory")
        if len(self.files[path]) > limit:
            raise FileTooLarge
        return self.files[path]

    def orphans(self) -> Mapping[str, float]:
        return self.unknown

    async def remove_orphan(self, guid: str) -> None:
        await self._called("remove_orphan", guid)
        if self.unknown.pop(guid, None) is None:
            raise ContainerNotFound

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[ContainerEvent]]:
        queue: asyncio.Queue[ContainerEvent | None] = asyncio.Queue()
        self._subscribers.append(queue)

        async def events() -> AsyncIterator[ContainerEvent]:
            while (event := await queue.get()) is not None:
                yield event

        try:
            yield events()
        finally:
            self._subscribers.remove(queue)

    def total_resources(self) -> Resources:
        return self.total

    def remaining_resources(self) -> Resources:
        return Resources(
            memory_mb=self.total.memory_mb - sum(item.memory_mb for item in self.store.values()),
            disk_mb=self.total.disk_mb - sum(item.disk_mb for item in self.store.values()),
            containers=self.total.containers - len(self.store),
        )

    def volume_drivers(self) -> list[str]:
        if "volume_drivers" in self.errors:
            raise self.errors["volume_drivers"]
        return self.drivers

    def metrics(self) -> Mapping[str, ContainerMetrics]:
        return self.readings

    def log(self, guid: str, text: str, stream: Stream = Stream.OUT) -> None:
        self.container(guid)
        self.logged.append((guid, text))

    async def _called(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.errors:
            raise self.errors[name]


class ScriptedBBS:
    """Any call of a BBS client: recorded, and answered from ``answers`` (a value or an error per call)."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, list[Any]] = {}
        self.streams: list[asyncio.Queue[Any]] = []
        self.subscriptions: list[str] = []
        self.defaults: dict[str, Any] = {
            "actual_lrps": [],
            "tasks": [],
            "start_task": True,
            "evacuate_running_actual_lrp": True,
            "desired_lrp": DesiredLRP(process_guid="web", domain="apps", log_guid="log-web"),
            "task": Task(
                task_guid=TASK, domain="apps", task_definition=TaskDefinition(result_file="/result")
            ),
        }

    @asynccontextmanager
    async def lrp_instance_events(self, cell_id: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """One stream per entry of ``streams``, each a queue with an end (None) or an error; then silence."""
        self.subscriptions.append(cell_id)
        queue = self.streams.pop(0) if self.streams else asyncio.Queue()

        async def events() -> AsyncIterator[Event]:
            while (event := await queue.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event

        yield events()

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            self.arguments.append((arguments, named))
            queued = self.answers.get(name, [])
            answer = queued.pop(0) if queued else self.defaults.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call

    def last(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the latest call of that name."""
        position = len(self.calls) - 1 - self.calls[::-1].index(name)
        return self.arguments[position]


class FakeLocket:
    """Keys and owners, without a TTL. ``down`` makes every call fail."""

    def __init__(self) -> None:
        self.held: dict[str, Resource] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.down = False

    async def lock(self, resource: Resource, ttl_s: int, **options: Any) -> None:
        self.calls.append(("lock", {"ttl_s": ttl_s, **options}))
        self._check(resource)
        self.held[resource.key] = resource

    async def release(self, resource: Resource, **options: Any) -> None:
        self.calls.append(("release", options))
        self._check(resource)
        self.held.pop(resource.key, None)

    async def fetch(self, key: str, **options: Any) -> Resource:
        self.calls.append(("fetch", options))
        if key not in self.held:
            raise LocketError(StatusCode.NOT_FOUND, "resource-not-found")
        return self.held[key]

    def _check(self, resource: Resource) -> None:
        if self.down:
            raise LocketError(StatusCode.UNAVAILABLE, "connection refused")
        holder = self.held.get(resource.key)
        if holder is not None and holder.owner != resource.owner:
            raise LocketError(StatusCode.ALREADY_EXISTS, "lock-collision")


class RecordedMetrics:
    """Gauges as they came."""

    def __init__(self) -> None:
        self.gauges: list[tuple[str, float, str, Mapping[str, str]]] = []

    def gauge(self, name: str, value: float, unit: str, tags: Mapping[str, str] | None = None) -> None:
        self.gauges.append((name, value, unit, tags or {}))


def lrp_container(state: ContainerState = ContainerState.RESERVED, **values: Any) -> Container:
    """A container of the LRP instance ``INSTANCE``."""
    described = {
        "guid": INSTANCE,
        "external_ip": "192.0.2.1",
        "tags": tags.lrp_tags(KEY, INSTANCE, None, []),
    }
    return Container(state=state, **{**described, **values})


def task_container(
    state: ContainerState = ContainerState.RESERVED, result_file: str = "", **values: Any
) -> Container:
    """A container of the task ``TASK``."""
    described = tags.task_tags("apps", None, None)
    if result_file:
        described[tags.RESULT_FILE] = result_file
    return Container(guid=TASK, state=state, tags=described, **values)


def actual_lrp(presence: Presence = Presence.ORDINARY, guid: str = INSTANCE) -> ActualLRP:
    """A record of an instance."""
    return ActualLRP(
        actual_lrp_key=KEY,
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid=guid, cell_id=CELL),
        presence=presence,
    )
