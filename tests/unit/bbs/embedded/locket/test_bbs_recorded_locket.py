"""Replay of recorded conversations with a Locket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from bbs.models.locket import Resource, TypeCode
from bbs.wire import locket as wire
from bbs.wire.proto import locket_pb2 as pb

if TYPE_CHECKING:
    from tests.support.captures import Capture, Exchange
    from tests.unit.bbs.embedded.conftest import World

pytestmark = pytest.mark.unit

METHODS = {method.path: method for method in (wire.LOCK, wire.FETCH, wire.RELEASE, wire.FETCH_ALL)}
LONG = 10**6
TTL_S = 15
"""Of every presence in the recordings."""


async def hold_what_others_hold(world: World, exchanges: tuple[Exchange, ...]) -> None:
    """Earlier locks and presences, from the first list of each kind or the first fetch."""
    told: set[bytes] = set()
    for exchange in exchanges:
        found: list[pb.Resource] = []
        if exchange.path == wire.FETCH_ALL.path and exchange.body not in told:
            told.add(exchange.body)
            found = list(pb.FetchAllResponse.FromString(exchange.answer).resources)
        elif exchange.path == wire.FETCH.path and not told:
            found = [pb.FetchResponse.FromString(exchange.answer).resource]
        elif exchange.path == wire.LOCK.path and not exchange.answer_meta["grpc_status"]:
            told.add(exchange.body)
        for resource in found:
            _hold(resource, world)


def _hold(found: pb.Resource, world: World) -> None:
    held = Resource(
        key=found.key,
        owner=found.owner,
        value=found.value,
        type_code=TypeCode(found.type_code),
    )
    ttl_s = LONG if found.type_code == pb.LOCK else TTL_S
    world.bbs.controllers.deps.registry.lock(held, ttl_s)


def meaning(message: Any) -> Any:
    return sorted(map(str, message.resources)) if isinstance(message, pb.FetchAllResponse) else message


@pytest.mark.captures("locket")
async def test_recorded_calls_are_answered_as_recorded(capture: Capture, world: World) -> None:
    await hold_what_others_hold(world, capture.exchanges)
    now = 0.0
    async with (
        world.bbs.locket_server("127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for exchange in capture.exchanges:
            another_sequence = exchange.t < now
            nobody_left = exchange.path == wire.FETCH_ALL.path and not exchange.answer
            if another_sequence or nobody_left:
                world.clock.advance(LONG + 1)
            else:
                world.clock.advance(exchange.t - now)
            now = exchange.t
            await _ask(channel, exchange)


async def _ask(channel: grpc.aio.Channel, exchange: Exchange) -> None:
    method = METHODS[exchange.path]
    call = channel.unary_unary(
        method.path, request_serializer=bytes, response_deserializer=method.response.FromString
    )
    about = f"{exchange.t} {exchange.path}"
    if exchange.answer_meta["grpc_status"]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(exchange.body, timeout=10)
        code, _ = refused.value.code().value
        said = code, refused.value.details()
        assert said == (exchange.answer_meta["grpc_status"], exchange.answer_meta["grpc_message"]), about
    else:
        answer = await call(exchange.body, timeout=10)
        assert meaning(answer) == meaning(method.response.FromString(exchange.answer)), about
