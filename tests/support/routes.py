"""The protocol's table of routes, and the routes that an application serves."""

from __future__ import annotations

from aiohttp import web

from tests.support.paths import GOLDEN_FILES

ROUTES = GOLDEN_FILES / "protocol" / "routes.txt"


def route_table(server: str) -> set[tuple[str, str]]:
    """Method and path of each route of a server."""
    lines = (line.split() for line in ROUTES.read_text().splitlines() if not line.startswith("#"))
    return {(method, path) for of, method, path in lines if of == server}


def served_routes(application: web.Application) -> set[tuple[str, str]]:
    """Method and path of each route of an application, variable parts as in the table.

    HEAD comes with GET by itself; the route for every method answers that there is none.
    """
    return {
        (route.method, route.resource.canonical.replace("{", ":").replace("}", ""))
        for route in application.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }
