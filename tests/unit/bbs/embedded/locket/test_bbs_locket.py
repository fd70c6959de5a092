"""Locket over gRPC: owners of locks and presences, and their lifetimes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from bbs.wire import locket as wire
from bbs.wire.proto import locket_pb2 as pb

pytestmark = pytest.mark.unit


class Caller:
    """Calls of a Locket client, by method."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def __call__(self, method: wire.Method[Any, Any], request: Message) -> Any:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return await call(request, timeout=10)

    async def lock(self, key: str, owner: str, *, ttl: int = 15, code: int = 2, value: str = "v") -> None:
        resource = pb.Resource(key=key, owner=owner, value=value, type_code=pb.TypeCode.Name(code))
        await self(wire.LOCK, pb.LockRequest(resource=resource, ttl_in_seconds=ttl))

    async def release(self, key: str, owner: str) -> None:
        await self(wire.RELEASE, pb.ReleaseRequest(resource=pb.Resource(key=key, owner=owner)))

    async def owners(self, code: pb.TypeCode = pb.PRESENCE) -> dict[str, str]:
        found = await self(wire.FETCH_ALL, pb.FetchAllRequest(type_code=code))
        return {resource.key: resource.owner for resource in found.resources}


@asynccontextmanager
async def calling(world: Any) -> AsyncIterator[Caller]:
    async with (
        world.bbs.locket_server("127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Caller(channel)


@pytest.fixture
async def locket(world: Any) -> AsyncIterator[Caller]:
    async with calling(world) as caller:
        yield caller


def refusal(error: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[grpc.StatusCode, str | None]:
    return error.value.code(), error.value.details()


async def test_a_lock_is_told_in_both_spellings(locket: Caller) -> None:
    await locket.lock("bbs", "me", code=1, value="free text")
    found = await locket(wire.FETCH, pb.FetchRequest(key="bbs"))
    assert found.resource == pb.Resource(
        key="bbs", owner="me", value="free text", type="lock", type_code=pb.LOCK
    )
    assert await locket.owners(pb.LOCK) == {"bbs": "me"}
    assert await locket.owners(pb.PRESENCE) == {}


@pytest.mark.parametrize(
    ("owner", "ttl", "code", "expected"),
    [
        ("", 0, 0, (grpc.StatusCode.NOT_FOUND, "invalid-type")),
        ("", 0, 2, (grpc.StatusCode.INVALID_ARGUMENT, "invalid-ttl")),
        ("", 1, 2, (grpc.StatusCode.INVALID_ARGUMENT, "invalid-owner")),
        ("you", 1, 2, (grpc.StatusCode.ALREADY_EXISTS, "lock-collision")),
    ],
)
async def test_what_a_lock_is_refused_for(
    locket: Caller, owner: str, ttl: int, code: int, expected: tuple[grpc.StatusCode, str]
) -> None:
    await locket.lock("c1", "me")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await locket.lock("c1", owner, ttl=ttl, code=code)
    assert refusal(refused) == expected


async def test_the_legacy_type_alone_is_refused(locket: Caller) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await locket(wire.FETCH_ALL, pb.FetchAllRequest(type="presence"))
    assert refusal(refused) == (grpc.StatusCode.NOT_FOUND, "invalid-type")


async def test_release(locket: Caller) -> None:
    await locket.lock("c1", "me")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await locket.release("c1", "you")
    assert refusal(refused) == (grpc.StatusCode.ALREADY_EXISTS, "lock-collision")
    await locket.release("c1", "me")
    await locket.release("never seen", "me")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await locket(wire.FETCH, pb.FetchRequest(key="c1"))
    assert refusal(missing) == (grpc.StatusCode.NOT_FOUND, "resource-not-found")


async def test_a_refresh_restarts_the_ttl_and_replaces_the_value(locket: Caller, world: Any) -> None:
    await locket.lock("c1", "me", ttl=15, value="old")
    world.clock.advance(14)
    await locket.lock("c1", "me", ttl=15, value="new")
    world.clock.advance(14)
    found = await locket(wire.FETCH, pb.FetchRequest(key="c1"))
    assert found.resource.value == "new"
    world.clock.advance(2)
    assert await locket.owners() == {}
    await locket.lock("c1", "you")


async def test_a_restart_gives_the_full_ttl_again(open_world: Any) -> None:
    async with open_world() as world, calling(world) as caller:
        await caller.lock("c1", "me", ttl=15)
        world.clock.advance(14)
    async with open_world() as world, calling(world) as caller:
        world.clock.advance(14)
        assert await caller.owners() == {"c1": "me"}
        world.clock.advance(2)
        assert await caller.owners() == {}


async def test_cells_are_the_presences_that_are_valid(locket: Caller, world: Any) -> None:
    await world.register("c1")
    await locket.lock("broken", "me", value="{")
    await locket.lock("nameless", "me", value='{"rep_address":"http://x"}')
    await locket.lock("a lock", "me", code=1)
    assert [cell.cell_id for cell in await world.bbs.cells()] == ["c1"]


async def test_the_port_is_nobody_elses(world: Any) -> None:
    async with world.bbs.locket_server("127.0.0.1:0") as port:
        with pytest.raises(RuntimeError):
            async with world.bbs.locket_server(f"127.0.0.1:{port}"):
                pass
