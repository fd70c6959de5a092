"""The Locket client against a gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from bbs.client.locket import LocketClient, LocketError, channel_credentials
from bbs.models.locket import Resource, TypeCode
from bbs.wire import locket as wire
from bbs.wire.proto import locket_pb2 as pb

if TYPE_CHECKING:
    from tests.support.captures import Capture
    from tests.unit.bbs.client.conftest import Identities

pytestmark = pytest.mark.unit

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

PRESENCE = Resource(key="cell-1", owner="me", value="{}", type_code=TypeCode.PRESENCE)
ON_WIRE = pb.Resource(key="cell-1", owner="me", value="{}", type="presence", type_code="PRESENCE")


@dataclass
class ScriptedLocket:
    """Answers with what it was given; an answer that is a status is an error."""

    answers: list[Message | tuple[grpc.StatusCode, str]] = field(default_factory=list)
    calls: list[tuple[str, Message, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        methods = (wire.LOCK, wire.FETCH, wire.RELEASE, wire.FETCH_ALL)
        return grpc.method_handlers_generic_handler(
            wire.SERVICE,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    self._behaviour(method.name),
                    request_deserializer=method.request.FromString,
                    response_serializer=method.response.SerializeToString,
                )
                for method in methods
            },
        )

    def _behaviour(self, name: str) -> Callable[[Message, Context], Awaitable[Message]]:
        async def behave(request: Message, context: Context) -> Message:
            self.calls.append((name, request, dict(context.invocation_metadata() or ())))
            answer = self.answers.pop(0)
            if isinstance(answer, tuple):
                await context.abort(*answer)
            return answer

        return behave


@pytest.fixture
async def locket() -> AsyncIterator[ScriptedLocket]:
    scripted = ScriptedLocket()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((scripted.handlers(),))
    scripted.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield scripted
    await server.stop(None)


@pytest.fixture
async def client(locket: ScriptedLocket) -> AsyncIterator[LocketClient]:
    async with LocketClient(locket.address, None) as opened:
        yield opened


async def test_lock(locket: ScriptedLocket, client: LocketClient) -> None:
    locket.answers = [pb.LockResponse()]
    await client.lock(PRESENCE, 15, uuid="u-1")
    ((name, request, metadata),) = locket.calls
    assert (name, request) == ("Lock", pb.LockRequest(resource=ON_WIRE, ttl_in_seconds=15))
    assert metadata["uuid"] == "u-1"


async def test_release_goes_without_uuid(locket: ScriptedLocket, client: LocketClient) -> None:
    locket.answers = [pb.ReleaseResponse()]
    await client.release(PRESENCE, timeout_s=15)
    ((name, request, metadata),) = locket.calls
    assert (name, request) == ("Release", pb.ReleaseRequest(resource=ON_WIRE))
    assert "uuid" not in metadata


async def test_fetch(locket: ScriptedLocket, client: LocketClient) -> None:
    locket.answers = [pb.FetchResponse(resource=ON_WIRE)]
    assert await client.fetch("cell-1", uuid="u-1") == PRESENCE
    ((name, request, metadata),) = locket.calls
    assert (name, request, metadata["uuid"]) == ("Fetch", pb.FetchRequest(key="cell-1"), "u-1")


@pytest.mark.parametrize(("code", "legacy"), [(TypeCode.LOCK, "lock"), (TypeCode.PRESENCE, "presence")])
async def test_fetch_all(locket: ScriptedLocket, client: LocketClient, code: TypeCode, legacy: str) -> None:
    locket.answers = [pb.FetchAllResponse(resources=[ON_WIRE, ON_WIRE])]
    assert await client.fetch_all(code) == [PRESENCE, PRESENCE]
    ((name, request, _),) = locket.calls
    assert (name, request) == ("FetchAll", pb.FetchAllRequest(type=legacy, type_code=code.name))


async def test_a_type_nobody_knows_yet(locket: ScriptedLocket, client: LocketClient) -> None:
    locket.answers = [pb.FetchResponse(resource=pb.Resource.FromString(b"\x28\x09"))]
    assert (await client.fetch("x")).type_code is TypeCode.UNKNOWN


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.ALREADY_EXISTS, "lock-collision"),
        (grpc.StatusCode.INVALID_ARGUMENT, "invalid-ttl"),
        (grpc.StatusCode.NOT_FOUND, "resource-not-found"),
    ],
)
async def test_a_refusal(
    locket: ScriptedLocket, client: LocketClient, code: grpc.StatusCode, message: str
) -> None:
    locket.answers = [(code, message)]
    with pytest.raises(LocketError) as raised:
        await client.lock(PRESENCE, 15)
    assert (raised.value.code, raised.value.message) == (code, message)


async def test_connecting(client: LocketClient) -> None:
    await client.ready()


async def test_mutual_tls(identities: Identities) -> None:
    good, stranger = identities.good, identities.stranger
    scripted = ScriptedLocket(answers=[pb.ReleaseResponse()])
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((scripted.handlers(),))
    pair = (good.key_file.read_bytes(), good.cert_file.read_bytes())
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([pair], good.ca_file.read_bytes(), require_client_auth=True),
    )
    await server.start()
    address = f"127.0.0.1:{port}"
    async with LocketClient(
        address, channel_credentials(good.ca_file, good.cert_file, good.key_file)
    ) as client:
        await client.release(PRESENCE)
    async with LocketClient(
        address, channel_credentials(good.ca_file, stranger.cert_file, stranger.key_file)
    ) as client:
        with pytest.raises(LocketError) as raised:
            await client.release(PRESENCE)
        assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    await server.stop(None)


async def test_nobody_there(unused_tcp_port: int) -> None:
    async with LocketClient(f"127.0.0.1:{unused_tcp_port}", None) as client:
        with pytest.raises(
            LocketError, match=f"no connection to 127.0.0.1:{unused_tcp_port} within"
        ) as raised:
            await client.ready(timeout_s=0.05)
        assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(LocketError) as raised:
            await client.lock(PRESENCE, 15)
        assert raised.value.code is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(LocketError) as raised:
            await client.lock(PRESENCE, 15, timeout_s=0.05, wait_for_ready=True)
        assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await LocketClient("127.0.0.1:1", None).fetch("x")


async def test_keepalive_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, int] = {}
    dial = grpc.aio.insecure_channel

    def recorded(address: str, options: list[tuple[str, int]]) -> grpc.aio.Channel:
        given.update(options)
        return dial(address, options=options)

    monkeypatch.setattr(grpc.aio, "insecure_channel", recorded)
    async with LocketClient("127.0.0.1:1", None, keepalive_time_s=7, keepalive_timeout_s=9):
        assert given["grpc.keepalive_time_ms"] == 7000
        assert given["grpc.keepalive_timeout_ms"] == 9000


METHODS = {method.path: method for method in (wire.LOCK, wire.FETCH, wire.RELEASE, wire.FETCH_ALL)}
STATUSES = {code.value[0]: code for code in grpc.StatusCode}


async def _make(client: LocketClient, path: str, message: Any, uuid: str) -> None:
    if path == wire.FETCH_ALL.path:
        await client.fetch_all(TypeCode(message.type_code))
    elif path == wire.FETCH.path:
        await client.fetch(message.key, uuid=uuid)
    elif path == wire.RELEASE.path:
        await client.release(_resource(message.resource))
    else:
        await client.lock(_resource(message.resource), message.ttl_in_seconds, uuid=uuid)


def _resource(asked: Any) -> Resource:
    return Resource(key=asked.key, owner=asked.owner, value=asked.value, type_code=TypeCode(asked.type_code))


@pytest.mark.captures("locket")
async def test_our_calls_are_the_recorded_ones(capture: Capture, locket: ScriptedLocket) -> None:
    async with LocketClient(locket.address, None) as client:
        for exchange in capture.exchanges:
            method, meta = METHODS[exchange.path], exchange.answer_meta
            message, uuid = method.request.FromString(exchange.body), exchange.headers.get("uuid", "")
            if meta["grpc_status"]:
                code = STATUSES[meta["grpc_status"]]
                locket.answers.append((code, meta["grpc_message"]))
                with pytest.raises(LocketError) as refused:
                    await _make(client, exchange.path, message, uuid)
                assert (refused.value.code, refused.value.message) == (code, meta["grpc_message"])
            else:
                locket.answers.append(method.response.FromString(exchange.answer))
                await _make(client, exchange.path, message, uuid)
            name, asked, metadata = locket.calls[-1]
            if exchange.sender == "rep":
                assert asked == message
            else:  # cfdot leaves out the old spelling of a type
                assert _without_old_type(asked) == _without_old_type(message)
            assert (name, metadata.get("uuid", "")) == (method.name, uuid)


def _without_old_type(message: Any) -> str:
    text = str(message)
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith("type:"))
