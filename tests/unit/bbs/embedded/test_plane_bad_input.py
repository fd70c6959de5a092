"""Invalid requests to the listeners beside the BBS: an error response each; the next request is served."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity, IdentityFiles
from bbs.client.locket import channel_credentials
from bbs.embedded.auctioneer.server import MAX_BODY_BYTES as AUCTIONEER_LIMIT
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.embedded.receptor.app import MAX_BODY_BYTES as RECEPTOR_LIMIT
from bbs.models.task import TaskDefinition
from bbs.serving.address import Address
from bbs.wire import locket as wire
from bbs.wire.proto import locket_pb2 as pb
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)
RESOURCE = pb.Resource(key="own", owner="o", type_code=pb.LOCK)
LOCK = pb.LockRequest(resource=RESOURCE, ttl_in_seconds=15).SerializeToString()
UNKNOWN_FIELDS = b"\xa2\x06\x05hello\xa8\x06\x01"
"""Fields 100 (text) and 101 (a number), which no message has."""


class Clients:
    """A control plane, and clients of its parts."""

    def __init__(self, plane: ControlPlane, files: IdentityFiles | None) -> None:
        self.plane = plane
        self.files = files
        self.tls = Identity(files).client_context() if files else None

    def locket(self) -> grpc.aio.Channel:
        address = str(self.plane.addresses.locket)
        if self.files is None:
            return grpc.aio.insecure_channel(address)
        files = self.files
        return grpc.aio.secure_channel(
            address, channel_credentials(files.ca_file, files.cert_file, files.key_file)
        )

    def auctioneer(self, path: str) -> str:
        return self.plane.addresses.auctioneer.url(tls=self.tls is not None) + path

    def receptor(self, path: str) -> str:
        return self.plane.addresses.receptor.url() + path

    def bbs(self) -> HTTPBBSClient:
        return HTTPBBSClient(self.plane.bbs_url, ssl_context=self.tls)


@pytest.fixture(params=["plain", "mutual TLS"])
async def clients(
    request: pytest.FixtureRequest, tmp_path: Path, tls_identity: IdentityFiles
) -> AsyncIterator[Clients]:
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE)
    files = tls_identity if request.param == "mutual TLS" else None
    async with ControlPlane(replace(config, tls=files)) as plane:
        yield Clients(plane, files)


async def call(channel: grpc.aio.Channel, method: wire.Method[Any, Any], data: bytes) -> Any:
    """An answer as bytes, or the status it was refused with."""
    sent = channel.unary_unary(method.path, request_serializer=None, response_deserializer=None)
    try:
        return await sent(data, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()


async def test_locket_refuses_what_is_no_message_and_goes_on(clients: Clients) -> None:
    async with clients.locket() as channel:
        for length in range(1, len(LOCK)):
            answer = await call(channel, wire.LOCK, LOCK[:length])
            assert answer != b"", f"the first {length} bytes are no lock"
        taken = pb.FetchAllResponse.FromString(await call(channel, wire.FETCH_ALL, b"\x10\x01"))
        assert [resource.key for resource in taken.resources] == ["auctioneer", "bbs"], "nothing was taken"
        assert await call(channel, wire.LOCK, LOCK) == b""


async def test_locket_passes_over_fields_it_does_not_know(clients: Clients) -> None:
    async with clients.locket() as channel:
        assert await call(channel, wire.LOCK, LOCK + UNKNOWN_FIELDS) == b""
        found = pb.FetchResponse.FromString(await call(channel, wire.FETCH, b"\x0a\x03own"))
    assert found.resource.owner == "o"


async def test_locket_refuses_a_message_that_is_too_large(clients: Clients) -> None:
    async with clients.locket() as channel:
        large = pb.LockRequest(resource=pb.Resource(value="x" * (5 << 20))).SerializeToString()
        assert await call(channel, wire.LOCK, large) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(channel, wire.LOCK, LOCK) == b""


@pytest.mark.parametrize("path", ["/v1/lrps", "/v1/tasks"])
async def test_the_auctioneer_refuses_what_it_cannot_read_and_goes_on(clients: Clients, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        tls = clients.tls or True
        for body in (b"", b"[{", b'"x"', b"\xff\xff", b"[" * 100_000):
            async with session.post(clients.auctioneer(path), data=body, ssl=tls) as answer:
                assert (answer.status, [*await answer.json()]) == (400, ["error"])
        large = io.BytesIO(bytes(AUCTIONEER_LIMIT + 1))
        async with session.post(clients.auctioneer(path), data=large, ssl=tls) as answer:
            assert answer.status == 413
        unknown = b'[{"unheard_of":[1,{}]}]'
        async with session.post(clients.auctioneer(path), data=unknown, ssl=tls) as answer:
            assert (answer.status, await answer.read()) == (202, b"{}")


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/desired_lrps"])
async def test_the_receptor_refuses_what_it_cannot_read_and_goes_on(clients: Clients, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        for body in (b"", b"{", b"[]", b"\xff\xff", b"[" * 100_000):
            async with session.post(clients.receptor(path), data=body) as answer:
                assert (answer.status, (await answer.json())["name"]) == (400, "InvalidJSON")
        large = io.BytesIO(bytes(RECEPTOR_LIMIT + 1))
        async with session.post(clients.receptor(path), data=large) as answer:
            assert answer.status == 413
        async with session.get(clients.receptor(path)) as answer:
            assert (answer.status, await answer.json()) == (200, [])


async def test_a_subscriber_that_vanishes_takes_nothing_from_others(
    clients: Clients, definition: TaskDefinition
) -> None:
    address = clients.plane.addresses.bbs
    async with asyncio.timeout(PATIENCE_S), clients.bbs() as bbs, bbs.task_events() as events:
        for number in range(3):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=clients.tls)
            writer.write(b"POST /v1/events/tasks.r1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await bbs.desire_task(f"t{number}", "d", definition)
            await reader.readuntil(b"task_created")
            writer.transport.abort()  # in the middle of an event
        created = [event async for event in first(events, 3)]
    assert [event.task.task_guid for event in created] == ["t0", "t1", "t2"]


async def first(events: AsyncIterator[Any], count: int) -> AsyncIterator[Any]:
    """The first so many creations."""
    async for event in events:
        if type(event).__name__ == "TaskCreatedEvent":
            yield event
            count -= 1
            if not count:
                return
