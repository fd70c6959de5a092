"""Three cells under one control plane, each a process: one is killed and restarted, one is evacuated."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import docker
import pytest
import pytest_asyncio

from bbs.client.http import HTTPBBSClient
from bbs.client.tls import client_context
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.workload import Check, CheckDefinition, TCPCheck
from cell.development.certs import identity_files
from cell.development.local import local_cell
from cell.development.slots import take_slots
from executor.engine.createrequest import LABEL_CELL, LABEL_GUID
from tests.support.local_reps import QUICK, LocalRep
from tests.support.thorough import THOROUGH
from tests.support.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

DRAIN = Path(__file__).parents[2] / "packaging" / "drain" / "drain"
CONVERGENCE_S = 1.0
PRESENCE_TTL_S = 3
SETTINGS = {**QUICK, "lock_ttl": f"{PRESENCE_TTL_S}s"}
START_S = 6.0
"""For containers to be made and found healthy."""


@dataclass
class Cluster:
    """A control plane and its cells, and a router's view of them.

    slowness: by what the limits of time are longer, because the machine is busy: 1 or more.
    """

    bbs: HTTPBBSClient
    cells: list[LocalRep]
    guids: set[str] = field(default_factory=set)
    """Instances ever seen."""
    slowness: float = 1.0

    async def rows(self, process_guid: str) -> list[ActualLRP]:
        rows = [
            row for row in await self.bbs.actual_lrps(process_guid=process_guid) if row.state != "UNCLAIMED"
        ]
        self.guids |= {row.actual_lrp_instance_key.instance_guid for row in rows} - {""}
        return rows

    async def until(
        self, process_guid: str, holds: Callable[[list[ActualLRP]], bool], *, within_s: float
    ) -> float:
        """Wait for the rows to be so; the seconds it took. within_s: on a machine that is not busy."""
        began, within_s = time.monotonic(), within_s * self.slowness
        while True:
            rows = await self.rows(process_guid)
            if holds(rows):
                return time.monotonic() - began
            if time.monotonic() - began > within_s:
                told = [
                    f"{row.actual_lrp_key.index} {row.presence.name} {row.state} {_cell(row)}" for row in rows
                ]
                pytest.fail(f"not within {within_s:g} s; last seen: {told}\n{self._logs()}")
            await asyncio.sleep(0.02)

    def containers(self, *cells: LocalRep) -> Counter[str]:
        """How many containers of instances ever seen there are, by cell."""
        client = docker.APIClient(version="auto")
        try:
            found = client.containers(all=True, filters={"label": LABEL_GUID})
            labels = [container["Labels"] for container in found]
        finally:
            client.close()
        names = {cell.cell_id for cell in cells or self.cells}
        return Counter(
            label[LABEL_CELL]
            for label in labels
            if label[LABEL_GUID] in self.guids and label.get(LABEL_CELL) in names
        )

    def _logs(self) -> str:
        return "\n".join(f"--- {cell.cell_id}\n{cell.log_tail(8)}" for cell in self.cells)


def _cell(row: ActualLRP) -> str:
    return row.actual_lrp_instance_key.cell_id


def _spread(rows: list[ActualLRP]) -> Counter[str]:
    """Running instances by cell, each index counted once."""
    return Counter(_cell(row) for row in _serving(rows))


def _serving(rows: list[ActualLRP]) -> list[ActualLRP]:
    return [row for row in rows if row.state == "RUNNING" and row.presence is Presence.ORDINARY]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["tls", "plain"] if THOROUGH else ["tls"])
async def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    state = tmp_path_factory.mktemp("cluster")
    tls = request.param == "tls"
    arguments = ["--cells", "0", "--convergence-interval", str(CONVERGENCE_S), *(["--tls"] if tls else [])]
    async with local_cell(state, arguments=arguments) as plane, AsyncExitStack() as stack:
        identity = identity_files(state / "tls", "rep") if tls else None
        context = (
            client_context(identity.ca_file, identity.cert_file, identity.key_file) if identity else None
        )
        slots = stack.enter_context(take_slots(3))
        cells = [LocalRep(plane, slot, state / slot.cell_id, identity, SETTINGS) for slot in slots]
        async with asyncio.TaskGroup() as group:
            for cell in cells:
                group.create_task(stack.enter_async_context(cell.running()))
        bbs = await stack.enter_async_context(HTTPBBSClient(plane.endpoints["bbs"], ssl_context=context))
        await bbs.upsert_domain("cells", 0)
        yield Cluster(bbs, cells)


@asynccontextmanager
async def desired(cluster: Cluster, process_guid: str, instances: int) -> AsyncIterator[DesiredLRP]:
    """A web app with so many instances, running evenly spread; removed at the end."""
    lrp = DesiredLRP(
        process_guid=process_guid,
        domain="cells",
        root_fs="preloaded:busybox",
        instances=instances,
        memory_mb=16,
        disk_mb=16,
        ports=(8080,),
        action=RunAction(path="httpd", args=("-f", "-p", "8080", "-h", "/etc"), user="vcap"),
        metric_tags={"source_id": MetricTagValue(static=process_guid)},
        check_definition=CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080)),)),
    )
    cluster.slowness = PATIENCE_S / START_S
    await cluster.bbs.desire_lrp(lrp)
    try:
        share = Counter({cell.cell_id: instances // 3 for cell in cluster.cells})
        took_s = await cluster.until(process_guid, lambda rows: _spread(rows) == share, within_s=START_S)
        cluster.slowness = max(1.0, 3 * took_s / START_S)
        yield lrp
    finally:
        await cluster.bbs.remove_desired_lrp(process_guid)
        await cluster.until(process_guid, lambda rows: not rows, within_s=30)


async def test_instances_of_a_killed_cell_run_elsewhere_and_nothing_stays_doubled(cluster: Cluster) -> None:
    victim, *others = cluster.cells
    elsewhere = {cell.cell_id for cell in others}
    async with desired(cluster, "survivor", 6):

        def replaced(rows: list[ActualLRP]) -> bool:
            serving = [row for row in _serving(rows) if _cell(row) in elsewhere]
            return {row.actual_lrp_key.index for row in serving} == set(range(6))

        def once(rows: list[ActualLRP]) -> bool:
            return len(rows) == 6 and replaced(rows)

        await victim.kill()
        try:
            await cluster.until("survivor", replaced, within_s=PRESENCE_TTL_S + CONVERGENCE_S + START_S)
            # a suspect goes as soon as its replacement runs
            await cluster.until("survivor", once, within_s=CONVERGENCE_S + 1)
        finally:
            await victim.start()  # which removes what it left behind
        known = {cell.cell_id for cell in await cluster.bbs.cells()}
        assert known == elsewhere | {victim.cell_id}
        await cluster.until("survivor", once, within_s=1)
        await until(lambda: not cluster.containers(victim), pause_s=0.05)
        assert sum(cluster.containers().values()) == 6

    await until(lambda: not cluster.containers(), pause_s=0.05)


class Traffic:
    """Clients with a router's view of the running instances; they try a second one after a failure."""

    def __init__(self, cluster: Cluster, process_guid: str) -> None:
        self._cluster = cluster
        self._process_guid = process_guid
        self._instances: list[str] = []
        self.answered = 0
        self.retried = 0
        self.failures: list[str] = []

    @asynccontextmanager
    async def flowing(self, clients: int = 4) -> AsyncIterator[None]:
        await self._look()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(self._route())]
            tasks += [group.create_task(self._ask(session, number)) for number in range(clients)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _look(self) -> None:
        rows = await self._cluster.rows(self._process_guid)
        self._instances = [
            f"http://{row.actual_lrp_net_info.address}:{row.actual_lrp_net_info.ports[0].host_port}"
            for row in rows
            if row.state == "RUNNING"
        ]

    async def _route(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(0.02)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while True:
            turn += 1
            problem = await self._get(session, turn)
            if problem:
                self.retried += 1
                turn += 1
                problem = await self._get(session, turn)
            if problem:
                self.failures.append(problem)
            else:
                self.answered += 1
            await asyncio.sleep(0.005)

    async def _get(self, session: aiohttp.ClientSession, turn: int) -> str:
        url = self._instances[turn % len(self._instances)]
        try:
            async with session.get(f"{url}/passwd", headers={"Connection": "close"}) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{url}: {error!r}"
        return "" if answer.status == 200 and "vcap" in text else f"{url}: {answer.status} {text!r}"


async def _drain(cell: LocalRep) -> str:
    """Run the drain script to its end; what it prints."""
    pid_file = cell.config.with_name("rep.pid")
    pid_file.write_text(str(cell.pid))
    process = await asyncio.create_subprocess_exec(
        DRAIN,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "REP_CONFIG": str(cell.config),
            "REP_PID_FILE": str(pid_file),
            "PING_INTERVAL": "0.2",
        },
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return out.decode()


async def test_a_cell_is_evacuated_under_traffic_without_a_failure(cluster: Cluster) -> None:
    leaving, *others = cluster.cells
    elsewhere = {cell.cell_id for cell in others}
    async with desired(cluster, "busy", 3):
        traffic = Traffic(cluster, "busy")
        async with traffic.flowing():
            before = traffic.answered
            drained = await _drain(leaving)
            assert await leaving.ended(cluster.slowness) == 0
            assert drained == "0\n"
            gone = traffic.answered

            def replaced(rows: list[ActualLRP]) -> bool:
                return len(rows) == 3 and {_cell(row) for row in rows} == elsewhere

            await cluster.until("busy", replaced, within_s=1)
            await until(lambda: traffic.answered > gone + 20)
        assert traffic.failures == []
        assert traffic.answered > before
        assert cluster.containers(leaving) == Counter()
        assert leaving.cell_id not in {cell.cell_id for cell in await cluster.bbs.cells()}
        await leaving.start()
