"""Who gets in: credentials, cookie, other origins, artifacts."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.api import BBSClient
from bbs.embedded.receptor.access import Credentials
from bbs.embedded.receptor.app import ReceptorConfig, receptor_app

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]
SECURED = ReceptorConfig(credentials=Credentials("user", "pass"))


def basic(pair: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


GOOD = basic("user:pass")


class NoBBS:
    """These routes ask no BBS, but for a list of domains."""

    async def domains(self, *, trace_id: str = "") -> list[str]:
        return []


@asynccontextmanager
async def api(config: ReceptorConfig) -> AsyncIterator[Client]:
    app = receptor_app(cast("BBSClient", NoBBS()), config)
    async with TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True)) as client:
        yield client


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        ({}, 401),
        (basic("user:wrong"), 401),
        (basic("other:pass"), 401),
        (basic(":"), 401),
        ({"Authorization": "Bearer x"}, 401),
        (GOOD, 200),
    ],
)
async def test_credentials(auth: dict[str, str], status: int) -> None:
    async with api(SECURED) as client, client.get("/v1/domains", headers=auth) as answer:
        assert answer.status == status


async def test_a_refusal_says_how_to_get_in() -> None:
    async with api(SECURED) as client, client.post("/v1/tasks") as answer:
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="API Authentication"'
        assert (await answer.json())["name"] == "Unauthorized"


async def test_the_cookie_stands_for_the_credentials() -> None:
    async with api(SECURED) as client:
        async with client.post("/v1/auth_cookie", headers=GOOD) as answer:
            assert answer.status == 204
            assert answer.headers["Set-Cookie"].startswith("receptor_authorization=")
            assert "HttpOnly" in answer.headers["Set-Cookie"]
        async with client.get("/v1/domains") as answer:
            assert answer.status == 200


async def test_no_cookie_without_credentials() -> None:
    async with api(SECURED) as client:
        async with client.post("/v1/auth_cookie") as answer:
            assert (answer.status, answer.headers.get("Set-Cookie")) == (401, None)
        async with client.get("/v1/domains", cookies={"receptor_authorization": "Basic x"}) as answer:
            assert answer.status == 401


async def test_without_configured_credentials_everybody_gets_in() -> None:
    async with api(ReceptorConfig()) as client, client.get("/v1/domains") as answer:
        assert answer.status == 200


async def test_other_origins_may_read_when_allowed() -> None:
    config = ReceptorConfig(cors=True, credentials=SECURED.credentials)
    origin = {"Origin": "http://ui.example.com"}
    async with api(config) as client:
        preflight = {"Access-Control-Request-Headers": "authorization"}
        async with client.options("/v1/desired_lrps/x", headers=origin | preflight) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
            assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
        for auth, status in ((GOOD, 200), ({}, 401)):
            async with client.get("/v1/domains", headers=origin | auth) as answer:
                assert answer.status == status
                assert answer.headers["Access-Control-Allow-Origin"] == "http://ui.example.com"
                assert answer.headers["Access-Control-Allow-Credentials"] == "true"


async def test_other_origins_are_not_allowed_otherwise() -> None:
    async with api(ReceptorConfig()) as client:
        async with client.options("/v1/domains", headers={"Origin": "http://x"}) as answer:
            assert answer.status == 405
        async with client.get("/v1/domains", headers={"Origin": "http://x"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("linux/ltc", 200),
        ("linux/nope", 404),
        ("nope/ltc", 404),
        ("linux/..%2f..%2fsecret", 404),
        ("..%2f..%2f/secret", 404),
        ("%2e%2e/secret", 404),
        ("linux/a%00b", 404),
    ],
)
async def test_artifacts_are_for_everybody(tmp_path: Path, path: str, status: int) -> None:
    (tmp_path / "artifacts" / "linux").mkdir(parents=True)
    (tmp_path / "artifacts" / "linux" / "ltc").write_bytes(b"binary")
    (tmp_path / "secret").write_bytes(b"secret")
    config = ReceptorConfig(credentials=SECURED.credentials, artifacts_dir=tmp_path / "artifacts")
    async with api(config) as client, _get_exactly(client, f"/v1/sync/{path}") as answer:
        assert answer.status == status
        if status == 200:
            assert await answer.read() == b"binary"
            assert answer.content_type == "application/octet-stream"


async def test_there_may_be_no_artifacts() -> None:
    async with api(ReceptorConfig()) as client, client.get("/v1/sync/linux/ltc") as answer:
        assert answer.status == 404


def _get_exactly(client: Client, path: str) -> Any:
    return client.session.get(client.make_url("/").with_path(path, encoded=True))
