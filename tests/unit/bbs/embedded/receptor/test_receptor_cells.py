"""Cells, domains, version and cookie of the Receptor API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.api import BBSClient
from bbs.embedded.receptor.app import receptor_app
from bbs.models.cell import CellCapacity, CellPresence, Provider

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]


class Registry:
    """A BBS of cells and domains."""

    def __init__(self) -> None:
        self.presences: list[CellPresence] = []
        self.upserted: list[tuple[str, int]] = []

    async def cells(self, *, trace_id: str = "") -> list[CellPresence]:
        return self.presences

    async def upsert_domain(self, domain: str, ttl_s: int, *, trace_id: str = "") -> None:
        self.upserted.append((domain, ttl_s))


@pytest.fixture
def bbs() -> Registry:
    return Registry()


@pytest.fixture
async def client(bbs: Registry) -> AsyncIterator[Client]:
    app = receptor_app(cast("BBSClient", bbs))
    async with TestClient(TestServer(app)) as test_client:
        yield test_client


async def put_domain(client: Client, headers: list[tuple[str, str]]) -> tuple[int, str]:
    async with client.put("/v1/domains/d", headers=headers) as answer:
        return answer.status, await answer.text()


async def test_cells(client: Client, bbs: Registry) -> None:
    cell = CellPresence(
        cell_id="c",
        zone="z",
        capacity=CellCapacity(memory_mb=1, disk_mb=2, containers=3),
        rootfs_providers=(Provider(name="preloaded", properties=("lucid64",)), Provider(name="docker")),
    )
    bbs.presences.append(cell)

    async with client.get("/v1/cells") as answer:
        assert await answer.json() == [
            {
                "cell_id": "c",
                "zone": "z",
                "capacity": {"memory_mb": 1, "disk_mb": 2, "containers": 3},
                "rootfs_providers": {"preloaded": ["lucid64"], "docker": []},
            }
        ]


@pytest.mark.parametrize(
    ("headers", "ttl_s"),
    [
        ([], 0),
        ([("Cache-Control", "max-age=120")], 120),
        ([("Cache-Control", "max-age=0")], 0),
        ([("Cache-Control", "no-cache"), ("Cache-Control", "max-age=7")], 7),
    ],
)
async def test_how_long_a_domain_lasts(
    client: Client, bbs: Registry, headers: list[tuple[str, str]], ttl_s: int
) -> None:
    assert await put_domain(client, headers) == (204, "")

    assert bbs.upserted == [("d", ttl_s)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("no-cache", "max-age directive missing from request"),
        ("no-cache, max-age=5", "max-age directive missing from request"),
        ("max-age=soon", "invalid-max-age-directive: max-age=soon"),
        ("max-age=", "invalid-max-age-directive: max-age="),
        ("max-age=-1", "invalid-max-age-directive: max-age=-1"),
        ("max-age=4294967296", "invalid-max-age-directive: max-age=4294967296"),
        ("max-age=5, public", "invalid-max-age-directive: max-age=5, public"),
    ],
)
async def test_directives_that_say_nothing(client: Client, bbs: Registry, header: str, message: str) -> None:
    refused = f'{{"name":"InvalidRequest","message":"{message}"}}'
    assert await put_domain(client, [("Cache-Control", header)]) == (400, refused)
    assert bbs.upserted == []


async def test_version(client: Client) -> None:
    async with client.get("/v1/version") as answer:
        versions = await answer.json()

    assert versions == dict.fromkeys(
        (
            "cf_release",
            "cf_routing_release",
            "diego_release",
            "garden_linux_release",
            "lattice_release",
            "lattice_release_image",
            "ltc",
            "receptor",
        ),
        "",
    )


async def test_the_cookie_contains_the_credentials_of_the_request(client: Client) -> None:
    async with client.post("/v1/auth_cookie", headers={"Authorization": "Basic dTpw"}) as answer:
        assert answer.status == 204
        assert answer.headers["Set-Cookie"] == 'receptor_authorization="Basic dTpw"; HttpOnly; Path=/'
