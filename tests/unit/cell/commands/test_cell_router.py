"""``cell router`` as a process, with a control plane and an app."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.embedded.plane import ControlPlane
from bbs.models.actual_lrp import (
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    RunningData,
)
from tests.support.http import server_of
from tests.support.planes import LRP
from tests.support.programs import CellProcess, start_cell
from tests.support.waiting import PATIENCE_S, until_so

pytestmark = pytest.mark.unit

DESIRED = replace(LRP, ports=(8080,), routes={"cf-router": b'[{"hostnames":["web.localhost"],"port":8080}]'})
KEY = ActualLRPKey(process_guid="web", index=0, domain="d")


async def record(process: CellProcess, message: str) -> dict[str, Any]:
    """The data of the next log record with that message."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            line = json.loads(await process.stdout.readline())
            if line["message"] == message:
                found: dict[str, Any] = line["data"]
                return found


async def test_the_router_runs_until_a_signal(
    running_plane: ControlPlane, plane_client: HTTPBBSClient
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async with server_of(answer) as url:
        ports = (PortMapping(container_port=8080, host_port=int(url.rpartition(":")[2])),)
        await plane_client.desire_lrp(DESIRED)
        await plane_client.start_actual_lrp(
            KEY,
            ActualLRPInstanceKey(instance_guid="i", cell_id="c"),
            RunningData(net_info=ActualLRPNetInfo(address="127.0.0.1", ports=ports)),
        )
        router = await start_cell(
            *("router", "--bbs-url", running_plane.bbs_url),
            *("--address", "127.0.0.1:0", "--health-address", "127.0.0.1:0"),
        )
        started = await record(router, "router.started")
        async with aiohttp.ClientSession() as session:

            async def healthy() -> bool:
                async with session.get(f"http://{started['health_address']}/health") as response:
                    return response.status == 200

            await until_so(healthy)
            headers = {"Host": "web.localhost"}
            async with session.get(f"http://{started['address']}/", headers=headers) as response:
                assert await response.text() == "hello"
        router.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await router.wait() == 0


async def test_an_address_that_is_taken_is_named(running_plane: ControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        router = await start_cell("router", "--bbs-url", running_plane.bbs_url, "--address", address)
        async with asyncio.timeout(PATIENCE_S):
            _, complaint = await router.communicate()
    assert router.returncode == 1
    assert complaint.decode() == f"Error: address {address} for the router is taken\n"
