"""Plain text answers, in the form of Go's HTTP server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

PLAIN_TEXT: Final = "text/plain; charset=utf-8"


def plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer with a line of text that browsers must not take for another type."""
    own = {"Content-Type": PLAIN_TEXT, "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=f"{text}\n".encode(), headers={**own, **(headers or {})})


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer unknown paths and methods like the Go server; clients use 404 to detect server features."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return plain(404, "404 page not found")
    except web.HTTPMethodNotAllowed as error:
        return plain(405, "Method Not Allowed", {"Allow": ", ".join(sorted(error.allowed_methods))})
