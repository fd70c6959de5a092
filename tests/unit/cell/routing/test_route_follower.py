"""A routing table in step with a control plane."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from bbs.backoff import Backoff
from bbs.client.http import HTTPBBSClient
from bbs.client.transport import Policy
from bbs.embedded.plane import ControlPlane
from bbs.models.actual_lrp import (
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    RunningData,
)
from bbs.models.desired_lrp import DesiredLRPUpdate
from bbs.serving.address import Address
from cell.routing.follower import Follower
from cell.routing.service import status_page
from cell.routing.table import RouteTable
from tests.support.planes import LRP
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.unit

HOST = "web.localhost"
DESIRED = replace(LRP, ports=(8080,), routes={"cf-router": b'[{"hostnames":["web.localhost"],"port":8080}]'})
KEY = ActualLRPKey(process_guid="web", index=0, domain="d")
INSTANCE = ActualLRPInstanceKey(instance_guid="guid", cell_id="cell-1")
NET = ActualLRPNetInfo(address="10.0.0.9", ports=(PortMapping(container_port=8080, host_port=61007),))
QUICK = Backoff(attempts=0, first_s=0.01, most_s=0.05)


def served(table: RouteTable) -> list[str] | None:
    pool = table.find(HOST, "/")
    return None if pool is None else [each.address for each in pool.endpoints]


async def start(bbs: HTTPBBSClient, *, routable: bool = True) -> None:
    await bbs.start_actual_lrp(KEY, INSTANCE, RunningData(net_info=NET, routable=routable))


async def test_the_table_begins_with_what_runs_already(
    running_plane: ControlPlane, plane_client: HTTPBBSClient, table: RouteTable
) -> None:
    await plane_client.desire_lrp(DESIRED)
    await start(plane_client)
    follower = Follower(plane_client, table)
    async with follower.following(), status_page(Address("127.0.0.1", 0), follower) as status:
        async with asyncio.timeout(PATIENCE_S):
            await follower.listed.wait()
        assert served(table) == ["10.0.0.9:61007"]
        async with aiohttp.request("GET", f"{status.url()}/health") as response:
            assert response.status == 200


async def test_the_table_follows_the_life_of_an_app(plane_client: HTTPBBSClient, table: RouteTable) -> None:
    follower = Follower(plane_client, table)
    async with follower.following():
        async with asyncio.timeout(PATIENCE_S):
            await follower.listed.wait()
        await plane_client.desire_lrp(DESIRED)
        await until(lambda: served(table) == [])
        await start(plane_client, routable=False)
        await start(plane_client, routable=True)
        await until(lambda: served(table) == ["10.0.0.9:61007"])
        await start(plane_client, routable=False)
        await until(lambda: served(table) == [])
        await start(plane_client, routable=True)
        await until(lambda: served(table) == ["10.0.0.9:61007"])
        await plane_client.update_desired_lrp("web", DesiredLRPUpdate(instances=0))
        await until(lambda: served(table) == [])
        await plane_client.remove_desired_lrp("web")
        await until(lambda: served(table) is None)


async def test_without_a_control_plane_there_is_no_table_and_it_is_asked_again(
    unused_tcp_port: int, table: RouteTable
) -> None:
    policy = Policy(attempts=1, reconnect_attempts=0)
    pauses = 0

    async def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(0.005)

    async with HTTPBBSClient(f"http://127.0.0.1:{unused_tcp_port}", policy=policy) as bbs:
        follower = Follower(bbs, table, backoff=replace(QUICK, sleep=pause))
        async with follower.following(), status_page(Address("127.0.0.1", 0), follower) as status:
            await until(lambda: pauses > 3)
            async with aiohttp.request("GET", f"{status.url()}/health") as response:
                assert response.status == 503
