"""The composed control plane, with real sockets and a scripted rep."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bbs.client.http import HTTPBBSClient
from bbs.client.locket import LocketClient, LocketError
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.models.auction import CellState, Resources, RootFSProvider, Work
from bbs.models.locket import Resource, TypeCode
from bbs.serving.address import Address, ListenError, listening
from bbs.wire import locket as locket_wire
from bbs.wire.proto import locket_pb2
from tests.support.paths import GOLDEN_FILES
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES
ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)
ROOM = Resources(memory_mb=1000, disk_mb=1000, containers=10)
WEB = {
    "process_guid": "web",
    "domain": "d",
    "rootfs": "docker:///cloudfoundry/grace",
    "instances": 1,
    "memory_mb": 10,
    "disk_mb": 10,
    "action": {"run": {"path": "/grace"}},
}


def config(tmp_path: Path, **changes: Any) -> PlaneConfig:
    return replace(PlaneConfig(state_dir=tmp_path / "state", addresses=EVERYWHERE), **changes)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(config(tmp_path)) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def register(plane: ControlPlane, cell_id: str, rep_url: str) -> None:
    """Say over Locket that a cell is here."""
    value = {
        "cell_id": cell_id,
        "rep_address": rep_url,
        "rep_url": rep_url,
        "zone": "z1",
        "capacity": {"memory_mb": 1000, "disk_mb": 1000, "containers": 10},
        "rootfs_provider_list": [{"name": "docker"}],
    }
    resource = locket_pb2.Resource(
        key=cell_id, owner="o", value=json.dumps(value), type="presence", type_code=locket_pb2.PRESENCE
    )
    async with grpc.aio.insecure_channel(str(plane.addresses.locket)) as channel:
        lock = channel.unary_unary(
            locket_wire.LOCK.path,
            request_serializer=locket_pb2.LockRequest.SerializeToString,
            response_deserializer=locket_pb2.LockResponse.FromString,
        )
        await lock(locket_pb2.LockRequest(resource=resource, ttl_in_seconds=15))


async def test_every_part_answers(plane: ControlPlane, http: aiohttp.ClientSession) -> None:
    addresses = plane.addresses
    async with HTTPBBSClient(plane.bbs_url) as client:
        assert await client.ping()
    answers = [
        await http.get(addresses.receptor.url() + "/v1/version"),
        await http.post(addresses.auctioneer.url() + "/v1/lrps", data="[]"),
        await http.get(addresses.fileserver.url() + "/v1/static/x"),
    ]
    assert [answer.status for answer in answers] == [200, 202, 404]
    for answer in answers:
        await answer.read()
    assert 0 not in {address.port for address in (addresses.bbs, addresses.locket, addresses.receptor)}


async def test_from_the_receptor_to_the_rep(plane: ControlPlane, http: aiohttp.ClientSession) -> None:
    works: asyncio.Queue[Work] = asyncio.Queue()

    async def state(_: web.Request) -> web.Response:
        cell = CellState(
            cell_id="c1",
            rootfs_providers={"docker": RootFSProvider.arbitrary()},
            available_resources=ROOM,
            total_resources=ROOM,
        )
        return web.json_response(cell.to_json())

    async def work(request: web.Request) -> web.Response:
        works.put_nowait(Work.loads(await request.read()))
        return web.json_response(Work().to_json())

    rep = web.Application()
    rep.router.add_get("/state", state)
    rep.router.add_post("/work", work)
    async with TestServer(rep) as server, asyncio.timeout(PATIENCE_S):
        await register(plane, "c1", str(server.make_url("/")).rstrip("/"))
        async with http.post(plane.addresses.receptor.url() + "/v1/desired_lrps", json=WEB) as answer:
            assert answer.status == 201, await answer.text()
        received = await works.get()

    assert [(lrp.process_guid, lrp.index) for lrp in received.lrps] == [("web", 0)]
    assert [cell.cell_id for cell in await plane.bbs.cells()] == ["c1"]


async def test_locket_shows_the_locks_of_bbs_and_auctioneer_as_taken(plane: ControlPlane) -> None:
    async with LocketClient(str(plane.addresses.locket), None) as locket:
        locks = await locket.fetch_all(TypeCode.LOCK)
        assert [lock.key for lock in locks] == ["auctioneer", "bbs"]
        assert (await locket.fetch("bbs")).owner == locks[1].owner != ""
        mine = Resource(key="bbs", owner="me", value="", type_code=TypeCode.LOCK)
        with pytest.raises(LocketError, match="lock-collision"):
            await locket.lock(mine, ttl_s=15)
        with pytest.raises(LocketError, match="lock-collision"):
            await locket.release(mine)


async def test_without_a_cell_the_instance_says_why_it_waits(
    plane: ControlPlane, http: aiohttp.ClientSession
) -> None:
    url = plane.addresses.receptor.url()
    async with http.get(url + "/v1/events") as events, asyncio.timeout(PATIENCE_S):
        async with http.post(url + "/v1/desired_lrps", json=WEB) as answer:
            assert answer.status == 201
        async for line in events.content:
            if b'"placement_error":"unable to communicate to compatible cells"' in line:
                break
        async with http.get(url + "/v1/actual_lrps/web/index/0") as shown:
            document = await shown.json()

    assert document["state"] == "UNCLAIMED"
    assert document["placement_error"] == "unable to communicate to compatible cells"


async def test_stopping_ends_open_streams_cleanly_and_soon(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async with ControlPlane(config(tmp_path)) as plane:
            receptor = await http.get(plane.addresses.receptor.url() + "/v1/events")
            bbs = await http.post(plane.bbs_url + "/v1/events/lrp_instances.r1")
            assert (receptor.status, bbs.status) == (200, 200)
        # A stream that was cut instead of ended raises here.
        assert await receptor.read() == b""
        assert await bbs.read() == b""


async def test_what_was_desired_is_still_there_after_a_restart(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with ControlPlane(config(tmp_path)) as plane:
        url = plane.addresses.receptor.url()
        async with http.post(url + "/v1/desired_lrps", json=WEB) as answer:
            assert answer.status == 201
    async with ControlPlane(config(tmp_path)) as plane:
        url = plane.addresses.receptor.url()
        async with http.get(url + "/v1/desired_lrps") as answer:
            assert [lrp["process_guid"] for lrp in await answer.json()] == ["web"]


@pytest.mark.parametrize(
    ("part", "purpose"),
    [
        ("bbs", "the BBS API"),
        ("locket", "Locket"),
        ("auctioneer", "the auctioneer"),
        ("receptor", "the Receptor API"),
        ("fileserver", "the file server"),
    ],
)
async def test_a_taken_address_is_named_and_the_others_are_free_again(
    tmp_path: Path, part: str, purpose: str
) -> None:
    with listening(ANYWHERE, "the test") as bound:
        taken = Address("127.0.0.1", bound.getsockname()[1])
        plane = ControlPlane(config(tmp_path, addresses=replace(EVERYWHERE, **{part: taken})))
        with pytest.raises(ListenError, match=f"^address {taken} for {purpose} is taken$"):
            async with plane:
                raise AssertionError("it started")
        if part != "bbs":
            with listening(plane.addresses.bbs, "the test"):
                pass


async def test_an_error_in_the_context_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        async with ControlPlane(config(tmp_path)):
            raise LookupError


async def test_static_files_are_those_in_the_state_folder(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "state" / "static").mkdir(parents=True)
    (tmp_path / "state" / "static" / "x").write_text("content")
    async with (
        ControlPlane(config(tmp_path)) as plane,
        http.get(plane.addresses.fileserver.url() + "/v1/static/x") as answer,
    ):
        assert await answer.text() == "content"


async def test_a_document_of_2015_comes_back_as_it_went_in(
    plane: ControlPlane, http: aiohttp.ClientSession
) -> None:
    sent = json.loads((GOLDEN / "documents" / "desired_lrp_2015.json").read_text())
    url = f"{plane.addresses.receptor.url()}/v1/desired_lrps"
    async with http.post(url, json=sent) as answer:
        assert answer.status == 201, await answer.text()
    async with http.get(f"{url}/{sent['process_guid']}") as answer:
        came_back = await answer.json()

    tag = came_back.pop("modification_tag")
    assert tag["index"] == 0
    assert came_back == {key: value for key, value in sent.items() if key != "modification_tag"}


async def test_a_life_of_a_task_through_the_receptor(
    plane: ControlPlane, http: aiohttp.ClientSession
) -> None:
    url = f"{plane.addresses.receptor.url()}/v1/tasks"
    document = {"task_guid": "t", "domain": "d", "rootfs": "docker:///x", "action": {"run": {"path": "/x"}}}
    statuses = []
    for method, path in (
        ("POST", ""),
        ("POST", ""),
        ("DELETE", "/t"),
        ("POST", "/t/cancel"),
        ("DELETE", "/t"),
    ):
        async with http.request(method, url + path, json=document) as answer:
            statuses.append(answer.status)
    async with http.get(f"{url}/t") as answer:
        statuses.append(answer.status)

    assert statuses == [201, 409, 409, 200, 200, 404]


async def test_domains_through_the_receptor(plane: ControlPlane, http: aiohttp.ClientSession) -> None:
    url = f"{plane.addresses.receptor.url()}/v1/domains"
    async with http.put(f"{url}/cf-apps", headers={"Cache-Control": "max-age=60"}) as answer:
        assert answer.status == 204
    async with http.get(url) as answer:
        assert await answer.json() == ["cf-apps"]


async def test_it_starts_again_at_the_same_addresses_at_once(tmp_path: Path) -> None:
    async with ControlPlane(config(tmp_path)) as plane:
        first = plane.addresses
    async with ControlPlane(config(tmp_path, addresses=first)) as plane:
        assert plane.addresses == first
        async with HTTPBBSClient(plane.bbs_url) as client:
            assert await client.ping()
