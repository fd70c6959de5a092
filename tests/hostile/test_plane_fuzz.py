"""Random bytes to each listener of a control plane: it answers, logs no traceback, and keeps serving."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbs.client.http import HTTPBBSClient
from bbs.embedded.http.app import ROUTES
from bbs.embedded.plane import ControlPlane
from bbs.serving.address import Address
from bbs.wire import locket as locket_wire
from bbs.wire.mapping import encode
from tests.support.messages import TEXTS, messages
from tests.support.planes import called, raw
from tests.support.thorough import THOROUGH

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_trace")]

INTERNAL = "the log says why"
"""In the answer to a request that met an error of ours."""

fuzzed = settings(
    max_examples=300 if THOROUGH else 8,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@st.composite
def bbs_calls(draw: st.DrawFn) -> tuple[str, bytes]:
    """A call of the BBS: its message with any content, or any bytes, or a message cut off."""
    served = draw(st.sampled_from(ROUTES))
    body = draw(messages(served.route.request).map(encode) | st.binary(max_size=30))
    return served.route.path, body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


@fuzzed
@given(st.lists(bbs_calls(), min_size=8, max_size=12))
async def test_every_call_of_the_bbs_is_answered(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, calls: list[tuple[str, bytes]]
) -> None:
    for path, body in calls:
        async with http_session.post(running_plane.bbs_url + path, data=body) as answer:
            assert answer.status == 200
            said = await answer.read()
            assert b"unknown reason" not in said, (path, body)
    async with http_session.post(running_plane.bbs_url + "/v1/ping") as answer:
        assert answer.status == 200


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "run",
                    "serial",
                    "action",
                    "actions",
                    "path",
                    "user",
                    "try",
                    "timeout",
                    "name",
                    "value",
                    "port",
                    "\ud800",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
KEYS = [
    "task_guid",
    "process_guid",
    "domain",
    "rootfs",
    "root_fs",
    "stack",
    "action",
    "actions",
    "setup",
    "monitor",
    "env",
    "egress_rules",
    "security_group_rules",
    "ports",
    "routes",
    "annotation",
    "memory_mb",
    "disk_mb",
    "cpu_weight",
    "privileged",
    "instances",
    "start_timeout",
    "log_guid",
    "metrics_guid",
    "result_file",
    "completion_callback_url",
    "task_definition",
    "Domain",
    "EnvironmentVariables",
    "volume_mounts",
    "check_definition",
    "metric_tags",
]
ACTION = st.just({"run": {"path": "/x", "user": "u"}}) | JSON
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={key: (ACTION if "action" in key else JSON) for key in KEYS}
    | {
        "task_guid": TEXTS,
        "process_guid": TEXTS,
        "domain": st.just("d") | TEXTS,
        "rootfs": st.just("docker:///x") | JSON,
    },
)


REST_PATHS = [
    "/v1/tasks",
    "/v1/tasks?domain=GUID",
    "/v1/tasks/GUID",
    "/v1/tasks/GUID/cancel",
    "/v1/desired_lrps",
    "/v1/desired_lrps/GUID",
    "/v1/actual_lrps",
    "/v1/actual_lrps/GUID",
    "/v1/actual_lrps/g/index/GUID",
    "/v1/cells",
    "/v1/domains",
    "/v1/domains/GUID",
    "/v1/version",
    "/v1/auth_cookie",
    "/v1/sync/GUID/GUID",
]


@st.composite
def rest_calls(draw: st.DrawFn) -> tuple[str, str, bytes]:
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
    guid = draw(st.sampled_from(["g", "web", "%2e%2e", "%00", "%ff", "%ed%a0%80", "a%2Fb", "x" * 300, "-1"]))
    path = draw(st.sampled_from(REST_PATHS)).replace("GUID", guid)
    body = draw(DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20))
    return method, path, body


@fuzzed
@given(st.lists(rest_calls(), min_size=8, max_size=12))
async def test_every_request_of_the_rest_api_is_answered(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, calls: list[tuple[str, str, bytes]]
) -> None:
    for method, path, body in calls:
        url = aiohttp.client.URL(running_plane.addresses.receptor.url() + path, encoded=True)
        async with http_session.request(method, url, data=body) as answer:
            text = await answer.text()
            # The API of 2015 calls some refusals of the BBS unknown errors; our own errors differ.
            known = answer.status < 500 or (answer.status == 500 and '"UnknownError"' in text)
            assert known, (method, path, body, text)
            assert INTERNAL not in text, (method, path, body)
    async with http_session.get(running_plane.addresses.receptor.url() + "/v1/cells") as answer:
        assert answer.status == 200


HEADERS = [
    "Host",
    "Origin",
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "Content-Type",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Encoding",
    "X-Vcap-Request-Id",
    "Cache-Control",
    "Content-Digest",
    "Content-MD5",
    "Expect",
    "Cookie",
    "Authorization",
]
VALUES = st.binary(max_size=10) | st.sampled_from(
    b'localhost|bytes=0-1|"x"|0|5|chunked|gzip|\xff\xfe|multipart/form-data|100-continue|sha-256=:!:|max-age=1|'
    b"multipart/form-data; boundary=b|999999999999999999999999999999".split(b"|")
)
PATHS = st.binary(max_size=10) | st.sampled_from(
    b"/ /v1/static/f /v1/static/\xff /v1/static/%00 /v1/static/../x * http://[/ /v1/tasks /v1/tasks/\xff "
    b"/v1/domains/\xff /v1/droplet/x?cc-droplet-upload-uri=\xff /internal/v4/packages/p/upload /v1/lrps "
    b"/internal/v4/droplets/d/upload?async=true /v1/desired_lrp/desire.r3 /v1/events.r1 "
    b"/staging/jobs/\xff".split(b" ")
)
BODIES = (
    b"",
    b"--b\r\n\r\nx\r\n--b--\r\n",
    b"0\r\n\r\n",
    b"[]",
    b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\nx",
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A request as bytes: its line and headers may be anything."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"\xff"]))
    lines = [method + b" " + draw(PATHS) + b" HTTP/1.1", b"Host: localhost"]
    for name in draw(st.lists(st.sampled_from(HEADERS), max_size=3)):
        lines.append(name.encode() + b": " + draw(VALUES))
    body = draw(st.sampled_from(BODIES))
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


@fuzzed
@given(
    st.sampled_from(["bbs", "receptor", "auctioneer", "fileserver"]),
    st.lists(heads(), min_size=5, max_size=10),
)
async def test_every_listener_answers_any_bytes(
    running_plane: ControlPlane, part: str, requests: list[bytes]
) -> None:
    address: Address = getattr(running_plane.addresses, part)
    for request in requests:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                answer = await reader.read()
                assert (
                    not answer.startswith(b"HTTP/1.1 500")
                    or b"text/event-stream" in request
                    or b"/v1/events" in request
                ), (request, answer)
        writer.close()
    assert (await raw(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(b"HTTP/1.1 40")


@st.composite
def locket_calls(draw: st.DrawFn) -> tuple[Any, bytes]:
    method = draw(
        st.sampled_from([locket_wire.LOCK, locket_wire.FETCH, locket_wire.RELEASE, locket_wire.FETCH_ALL])
    )
    return method, draw(messages(method.request).map(encode) | st.binary(max_size=30))


@fuzzed
@given(st.lists(locket_calls(), min_size=8, max_size=12))
async def test_every_call_of_locket_is_answered(
    plane_locket: grpc.aio.Channel, plane_client: HTTPBBSClient, calls: list[tuple[Any, bytes]]
) -> None:
    refusals = {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.INTERNAL,  # for bytes that are no message, as in Go
    }
    for method, body in calls:
        answer = await called(plane_locket, method, body)
        assert isinstance(answer, bytes) or answer in refusals, (method, body, answer)
    await plane_client.cells()
