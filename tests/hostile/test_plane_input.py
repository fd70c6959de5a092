"""Invalid requests to a control plane: it answers, logs no traceback, and keeps serving."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

from bbs.client.http import HTTPBBSClient, PooledTransport
from bbs.client.transport import Policy
from bbs.embedded.plane import ControlPlane
from bbs.embedded.store.limits import MAX_INSTANCES
from bbs.models.actions import MAX_DEPTH, Action, RunAction, TryAction
from bbs.models.codec import action_to_json, from_json
from bbs.models.common import EnvironmentVariable
from bbs.models.desired_lrp import DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import DesiredLRPCreatedEvent
from bbs.models.invalid import InvalidDocument
from bbs.models.task import TaskDefinition
from bbs.models.validation import validate_security_group_rule
from bbs.models.workload import SecurityGroupRule, Sidecar
from bbs.serving.address import Address
from bbs.wire import locket as locket_wire
from bbs.wire import routes
from bbs.wire.mapping import encode, to_wire
from bbs.wire.proto import actual_lrp_requests_pb2, desired_lrp_requests_pb2, locket_pb2
from bbs.wire.proto.actual_lrp_requests_pb2 import ActualLRPsByProcessGuidsRequest
from tests.support.planes import DEFINITION, LRP, called, raw

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_trace")]


async def present(channel: grpc.aio.Channel, value: dict[str, Any], ttl_s: int = 60) -> None:
    """Register a cell."""
    resource = locket_pb2.Resource(
        key=value["cell_id"], owner="o", value=json.dumps(value), type_code=locket_pb2.PRESENCE
    )
    await called(
        channel,
        locket_wire.LOCK,
        locket_pb2.LockRequest(resource=resource, ttl_in_seconds=ttl_s).SerializeToString(),
    )


def presence(cell_id: str, rep_url: str) -> dict[str, Any]:
    return {
        "cell_id": cell_id,
        "rep_address": "http://x",
        "rep_url": rep_url,
        "capacity": {"memory_mb": 1000, "disk_mb": 1000, "containers": 10},
        "rootfs_provider_list": [{"name": "docker"}],
    }


def nested(depth: int) -> Action:
    """So many actions inside each other; the innermost one has messages of its own."""
    action: Action = RunAction(path="/x", user="u", env=(EnvironmentVariable(name="A"),))
    for _ in range(depth - 1):
        action = TryAction(action=action)
    return action


@pytest.mark.parametrize(
    "rep_url", ["http://[::1", "http://h:99999", "http://", "https://\ud800", "http://a b/"]
)
async def test_a_cell_whose_url_is_none_ends_no_auction(
    running_plane: ControlPlane, plane_client: HTTPBBSClient, plane_locket: grpc.aio.Channel, rep_url: str
) -> None:
    """A presence with the URL http://[::1: work is refused with words, for the next request too."""
    await present(plane_locket, presence("c1", rep_url))
    async with asyncio.timeout(20), plane_client.lrp_instance_events() as events:
        for guid in ("one", "two"):
            await plane_client.desire_lrp(replace(LRP, process_guid=guid))
            async for event in events:
                placed = getattr(event, "after", None)
                if placed is not None and placed.placement_error:
                    break


