"""Invalid requests to the BBS: an error response each, and the next request is served."""

from __future__ import annotations

import io
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from bbs.embedded.http.app import BODY_LIMIT
from bbs.models.desired_lrp import DesiredLRP
from bbs.wire.mapping import encode, to_wire
from bbs.wire.proto.actual_lrp_requests_pb2 import ActualLRPsResponse
from bbs.wire.proto.desired_lrp_requests_pb2 import DesiredLRPLifecycleResponse, DesireLRPRequest
from bbs.wire.proto.domain_pb2 import DomainsResponse, UpsertDomainRequest, UpsertDomainResponse
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.routes import DESIRE_DESIRED_LRP, DOMAINS, UPSERT_DOMAIN

pytestmark = pytest.mark.unit

Http = TestClient[Any, Any]
UNKNOWN_FIELDS = b"\xa2\x06\x05hello\xa8\x06\x01"
"""Fields 100 (text) and 101 (a number), which no request has."""


@pytest.fixture(params=["plain HTTP", "mutual TLS"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def post(http: Http, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    async with http.post(path, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status, await answer.read()


async def test_every_truncation_of_a_request_is_refused_or_understood(
    world: Any, http: Http, web_lrp: DesiredLRP
) -> None:
    whole = encode(DesireLRPRequest(desired_lrp=to_wire(web_lrp)))
    for length in range(1, len(whole)):
        status, body = await post(http, DESIRE_DESIRED_LRP.path, whole[:length])
        assert status == 200
        assert DesiredLRPLifecycleResponse.FromString(body).error.type == Error.Type.InvalidRequest, length
    assert await world.rows("web") == []
    assert await post(http, DESIRE_DESIRED_LRP.path, whole) == (200, b"")
    assert len(await world.rows("web")) == 2


async def test_unknown_fields_are_passed_over(http: Http) -> None:
    request = encode(UpsertDomainRequest(domain="apps", ttl=0)) + UNKNOWN_FIELDS
    assert await post(http, UPSERT_DOMAIN.path, request) == (200, b"")
    _, body = await post(http, DOMAINS.path, b"")
    assert list(DomainsResponse.FromString(body).domains) == ["apps"]


@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded", "x"])
async def test_the_type_of_a_request_is_not_looked_at(http: Http, media_type: str) -> None:
    request = encode(UpsertDomainRequest(domain="apps", ttl=0))
    status, body = await post(http, UPSERT_DOMAIN.path, request, **{"Content-Type": media_type})
    assert (status, UpsertDomainResponse.FromString(body)) == (200, UpsertDomainResponse())


async def test_a_body_no_request_needs_is_refused_and_the_next_call_is_served(http: Http) -> None:
    status, _ = await post(http, UPSERT_DOMAIN.path, bytes(BODY_LIMIT + 1))
    assert status == 413
    status, body = await post(http, "/v1/actual_lrps/list", b"")
    assert (status, ActualLRPsResponse.FromString(body)) == (200, ActualLRPsResponse())
