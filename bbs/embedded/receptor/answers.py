"""Answers and request values shared by the handlers."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from bbs.models.codec import compact, parse
from bbs.wire.routes import TRACE_HEADER

JSON_TYPE: Final = {"Content-Type": "application/json"}


def json_answer(document: object, status: int = 200) -> web.Response:
    """An answer with JSON."""
    return web.Response(status=status, body=compact(document).encode(), headers=JSON_TYPE)


def empty(status: int) -> web.Response:
    """A success without a body."""
    return web.Response(status=status, headers=JSON_TYPE)


async def document(request: web.Request) -> Any:
    """The parsed body. Raises InvalidDocument with the position."""
    return parse(await request.read())


def trace_id(request: web.Request) -> str:
    """The caller's trace id, passed on to the BBS."""
    return request.headers.get(TRACE_HEADER, "")


def domain_filter(request: web.Request) -> str:
    """The ``?domain=`` of a list, empty for all."""
    return request.query.get("domain", "")
