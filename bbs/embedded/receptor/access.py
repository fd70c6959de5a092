"""Access control: basic auth or the equivalent cookie, and CORS."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bbs.embedded.receptor.answers import UNAUTHORIZED, ReceptorError

COOKIE: Final = "receptor_authorization"
CHALLENGE: Final = 'Basic realm="API Authentication"'
OPEN_PATH: Final = "/v1/sync/"
"""Artifacts need no credentials."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The single user of the API."""

    username: str
    password: str

    def header(self) -> str:
        """The ``Authorization`` value, also used as the cookie value."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def match(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.header().encode())


def authentication(credentials: Credentials) -> Middleware:
    """Middleware that answers 401 without valid credentials."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.cookies.get(COOKIE, "") or request.headers.get("Authorization", "")
        if request.path.startswith(OPEN_PATH) or credentials.match(given):
            return await handler(request)
        refusal = ReceptorError(401, UNAUTHORIZED, "not authorized").response()
        refusal.headers["WWW-Authenticate"] = CHALLENGE
        return refusal

    return check


async def auth_cookie(request: web.Request) -> web.Response:
    """``POST /v1/auth_cookie``: return the request's credentials as a cookie."""
    response = web.Response(status=204)
    response.set_cookie(COOKIE, request.headers.get("Authorization", ""), httponly=True)
    return response


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer OPTIONS for any path before authentication: browsers send no credentials with it."""
    if request.method != "OPTIONS":
        return await handler(request)
    return web.Response(
        headers={
            "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
        }
    )


async def allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: add CORS headers for the request's origin."""
    origin = request.headers.get("Origin")
    if origin:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers.add("Vary", "Origin")
