"""The ``cf-router`` routes of a DesiredLRP. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bbs.models.desired_lrp import DesiredLRP

CF_ROUTER: Final = "cf-router"
"""Key of the routes in a DesiredLRP."""

MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Route:
    """A host, and a path below which requests go to a port of the container.

    host: lower case; ``*`` as its first label stands for one label or more. path: without a slash at its end;
    empty for all paths.
    """

    host: str
    path: str
    port: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """The usable routes, and a text for each entry that cannot be used."""

    routes: tuple[Route, ...] = ()
    problems: tuple[str, ...] = ()


def routes_of(desired: DesiredLRP) -> Parsed:
    """The routes of an LRP. An unusable entry does not affect the others."""
    raw = (desired.routes or {}).get(CF_ROUTER)
    if not raw:
        return Parsed()
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError):
        return Parsed(problems=(f"{CF_ROUTER} is not JSON",))
    if entries is None:
        return Parsed()
    if not isinstance(entries, list):
        return Parsed(problems=(f"{CF_ROUTER} is not a list",))
    routes: dict[Route, None] = {}
    problems: list[str] = []
    for number, entry in enumerate(entries):
        try:
            routes.update(dict.fromkeys(_routes(entry)))
        except ValueError as error:
            problems.append(f"{CF_ROUTER}[{number}]: {error}")
    return Parsed(tuple(routes), tuple(problems))


def _routes(entry: Any) -> Iterator[Route]:
    """Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError("it is not an object")
    if entry.get("route_service_url"):
        # A route service may authenticate users. Requests must not reach the app without it.
        raise ValueError("route services are not supported")
    port, hostnames = entry.get("port"), entry.get("hostnames")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= MAX_PORT:
        raise ValueError("`port` is not a port of the container")
    if not isinstance(hostnames, list) or not all(isinstance(each, str) for each in hostnames):
        raise ValueError("`hostnames` is not a list of strings")
    for hostname in hostnames:
        host, _, path = hostname.partition("/")
        host = host.lower().removesuffix(".")
        if not host or any(character.isspace() or character == ":" for character in host):
            raise ValueError("a hostname is empty, or contains a space or a port")
        path = path.rstrip("/")
        yield Route(host, f"/{path}" if path else "", port)


def candidates(host: str) -> Iterator[str]:
    """The hosts of routes that a request for ``host`` may use, the most specific one first."""
    yield host
    _, _, parent = host.partition(".")
    while parent:
        yield f"*.{parent}"
        _, _, parent = parent.partition(".")


def is_below(path: str, prefix: str) -> bool:
    """Whether the path of a request is the prefix of a route, or below it."""
    return path.startswith(prefix) and (len(path) == len(prefix) or not prefix or path[len(prefix)] == "/")
