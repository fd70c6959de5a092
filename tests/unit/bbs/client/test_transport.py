"""Transport of BBS requests: form of a request, interpretation of answers, retries."""

from __future__ import annotations

import dataclasses
import gzip
from typing import TYPE_CHECKING

import pytest

from bbs.client.api import BBSClient
from bbs.client.http import HTTPBBSClient
from bbs.client.oneshot import OneShotBBSClient
from bbs.client.transport import Answer, EndpointNotFoundError, Policy, UnansweredError, interpret
from bbs.models.errors import BBSError, ErrorType
from bbs.wire.proto.domain_pb2 import DomainsResponse
from bbs.wire.proto.error_pb2 import Error
from tests.unit.bbs.client.conftest import Reply

if TYPE_CHECKING:
    from tests.unit.bbs.client.conftest import Kind, ScriptedServer

pytestmark = pytest.mark.unit

PROTOBUF = "application/x-protobuf"
DOMAINS = DomainsResponse(domains=["d"])
BODY = DOMAINS.SerializeToString()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_protobuf_body_counts_whatever_the_status(status: int) -> None:
    assert interpret(Answer(status, PROTOBUF, "", BODY), DomainsResponse) == DOMAINS


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_other_success_is_an_empty_response(status: int) -> None:
    assert interpret(Answer(status, "text/html", "", b"<p>"), DomainsResponse) == DomainsResponse()


REFUSED = {
    "router error before all": (
        Answer(200, PROTOBUF, "no endpoints", BODY),
        UnansweredError(ErrorType.RouterError, "no endpoints"),
    ),
    "404": (
        Answer(404, "text/plain", "", b""),
        EndpointNotFoundError(ErrorType.InvalidResponse, "Invalid Response with status code: 404"),
    ),
    "redirect": (
        Answer(302, "text/plain", "", b""),
        UnansweredError(ErrorType.InvalidResponse, "Invalid Response with status code: 302"),
    ),
    "503": (
        Answer(503, "application/octet-stream", "", b""),
        UnansweredError(ErrorType.InvalidResponse, "Invalid Response with status code: 503"),
    ),
}


@pytest.mark.parametrize(("answer", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_answer(answer: Answer, expected: UnansweredError) -> None:
    with pytest.raises(UnansweredError) as raised:
        interpret(answer, DomainsResponse)
    assert type(raised.value) is type(expected)
    assert raised.value == expected


def test_a_body_that_cannot_be_read_is_no_answer() -> None:
    with pytest.raises(UnansweredError, match="3 bytes that are no DomainsResponse") as raised:
        interpret(Answer(200, PROTOBUF, "", b"\xff\xff\xff"), DomainsResponse)
    assert raised.value.type is ErrorType.InvalidProtobufMessage


@pytest.mark.parametrize("trace_id", ["", "0123456789abcdef0123456789abcdef"])
async def test_the_request(server: ScriptedServer, client: BBSClient, trace_id: str) -> None:
    server.answer()
    await client.upsert_domain("d", 1, trace_id=trace_id)
    (request,) = server.requests
    assert (request.method, request.path, request.body) == (
        "POST",
        "/v1/domains/upsert",
        b"\x0a\x01d\x10\x01",
    )
    assert request.headers["Content-Type"] == PROTOBUF
    assert request.headers["Content-Length"] == "5"
    assert request.headers["X-Vcap-Request-Id"] == trace_id


async def test_a_request_without_content(server: ScriptedServer, client: BBSClient) -> None:
    server.answer(DOMAINS)
    assert await client.domains() == ["d"]
    (request,) = server.requests
    assert (request.headers["Content-Length"], request.body) == ("0", b"")


async def test_media_type_parameters_do_not_matter(server: ScriptedServer, client: BBSClient) -> None:
    server.answer(DOMAINS, media_type="application/x-protobuf; charset=utf-8")
    assert await client.domains() == ["d"]


@pytest.mark.parametrize(("kind", "connections"), [(HTTPBBSClient, [0, 0, 0]), (OneShotBBSClient, [0, 1, 2])])
async def test_who_stays_keeps_its_connection(
    server: ScriptedServer, policy: Policy, kind: Kind, connections: list[int]
) -> None:
    async with kind(server.url, policy=policy) as client:
        for _ in range(3):
            server.answer(DOMAINS)
            await client.domains()
    assert [request.connection for request in server.requests] == connections


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_without_end_is_cut_and_not_asked_for_again(
    server: ScriptedServer, kind: Kind, policy: Policy, announced: bool
) -> None:
    """A broken BBS sends gigabytes: the client keeps a bounded part of them in memory, once."""
    if announced:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n"
        server.replies.append(Reply(head + bytes(3000), then="hang"))
    else:
        server.stream(b"bb8\r\n" + bytes(3000) + b"\r\n", then="hang")
    async with kind(server.url, policy=dataclasses.replace(policy, answer_bytes=2000)) as client:
        with pytest.raises(UnansweredError, match="answer is larger than 2000 bytes"):
            await client.domains()
    assert len(server.requests) == 1


async def test_a_compressed_answer_is_not_asked_for_and_not_unpacked(
    server: ScriptedServer, client: BBSClient
) -> None:
    """1 GB of zeros is 1 MB of gzip."""
    for _ in range(3):
        server.answer(gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(UnansweredError, match="bytes that are no DomainsResponse"):
        await client.domains()
    assert "gzip" not in server.requests[0].headers.get("Accept-Encoding", "")


def assert_backed_off(pauses: list[float]) -> None:
    """Two pauses, each random between half and all of a length that doubles."""
    first, second = pauses
    assert 0.25 <= first <= 0.5
    assert 0.5 <= second <= 1.0


async def test_what_failed_is_tried_again(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    server.hang_up()
    server.answer(b"", status=503, media_type="text/plain")
    server.answer(DOMAINS)
    assert await client.domains() == ["d"]
    assert_backed_off(pauses)


async def test_after_three_attempts_the_last_failure_is_raised(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    server.hang_up()
    server.answer(b"\xff")
    server.answer(DOMAINS, headers={"X-Cf-Routererror": "unknown_route"})
    with pytest.raises(UnansweredError) as raised:
        await client.domains()
    assert raised.value == BBSError(ErrorType.RouterError, "unknown_route")
    assert len(server.requests) == 3
    assert_backed_off(pauses)


async def test_a_redirect_is_not_followed(server: ScriptedServer, client: BBSClient) -> None:
    for _ in range(3):
        server.answer(b"", status=302, media_type="text/plain", headers={"Location": "/v1/ping"})
    with pytest.raises(UnansweredError, match="status code: 302"):
        await client.domains()
    assert {request.path for request in server.requests} == {"/v1/domains/list"}


@pytest.mark.parametrize("type", ["ResourceNotFound", "InvalidRequest", "Unrecoverable"])
async def test_an_error_of_the_bbs_is_final(
    server: ScriptedServer, client: BBSClient, pauses: list[float], type: str
) -> None:
    server.answer(DomainsResponse(error=Error(type=type, message="no")))
    with pytest.raises(BBSError) as raised:
        await client.domains()
    assert raised.value == BBSError(ErrorType[type], "no")
    assert not isinstance(raised.value, UnansweredError)
    assert (len(server.requests), pauses) == (1, [])


@pytest.mark.parametrize("type", ["UnknownError", "Deadlock"])
async def test_an_error_that_may_pass_is_met_again(
    server: ScriptedServer, client: BBSClient, pauses: list[float], type: str
) -> None:
    """A BBS whose disk is full for a moment, or whose database is in a deadlock, lost the call."""
    for _ in range(2):
        server.answer(DomainsResponse(error=Error(type=type, message="again")))
    server.answer(DOMAINS)
    assert await client.domains() == ["d"]
    assert_backed_off(pauses)


async def test_an_error_that_does_not_pass_is_raised_in_the_end(
    server: ScriptedServer, client: BBSClient
) -> None:
    for _ in range(3):
        server.answer(DomainsResponse(error=Error(type="Deadlock", message="again")))
    with pytest.raises(BBSError) as raised:
        await client.domains()
    assert raised.value == BBSError(ErrorType.Deadlock, "again")


async def test_a_path_the_bbs_does_not_know_is_asked_for_once(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    """A 404 was retried: each call with an older form cost a second."""
    server.answer(b"", status=404, media_type="text/plain")
    with pytest.raises(EndpointNotFoundError):
        await client.domains()
    assert (len(server.requests), pauses) == (1, [])


async def test_a_rejection_is_sent_once(
    server: ScriptedServer, client: BBSClient, pauses: list[float]
) -> None:
    """A repeat after a lost answer put a task that ran on another cell back to pending."""
    server.hang_up()
    with pytest.raises(UnansweredError):
        await client.reject_task("t", "no room")
    assert (len(server.requests), pauses) == (1, [])


async def test_silence_is_a_timeout(server: ScriptedServer, policy: Policy, kind: Kind) -> None:
    server.hang()
    server.hang()
    impatient = dataclasses.replace(policy, request_timeout_s=0.05, attempts=2)
    async with kind(server.url, policy=impatient) as client:
        with pytest.raises(UnansweredError, match=r"/v1/domains/list: no answer within 0\.05 s") as raised:
            await client.domains()
    assert raised.value.type is ErrorType.Timeout
    assert len(server.requests) == 2


async def test_nobody_there(unused_tcp_port: int, policy: Policy, kind: Kind, pauses: list[float]) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with kind(url, policy=policy) as client:
        with pytest.raises(UnansweredError, match=f"{url}/v1/domains/list: .*Connect") as raised:
            await client.domains()
    assert raised.value.type is ErrorType.InvalidResponse
    assert_backed_off(pauses)


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await HTTPBBSClient("http://127.0.0.1:1").domains()
