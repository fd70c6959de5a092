"""The ``cf-router`` routes of an LRP."""

from __future__ import annotations

from typing import Any

import pytest

from bbs.models.desired_lrp import DesiredLRP
from cell.routing.routes import Route, candidates, is_below, routes_of
from tests.unit.cell.routing.conftest import desired

pytestmark = pytest.mark.unit


def test_each_hostname_of_each_entry_is_a_route() -> None:
    lrp = desired(
        "p",
        routes=[
            {"hostnames": ["Shop.Example.com", "shop.localhost/cart/"], "port": 8080, "protocol": "http1"},
            {"hostnames": ["*.shop.localhost"], "port": 9090, "isolation_segment": "x", "options": {}},
        ],
    )
    assert routes_of(lrp).routes == (
        Route("shop.example.com", "", 8080),
        Route("shop.localhost", "/cart", 8080),
        Route("*.shop.localhost", "", 9090),
    )


@pytest.mark.parametrize(
    "routes", [None, {}, {"cf-router": b""}, {"cf-router": b"null"}, {"tcp-router": b"[1]"}]
)
def test_an_lrp_without_routes(routes: dict[str, bytes] | None) -> None:
    parsed = routes_of(DesiredLRP(routes=routes))
    assert (parsed.routes, parsed.problems) == ((), ())


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"hostnames": ["a.b"]},
        {"hostnames": ["a.b"], "port": "8080"},
        {"hostnames": ["a.b"], "port": True},
        {"hostnames": ["a.b"], "port": 70000},
        {"hostnames": "a.b", "port": 1},
        {"hostnames": [3], "port": 1},
        {"hostnames": ["/path"], "port": 1},
        {"hostnames": ["a b"], "port": 1},
        {"hostnames": ["a.b:80"], "port": 1},
    ],
)
def test_an_entry_that_cannot_be_used_is_named_and_spares_the_others(entry: Any) -> None:
    parsed = routes_of(desired("p", routes=[entry, {"hostnames": ["good"], "port": 1}]))
    assert parsed.routes == (Route("good", "", 1),)
    assert len(parsed.problems) == 1
    assert parsed.problems[0].startswith("cf-router[0]: ")


def test_a_route_through_a_route_service_is_not_open_without_it() -> None:
    entry = {"hostnames": ["a.b"], "port": 1, "route_service_url": "https://login.example.com"}
    assert routes_of(desired("p", routes=[entry])).routes == ()


@pytest.mark.parametrize("raw", [b"{", b"[" * 100_000, b'{"hostnames":[]}'])
def test_data_that_is_no_list_of_routes(raw: bytes) -> None:
    parsed = routes_of(DesiredLRP(routes={"cf-router": raw}))
    assert parsed.routes == ()
    assert len(parsed.problems) == 1


def test_a_host_is_looked_up_before_its_wildcards() -> None:
    assert list(candidates("a.b.c")) == ["a.b.c", "*.b.c", "*.c"]
    assert list(candidates("localhost")) == ["localhost"]


@pytest.mark.parametrize(
    ("path", "prefix", "below"),
    [("/", "", True), ("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/", "/a", False)],
)
def test_a_path_is_below_a_prefix_at_a_slash(path: str, prefix: str, below: bool) -> None:
    assert is_below(path, prefix) is below
