"""The route of a pushed app."""

from __future__ import annotations

import pytest

from cell.apps.routing import AppRoute

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "router", "url"),
    [
        ("shop", "http://localhost:8000", "http://shop.localhost:8000/"),
        ("shop", "https://apps.example.com", "https://shop.apps.example.com/"),
        ("My Shop_v1.2", "http://localhost", "http://my-shop-v1-2.localhost/"),
        ("é", "http://localhost", "http://app.localhost/"),
        ("x" * 100, "http://localhost", f"http://{'x' * 63}.localhost/"),
    ],
)
def test_the_name_is_a_label_below_the_routers_host(name: str, router: str, url: str) -> None:
    route = AppRoute.of(name, router)
    assert route is not None
    assert route.url == url
    assert route.routes(8080) == {"cf-router": [{"hostnames": [route.host], "port": 8080}]}


def test_without_a_router_there_is_no_route() -> None:
    assert AppRoute.of("shop", "") is None
