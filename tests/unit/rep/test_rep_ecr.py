"""Registry credentials: passed unchanged, or exchanged for an access key."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from common.ecr import api_host, authorize
from rep.ecr import RegistryCredentials
from rep.runrequest import RunRequestError
from rep.server import listening

pytestmark = pytest.mark.unit

IMAGE = "docker://123456789012.dkr.ecr.us-east-1.amazonaws.com/app#latest"
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


def test_the_signature_is_that_of_the_published_example() -> None:
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    assert authorize(headers, b"", "us-east-1", "service", "AKIDEXAMPLE", secret) == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


@pytest.mark.parametrize(
    "root_fs",
    ["", "/stacks/cflinuxfs4.tar", "docker:///org/image", "docker://ecr.example.com/x", IMAGE[:40]],
)
async def test_other_registries_take_what_they_are_given(root_fs: str) -> None:
    assert await RegistryCredentials().exchange(root_fs, "user", "secret") == ("user", "secret")


async def test_an_image_without_credentials_stays_without() -> None:
    assert await RegistryCredentials().exchange(IMAGE, "", "") == ("", "")


class Registry:
    """Answers one way, and keeps the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: object = {"authorizationData": [{"authorizationToken": self.token("AWS:pass:word")}]}
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.asked_for: list[tuple[str, str]] = []
        self.url = ""

    @staticmethod
    def token(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer comes in two pieces, each a packet of its own."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((headers, await request.read()))
        body = json.dumps(self.answer).encode()
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        await response.write(body[:1])
        await asyncio.sleep(0.01)
        await response.write(body[1:])
        return response

    def endpoint(self, region: str, variant: str) -> str:
        self.asked_for.append((region, variant))
        return self.url


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    made = Registry()
    application = web.Application()
    application.router.add_post("/", made.handle)
    async with listening(application, "127.0.0.1:0", None) as address:
        made.url = f"http://{address.host}:{address.port}/"
        yield made


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("1.dkr.ecr.us-east-1.amazonaws.com", ("us-east-1", "")),
        ("1.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ("us-gov-west-1", "-fips")),
        ("1.dkr.ecr.cn-north-1.amazonaws.com.cn", ("cn-north-1", ".cn")),
    ],
)
async def test_an_access_key_buys_credentials(registry: Registry, host: str, place: tuple[str, str]) -> None:
    credentials = RegistryCredentials(endpoint=registry.endpoint, now=lambda: NOON)
    assert await credentials.exchange(f"docker://{host}/app", "AKID", "secret") == ("AWS", "pass:word")
    assert registry.asked_for == [place]
    ((headers, body),) = registry.requests
    assert body == b"{}"
    assert headers["x-amz-target"].endswith(".GetAuthorizationToken")
    assert headers["authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential=AKID/20260102/{place[0]}/ecr/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="
    )
    assert f"http://{headers['host']}/" == registry.url


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, {"message": "UnrecognizedClientException"}),
        (200, {}),
        (200, {"authorizationData": []}),
        (200, {"authorizationData": [{"authorizationToken": Registry.token("nothing")}]}),
        (200, []),
    ],
)
async def test_a_refusal_says_so(registry: Registry, status: int, answer: object) -> None:
    registry.status, registry.answer = status, answer
    with pytest.raises(RunRequestError, match=r"^failed to get ECR credentials: "):
        await RegistryCredentials(endpoint=registry.endpoint).exchange(IMAGE, "AKID", "secret")


@pytest.mark.parametrize(
    ("region", "variant", "host"),
    [
        ("us-east-1", "", "api.ecr.us-east-1.amazonaws.com"),
        ("us-east-2", "-fips", "ecr-fips.us-east-2.amazonaws.com"),
        ("cn-north-1", ".cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_where_the_api_is(region: str, variant: str, host: str) -> None:
    assert api_host(region, variant) == host
