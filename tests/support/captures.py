"""Recorded exchanges as test parameters: one test per capture file and server.

``@pytest.mark.captures("bbs")`` gives a test the argument ``capture``: everything of one file that went to
that server, in order. What the files hold is told in the README beside them.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from tests.support.paths import GOLDEN_FILES

WIRE = GOLDEN_FILES / "wire"

ADMIN_SIDE = " (admin side)"
"""Of a rep's two listeners the one for its own machine."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. message, answer_message: names of protobuf messages, or nothing.

    t: seconds since the beginning. server: ``bbs``, ``rep``, ``auctioneer`` or ``locket``.
    """

    name: str
    t: float
    sender: str
    server: str
    on_admin_side: bool
    cell: str
    path: str
    method: str
    headers: dict[str, str]
    message: str
    body: bytes
    status: int
    answer_headers: dict[str, str]
    answer_message: str
    answer: bytes
    answer_meta: dict[str, Any]

    @classmethod
    def read(cls, record: dict[str, Any]) -> Exchange:
        asked, answered = record["request"], record["response"]
        return cls(
            name=record["name"],
            t=record.get("t", 0.0),
            sender=record["from"],
            server=record["to"].removesuffix(ADMIN_SIDE),
            on_admin_side=record["to"].endswith(ADMIN_SIDE),
            cell=record.get("cell") or "",
            path=asked["path"],
            method=asked.get("method", "POST"),
            headers=dict(asked["headers"]),
            message=asked.get("message") or "",
            body=base64.b64decode(asked["body_base64"]),
            status=answered.get("status", 0),
            answer_headers=dict(answered.get("headers") or []),
            answer_message=answered.get("message") or "",
            answer=base64.b64decode(answered.get("body_base64") or ""),
            answer_meta=answered,
        )


@dataclass(frozen=True)
class Capture:
    """What one file holds for one server. file: below ``golden/wire``, without extension."""

    file: str
    exchanges: tuple[Exchange, ...]


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """Every exchange in a document, wherever it stands; streams, which never end, are none."""
    if isinstance(value, list):
        for item in value:
            yield from _records(item)
    elif isinstance(value, dict):
        if {"from", "to", "request", "response"} <= value.keys():
            if "path" in value["request"]:
                yield value
        else:
            for item in value.values():
                yield from _records(item)


@cache
def _captures() -> dict[str, list[Capture]]:
    """By server."""
    found: dict[str, list[Capture]] = defaultdict(list)
    for path in sorted(WIRE.rglob("*.json")):
        per_server: dict[str, list[Exchange]] = defaultdict(list)
        for record in _records(json.loads(path.read_text())):
            exchange = Exchange.read(record)
            per_server[exchange.server].append(exchange)
        for server, exchanges in per_server.items():
            name = str(path.relative_to(WIRE).with_suffix(""))
            found[server].append(Capture(name, tuple(exchanges)))
    return found


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "captures(server): runs once per capture file with that server")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for mark in metafunc.definition.iter_markers("captures"):
        (server,) = mark.args
        metafunc.parametrize("capture", [pytest.param(item, id=item.file) for item in _captures()[server]])


@pytest.fixture
def recorded() -> Callable[[str], list[Exchange]]:
    """All exchanges of a file below ``golden/wire``, in their order, of all clients."""
    return lambda file: [
        Exchange.read(record) for record in _records(json.loads((WIRE / f"{file}.json").read_text()))
    ]


@pytest.fixture
def recorded_servers() -> dict[str, list[Capture]]:
    """All captures, by server."""
    return _captures()
