"""Recorded requests to a rep over a real socket: same status, headers and body."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from executor.model import (
    Container,
    ContainerMetrics,
    ContainerState,
    MetricsConfig,
    Resources,
    RunInfo,
    RunResult,
)
from rep import tags
from rep.config import RepConfig
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestMetrics
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.server import AdminRoutes, NetworkRoutes, listening
from rep.state import CellIdentity
from tests.support.outcomes import idle_courier

if TYPE_CHECKING:
    from tests.support.captures import Capture, Exchange
    from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

S = ContainerState
STACK = "/stacks/cflinuxfs4.tar"
COMPARED = ("Content-Type", "Content-Length", "Allow", "X-Content-Type-Options")
PLENTY = Resources(memory_mb=12000, disk_mb=20000, containers=249)
LRP_STATES = {
    "CLAIMED": (S.CREATED, RunResult()),
    "RUNNING": (S.RUNNING, RunResult()),
    "SHUTDOWN": (S.COMPLETED, RunResult()),
    "CRASHED": (S.COMPLETED, RunResult(failed=True)),
}


class Rep:
    """A rep in the situation that a recorded exchange shows."""

    def __init__(self, executor: FakeExecutor, exchange: Exchange) -> None:
        self.executor = executor
        self.evacuation = EvacuationFlag()
        self._exchange = exchange
        executor.store.clear()
        executor.readings.clear()
        executor.total, executor.healthy = PLENTY, exchange.status != 503
        executor.put(Container(guid="golden-busy-task", tags=tags.task_tags("golden", None, [])))
        self._config = self._situation()

    def _situation(self) -> RepConfig:
        exchange = self._exchange
        answer = json.loads(exchange.answer) if exchange.answer[:1] == b"{" else {}
        if exchange.path == "/state" and answer:
            return self._as_told(answer)
        if exchange.path == "/container_metrics" and answer:
            self._with_readings(answer)
        if "instances" in exchange.path and exchange.status == 202:
            path = exchange.path.split("/")
            self.executor.put(Container(guid=path[path.index("instances") + 1]))
        if exchange.path == "/work" and answer.get("cell_id"):
            self.evacuation.set()  # only then it comes back with the cell's id
        return RepConfig(cell_id=exchange.cell, supported_providers=("docker",))

    def _as_told(self, state: dict[str, Any]) -> RepConfig:
        if state["Evacuating"]:
            self.evacuation.set()
        self.executor.store.clear()
        self.executor.total = Resources(
            memory_mb=state["TotalResources"]["MemoryMB"],
            disk_mb=state["TotalResources"]["DiskMB"],
            containers=state["TotalResources"]["Containers"],
        )
        starting = state["StartingContainerCount"]
        for entry in state["LRPs"]:
            starting -= entry["state"] == "CLAIMED"
            self.executor.put(_lrp(entry))
        for entry in state["Tasks"]:
            # a task's entry does not tell whether its container was still starting
            is_starting = entry["state"] == "Running" and starting > 0
            starting -= is_starting
            self.executor.put(_task(entry, is_starting))
        return RepConfig(
            cell_id=state["cell_id"],
            cell_index=state["cell_index"],
            zone=state["Zone"],
            supported_providers=("docker",),
            placement_tags=tuple(state["PlacementTags"]),
            optional_placement_tags=tuple(state["OptionalPlacementTags"]),
        )

    def _with_readings(self, metrics: dict[str, Any]) -> None:
        self.executor.store.clear()
        for entry in metrics["lrps"]:
            labels = {
                tags.LIFECYCLE: "lrp",
                tags.DOMAIN: "golden",
                tags.PROCESS_GUID: entry["process_guid"],
                tags.PROCESS_INDEX: str(entry["index"]),
                tags.INSTANCE_GUID: entry["instance_guid"],
            }
            self._read(entry["instance_guid"], entry, labels)
        for entry in metrics["tasks"]:
            self._read(entry["task_guid"], entry, tags.task_tags("golden", None, None))

    def _read(self, guid: str, entry: dict[str, Any], labels: dict[str, str]) -> None:
        config = MetricsConfig(guid=entry["metric_guid"])
        self.executor.put(Container(guid=guid, tags=labels, run_info=RunInfo(metrics_config=config)))
        self.executor.readings[guid] = ContainerMetrics(
            memory_usage=entry["memory_usage_bytes"],
            memory_limit=entry["memory_quota_bytes"],
            disk_usage=entry["disk_usage_bytes"],
            disk_limit=entry["disk_quota_bytes"],
            cpu_percentage=entry["cpu_usage_fraction"] * 100,
        )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Base URL of the side that was asked."""
        deletions = Deletions(self.executor, Removals())
        port = 18801 if self._config.cell_id == "cell-ref-0" else 18811
        identity = CellIdentity(
            config=self._config,
            rep_url=f"https://{self._config.cell_id}.cell.service.cf.internal:{port}",
            stacks=StackMap({"cflinuxfs4": STACK}),
        )
        courier = idle_courier()
        network = NetworkRoutes(
            identity, self.executor, self.evacuation, deletions, RequestMetrics(), courier.ledger
        )
        side = AdminRoutes(self.evacuation, courier) if self._exchange.on_admin_side else network
        async with deletions.open(), listening(side.application(), "127.0.0.1:0", None) as address:
            yield f"http://{address.host}:{address.port}"


def _lrp(entry: dict[str, Any]) -> Container:
    state, result = LRP_STATES[entry["state"]]
    labels = {
        tags.LIFECYCLE: "lrp",
        tags.DOMAIN: entry["domain"],
        tags.PROCESS_GUID: entry["process_guid"],
        tags.PROCESS_INDEX: str(entry["index"]),
        tags.INSTANCE_GUID: entry["instance_guid"],
    }
    return _container(entry, entry["instance_guid"], state, result, labels)


def _task(entry: dict[str, Any], is_starting: bool) -> Container:
    running = S.CREATED if is_starting else S.RUNNING
    state = S.COMPLETED if entry["state"] == "Completed" else running
    labels = {tags.LIFECYCLE: "task", tags.DOMAIN: entry["Domain"]}
    return _container(entry, entry["TaskGuid"], state, RunResult(failed=entry["failed"]), labels)


def _container(
    entry: dict[str, Any], guid: str, state: S, result: RunResult, labels: dict[str, str]
) -> Container:
    stacks = {"preloaded:cflinuxfs4": STACK}
    return Container(
        guid=guid,
        state=state,
        memory_mb=entry["MemoryMB"],
        disk_mb=entry["DiskMB"],
        max_pids=entry["MaxPids"],
        run_info=RunInfo(root_fs=stacks.get(entry["RootFs"], entry["RootFs"])),
        run_result=result,
        tags={
            **labels,
            tags.PLACEMENT_TAGS: json.dumps(entry["PlacementTags"]),
            tags.VOLUME_DRIVERS: json.dumps(entry["VolumeDrivers"]),
        },
    )


@pytest.mark.captures("rep")
async def test_recorded_requests_are_answered_as_recorded(capture: Capture, executor: FakeExecutor) -> None:
    async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:
        for exchange in capture.exchanges:
            async with Rep(executor, exchange).listening() as url:
                await _ask(session, url, exchange)


async def _ask(session: aiohttp.ClientSession, url: str, exchange: Exchange) -> None:
    passed = {
        name: value
        for name, value in exchange.headers.items()
        if name in ("Content-Type", "X-Vcap-Request-Id")
    }
    async with session.request(
        exchange.method, url + exchange.path, data=exchange.body, headers=passed
    ) as answer:
        body = await answer.read()
    about = f"{exchange.name} ({exchange.body!r})"
    assert answer.status == exchange.status, about
    assert body == exchange.answer, about
    expected = {name: value for name, value in exchange.answer_headers.items() if name in COMPARED}
    assert {name: value for name, value in answer.headers.items() if name in COMPARED} == expected, about