async def test_a_trace_id_that_is_no_text_ends_no_stream(
    running_plane: ControlPlane, plane_client: HTTPBBSClient
) -> None:
    """Bytes that are not UTF-8 in X-Vcap-Request-Id reach subscribers as U+FFFD."""
    body = encode(desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=to_wire(LRP)))
    async with asyncio.timeout(20), plane_client.lrp_instance_events() as events:
        head = f"POST {routes.DESIRE_DESIRED_LRP.path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {len(body)}\r\n"
        answer = await raw(
            running_plane.addresses.bbs, head.encode() + b"X-Vcap-Request-Id: a\xffb\r\n\r\n" + body
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        async for event in events:
            if isinstance(event, DesiredLRPCreatedEvent):
                assert event.trace_id == "a\ufffdb"
                break
        await plane_client.remove_desired_lrp("web")
        async for event in events:
            if type(event).__name__ == "DesiredLRPRemovedEvent":
                break


async def test_more_instances_than_a_store_can_make_are_refused(plane_client: HTTPBBSClient) -> None:
    with pytest.raises(BBSError, match="instances"):
        await plane_client.desire_lrp(replace(LRP, instances=2**31 - 1))
    await plane_client.desire_lrp(LRP)
    with pytest.raises(BBSError, match="instances"):
        await plane_client.update_desired_lrp("web", DesiredLRPUpdate(instances=MAX_INSTANCES + 1))
    assert len(await plane_client.actual_lrps()) == 1


@pytest.mark.parametrize("kind", ["lrp", "sidecar", "task"])
async def test_actions_may_be_so_deep_and_no_deeper(plane_client: HTTPBBSClient, kind: str) -> None:
    """JSON, protobuf, records, lists and events take the same depth; beyond it a request is refused."""

    async def desire(action: Action) -> None:
        if kind == "task":
            await plane_client.desire_task("deep", "d", replace(DEFINITION, action=action))
        elif kind == "sidecar":
            await plane_client.desire_lrp(replace(LRP, sidecars=(Sidecar(action=action),)))
        else:
            await plane_client.desire_lrp(replace(LRP, action=action))

    with pytest.raises(BBSError) as refused:
        await desire(nested(MAX_DEPTH + 1))
    assert refused.value.type is ErrorType.InvalidRequest
    async with (
        asyncio.timeout(20),
        plane_client.task_events() if kind == "task" else plane_client.lrp_instance_events() as events,
    ):
        await desire(nested(MAX_DEPTH))
        async for event in events:
            if "Created" in type(event).__name__:
                break
        if kind == "task":
            assert [
                task.task_definition.action for task in await plane_client.tasks() if task.task_definition
            ] == [nested(MAX_DEPTH)]
            await plane_client.cancel_task("deep")
            async for event in events:
                if "Changed" in type(event).__name__:
                    break
        else:
            await plane_client.update_desired_lrp("web", DesiredLRPUpdate(annotation="new"))
            async for event in events:
                if "DesiredLRPChanged" in type(event).__name__:
                    break
            assert len(await plane_client.desired_lrps()) == 1


def test_the_depth_of_json_is_that_of_protobuf() -> None:
    at_most = {"root_fs": "docker:///x", "action": action_to_json(nested(MAX_DEPTH))}
    assert from_json(TaskDefinition, at_most).action == nested(MAX_DEPTH)
    with pytest.raises(InvalidDocument, match="nested at most 48 deep"):
        from_json(TaskDefinition, at_most | {"action": action_to_json(nested(MAX_DEPTH + 1))})


async def test_a_deep_task_is_the_clients_mistake_in_the_rest_api(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession
) -> None:
    """Trees of 50 levels: 400, not 500 with a trace."""
    task = {"task_guid": "t", "domain": "d", "rootfs": "docker:///x"}
    for depth in (MAX_DEPTH + 1, 50, 300, 3000):
        action: Any = {"run": {"path": "/x", "user": "u"}}
        for _ in range(depth - 1):
            action = {"try": {"action": action}}
        body = json.dumps(task | {"action": 0}).replace('"action": 0', '"action": ' + _flat(action))
        async with http_session.post(
            running_plane.addresses.receptor.url() + "/v1/tasks", data=body
        ) as answer:
            assert (answer.status, (await answer.json())["name"]) == (400, "InvalidJSON"), depth


def _flat(action: Any) -> str:
    """JSON of a tree that is too deep for the encoder."""
    head, tail = "", ""
    while "try" in action:
        head, tail, action = head + '{"try":{"action":', "}}" + tail, action["try"]["action"]
    return head + json.dumps(action) + tail


@pytest.mark.parametrize(
    "task",
    [
        {"task_guid": "\ud800"},
        {"domain": "\ud800"},
        {"task_guid": "t", "\ud800": 1, "action": {"\ud800": {"path": 1}}},
        {"annotation": "\ud800"},
        {"rootfs": "\udc80:x"},
        {"env": [{"name": "\ud800", "value": "\ud800"}]},
        {"completion_callback_url": "http://\ud800/"},
        {"action": {"run": {"path": "\ud800", "\ud800": 5}}},
        {"egress_rules": [{"protocol": "tcp", "destinations": ["1.2.3.4/" + "9" * 5000], "ports": [1]}]},
        {"egress_rules": [{"protocol": "\ud800"}]},
        {"memory_mb": 10**400},
        {"memory_mb": -1},
        {"disk_mb": -(2**31)},
        {"stack": "\ud800"},
    ],
    ids=lambda task: repr(task)[:40],
)
async def test_a_task_with_values_that_are_none(
    running_plane: ControlPlane,
    http_session: aiohttp.ClientSession,
    plane_client: HTTPBBSClient,
    task: dict[str, Any],
) -> None:
    """Halves of surrogate pairs, numbers of 5,000 digits, negative sizes: refused, or stored as in Go."""
    usual = {
        "task_guid": "t",
        "domain": "d",
        "rootfs": "docker:///x",
        "action": {"run": {"path": "/x", "user": "u"}},
    }
    url = running_plane.addresses.receptor.url() + "/v1/tasks"
    async with http_session.post(url, data=json.dumps(usual | task)) as answer:
        assert answer.status in (201, 400), await answer.text()
    async with http_session.get(url) as answer:
        assert answer.status == 200
    assert await plane_client.ping()


@pytest.mark.parametrize("prefix", ["9" * 5000, "0" * 5000 + "8", "33", "-1", ""])
def test_a_prefix_of_any_length_is_judged(prefix: str) -> None:
    """A CIDR prefix of more than 4,300 digits is no number to Python's int."""
    rule = SecurityGroupRule(protocol="all", destinations=(f"10.0.0.0/{prefix}",))
    assert bool(validate_security_group_rule(rule)) == (not prefix.endswith("8"))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("PUT", "/v1/domains/d", {"Cache-Control": "max-age=" + "9" * 5000}, 400),
        ("PUT", "/v1/domains/d", {"Cache-Control": "max-age=" + "0" * 5000 + "1"}, 204),
        ("GET", "/v1/actual_lrps/g/index/" + "9" * 5000, {}, 400),
        ("GET", f"/v1/actual_lrps/g/index/{2**31}", {}, 400),
        ("GET", "/v1/actual_lrps/g/index/-1", {}, 404),
        ("DELETE", "/v1/actual_lrps/%00/index/0", {}, 404),
        ("GET", "/v1/tasks?domain=%ff%00", {}, 200),
        ("GET", "/v1/sync/x/%00", {}, 404),
        ("GET", "/v1/sync/x/" + "y" * 300, {}, 404),
        ("OPTIONS", "/v1/tasks", {}, 405),
    ],
)
async def test_requests_of_the_rest_api_with_values_that_are_none(
    running_plane: ControlPlane,
    http_session: aiohttp.ClientSession,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
) -> None:
    async with http_session.request(
        method, running_plane.addresses.receptor.url() + path, headers=headers
    ) as answer:
        assert answer.status == status, await answer.text()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-" + "9" * 5000}, 416),
        ({"Range": "bytes=" + "9" * 5000 + "-"}, 416),
        ({"Range": "bytes=-" + "9" * 5000}, 416),
        ({"Range": "bytes=" + "0-0," * 1500}, 200),
        ({"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 +99999999999999"}, 200),
        ({"If-Modified-Since": "Mon, 01 Jan 0001 00:00:00 +2359"}, 200),
        ({"If-Unmodified-Since": "Fri, 31 Dec 9999 23:59:59 -2359"}, 200),
        ({"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 +" + "9" * 5000}, 200),
        ({"If-Range": "Mon, 01 Jan 99999 00:00:00 GMT", "Range": "bytes=0-0"}, 200),
        ({"If-None-Match": '"' * 5000}, 200),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_conditions_of_any_kind_are_read_or_passed_over(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    """An HTTP date with a huge zone, a range of 5,000 digits: no 500."""
    static = running_plane.config.state_dir / "static"
    static.mkdir(exist_ok=True)
    (static / "f").write_bytes(b"content")
    async with http_session.get(
        running_plane.addresses.fileserver.url() + "/v1/static/f", headers=headers
    ) as answer:
        assert answer.status == status


async def test_uploads_with_times_and_names_that_are_none(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession
) -> None:
    own = running_plane.addresses.fileserver.url()
    target = f"{own}/internal/v4/droplets/d/upload".replace(":", "%3A").replace("/", "%2F")
    for timeout in ("9" * 5000, "9" * 300, "-1", "1e5", "NaN"):
        async with http_session.post(
            f"{own}/v1/droplet/d?cc-droplet-upload-uri={target}&timeout={timeout}", data=b"x"
        ) as answer:
            assert answer.status == 400
    for guid in ("%2e%2e", "%2e%2e%2fx", "%00", "a%ff", ".hidden", "x" * 5000):
        form = aiohttp.FormData()
        form.add_field("file", b"x", filename="x")
        url = aiohttp.client.URL(f"{own}/internal/v4/packages/{guid}/upload", encoded=True)
        async with http_session.post(url, data=form) as answer:
            assert answer.status == 404
    assert not (running_plane.config.state_dir / "static" / "packages").exists()


@pytest.mark.parametrize("part", ["bbs", "receptor", "auctioneer", "fileserver"])
async def test_an_expectation_that_is_no_text(running_plane: ControlPlane, part: str) -> None:
    address: Address = getattr(running_plane.addresses, part)
    for value in (b"\xb6\xd6\xff", b"more"):
        answer = await raw(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: " + value + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 417 ")


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("bbs", routes.DESIRE_TASK.path),
        ("bbs", "/v1/events/lrp_instances.r1"),
        ("receptor", "/v1/tasks"),
        ("auctioneer", "/v1/lrps"),
        ("fileserver", "/internal/v4/packages/p/upload"),
    ],
)
@pytest.mark.parametrize("aborted", [False, True])
async def test_a_body_that_breaks_off_leaves_no_trace(
    running_plane: ControlPlane, part: str, path: str, aborted: bool
) -> None:
    address: Address = getattr(running_plane.addresses, part)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head.encode() + b"Content-Disposition: form-data; name=file\r\n\r\nx")
    await writer.drain()
    await raw(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the first request is being read
    if aborted:
        writer.transport.abort()
    else:
        writer.write_eof()
        await reader.read()
        writer.close()
    assert await raw(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


async def test_lists_may_name_any_number_of_guids(
    running_plane: ControlPlane, plane_client: HTTPBBSClient
) -> None:
    """More names than SQLite takes parameters are no error."""
    await plane_client.desire_lrp(LRP)
    many = [f"g{number}" for number in range(40_000)]
    async with PooledTransport(running_plane.bbs_url, None, Policy()) as transport:
        request = ActualLRPsByProcessGuidsRequest(process_guids=[*many, "web"])
        rows = await transport.call(routes.ACTUAL_LRPS_BY_PROCESS_GUIDS, request)
    assert [row.actual_lrp_key.process_guid for row in rows.actual_lrps] == ["web"]
    assert [lrp.process_guid for lrp in await plane_client.desired_lrps(process_guids=["web", *many])] == [
        "web"
    ]
    assert await plane_client.desired_lrps(process_guids=many) == []


async def test_a_presence_may_live_for_as_long_as_it_likes(
    plane_client: HTTPBBSClient, plane_locket: grpc.aio.Channel
) -> None:
    await present(plane_locket, presence("c1", "http://127.0.0.1:1"), ttl_s=2**63 - 1)
    assert [cell.cell_id for cell in await plane_client.cells()] == ["c1"]


async def test_streams_refuse_what_is_no_filter(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession
) -> None:
    async with http_session.post(
        running_plane.bbs_url + "/v1/events/lrp_instances.r1", data=b"\xff\xff"
    ) as answer:
        assert answer.status == 500, "as the Go server answers"
    request = actual_lrp_requests_pb2.ActualLRPsRequest(domain="d")
    async with http_session.post(
        running_plane.bbs_url + routes.ACTUAL_LRPS.path, data=encode(request)
    ) as answer:
        assert answer.status == 200
