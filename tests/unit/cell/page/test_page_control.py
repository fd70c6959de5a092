"""What the page shows of a control plane: records, events, and cells of this process and of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
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
from bbs.models.auction import CellState, Resources
from bbs.models.cell import CellCapacity, CellPresence
from bbs.models.codec import compact, to_json
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRPUpdate
from bbs.models.locket import Resource, TypeCode
from cell.page import control
from cell.page.board import Board
from cell.page.control import ControlSource
from cell.page.rows import hostnames
from cell.story.tails import Tails
from executor.logs.api import LogLine, Stream
from tests.support.http import server_of
from tests.support.planes import DEFINITION, LRP
from tests.support.shown_cells import ShownCell, page_of
from tests.support.waiting import until

pytestmark = pytest.mark.unit

KEY = ActualLRPKey(process_guid="web", index=0, domain="d")
INSTANCE = ActualLRPInstanceKey(instance_guid="ig", cell_id="cell-9")


@pytest.fixture
def source(running_plane: ControlPlane) -> ControlSource:
    return ControlSource(running_plane.bbs, "here")


@pytest.fixture
async def board(source: ControlSource, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Board]:
    """Followed, with a look at the cells each 10 ms; the test looks at its rows."""
    monkeypatch.setattr(control, "CELLS_S", 0.01)
    board = Board()
    following = asyncio.create_task(source.follow(board))
    await board.complete.wait()
    yield board
    following.cancel()
    await asyncio.wait([following])


def row(board: Board, table: str, row_id: str) -> dict[str, Any]:
    """A row; empty if there is none."""
    return next((each for each in json.loads(board.whole()).get(table, []) if each["id"] == row_id), {})


async def test_records_that_exist_are_listed(plane_client: HTTPBBSClient, source: ControlSource) -> None:
    named = replace(LRP, metric_tags={**LRP.metric_tags, "app_name": MetricTagValue(static="shop")})
    await plane_client.desire_lrp(named)
    await plane_client.desire_task("sum", "d", DEFINITION)
    board = Board()
    following = asyncio.create_task(source.follow(board))
    await board.complete.wait()
    following.cancel()
    await asyncio.wait([following])
    assert row(board, "apps", "web")["name"] == "shop"
    assert row(board, "instances", "web/0/ordinary")["state"] == "UNCLAIMED"
    assert row(board, "tasks", "sum")["state"] == "PENDING"


async def test_the_life_of_an_instance(plane_client: HTTPBBSClient, board: Board) -> None:
    def instance() -> dict[str, Any]:
        return row(board, "instances", "web/0/ordinary")

    await plane_client.desire_lrp(LRP)
    await until(lambda: row(board, "apps", "web").get("desired") == 1)
    await until(lambda: instance().get("error"), "a placement error")
    assert instance()["error"] == "unable to communicate to compatible cells"
    await plane_client.claim_actual_lrp(KEY, INSTANCE)
    await until(lambda: instance()["state"] == "CLAIMED")
    assert (instance()["cell"], instance()["guid"]) == ("cell-9", "ig")
    net = ActualLRPNetInfo(address="192.0.2.1", ports=(PortMapping(container_port=8080, host_port=61001),))
    await plane_client.start_actual_lrp(KEY, INSTANCE, RunningData(net_info=net))
    await until(lambda: instance()["state"] == "RUNNING")
    assert (instance()["address"], instance()["ports"]) == ("192.0.2.1", [[61001, 8080]])
    await plane_client.crash_actual_lrp(KEY, INSTANCE, "out of memory")
    await until(lambda: instance()["crashes"] == 1)
    assert (instance()["reason"], instance()["guid"], instance()["cell"]) == ("out of memory", "", "")
    await plane_client.update_desired_lrp("web", DesiredLRPUpdate(instances=0))
    await until(lambda: not instance())
    await plane_client.remove_desired_lrp("web")
    await until(lambda: not row(board, "apps", "web"))


async def test_the_life_of_a_task(plane_client: HTTPBBSClient, board: Board) -> None:
    await plane_client.desire_task("sum", "d", DEFINITION)
    await until(lambda: row(board, "tasks", "sum").get("error"), "a rejection")
    await plane_client.start_task("sum", "cell-9")
    await until(lambda: row(board, "tasks", "sum")["state"] == "RUNNING")
    await plane_client.complete_task("sum", "cell-9", failed=True, failure_reason="no luck", result="")
    await until(lambda: row(board, "tasks", "sum")["state"] == "COMPLETED")
    assert row(board, "tasks", "sum")["reason"] == "no luck"
    await plane_client.resolving_task("sum")
    await plane_client.delete_task("sum")
    await until(lambda: not row(board, "tasks", "sum"))


async def test_a_cell_of_this_process_shows_its_containers(source: ControlSource, board: Board) -> None:
    shown = ShownCell()
    guid = shown.reserve("web").guid
    source.add(shown.cell)
    await until(lambda: row(board, "cells", "cell-1").get("instances") == 1)
    await until(lambda: row(board, "containers", guid).get("phase") == "reserved")
    assert source.container(guid) is not None
    assert source.container("other") is None
    assert not row(board, "instances", guid), "instances are those of the records"


async def test_an_instance_of_another_process_has_its_log(
    running_plane: ControlPlane, plane_client: HTTPBBSClient
) -> None:
    tails = Tails()
    source = ControlSource(running_plane.bbs, "here", tails)
    await plane_client.desire_lrp(LRP)
    await plane_client.claim_actual_lrp(KEY, INSTANCE)
    async with page_of(source) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/state") as response:
            assert response.status == 200
        tails.emit(LogLine(b"hello", Stream.OUT, "web", "0", "APP", 1_000_000))
        async with session.get(f"{url}/containers/ig") as response:
            assert await response.json() == {"lines": [[1, 0, "APP", "hello", 0]]}
        async with session.get(f"{url}/containers/ig/feed") as response:
            assert control.LOG_ONLY in (await response.content.readuntil(b"\n\n")).decode()
        async with session.get(f"{url}/containers/other") as response:
            assert response.status == 404


async def test_a_cell_of_another_process_is_asked_for_its_state(
    running_plane: ControlPlane, board: Board
) -> None:
    state = CellState(
        cell_id="cell-9",
        zone="z9",
        available_resources=Resources(memory_mb=10, disk_mb=20, containers=30),
        total_resources=Resources(memory_mb=100, disk_mb=200, containers=250),
        starting_container_count=4,
    )
    answers = [web.Response(status=500), web.Response(status=503), web.json_response(state.to_json())]

    async def answer(_: web.Request) -> web.Response:
        return answers.pop(0) if len(answers) > 1 else web.json_response(state.to_json())

    async with server_of(answer) as url:
        presence = CellPresence(
            cell_id="cell-9",
            rep_address=url,
            rep_url=url,
            zone="z9",
            capacity=CellCapacity(memory_mb=100, disk_mb=200, containers=250),
        )
        register(running_plane, presence)
        await until(lambda: row(board, "cells", "cell-9"))
        assert row(board, "cells", "cell-9")["state"] == "unknown"
        await until(lambda: row(board, "cells", "cell-9")["state"] == "ok")
        assert row(board, "cells", "cell-9")["mem"] == [90, 100]


def register(plane: ControlPlane, presence: CellPresence) -> None:
    deps = plane.bbs.controllers.deps
    resource = Resource(
        key=presence.cell_id, owner="o", value=compact(to_json(presence)), type_code=TypeCode.PRESENCE
    )
    deps.registry.lock(resource, 600)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b'[{"hostnames":["a.test","b.test"],"port":8080},{"hostnames":null}]', ["a.test", "b.test"]),
        (b'{"hostnames":1}', []),
        (b"[1]", []),
        (b"not json", []),
        (b"[" * 100_000, []),
    ],
)
def test_host_names_of_routes(data: bytes, names: list[str]) -> None:
    assert hostnames({"cf-router": data}) == names
