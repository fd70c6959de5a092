"""Shared helpers of the handlers for responses and request values."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from bbs.models.codec import compact, parse
from bbs.models.text import well_formed
from bbs.serving.bodies import whole_body
from bbs.wire import routes

JSON_TYPE: Final = {"Content-Type": "application/json"}


def json_answer(document: object, status: int = 200) -> web.Response:
    """A response with JSON."""
    return web.Response(status=status, body=compact(document).encode("utf-8", "replace"), headers=JSON_TYPE)


def empty(status: int) -> web.Response:
    """A success response without a body."""
    return web.Response(status=status, headers=JSON_TYPE)


async def document(request: web.Request) -> Any:
    """The parsed body. Raises InvalidDocument with the position."""
    async with whole_body(request) as body:
        return parse(body)


def trace_id(request: web.Request) -> str:
    """The caller's trace id, to pass on to the BBS."""
    return routes.trace_id(request.headers)


def domain_filter(request: web.Request) -> str:
    """The ``?domain=`` of a list request, empty for all."""
    return well_formed(request.query.get("domain", ""))


def in_path(request: web.Request, name: str) -> str:
    """A path parameter, such as a guid."""
    return well_formed(request.match_info[name])
