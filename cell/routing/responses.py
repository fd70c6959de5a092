"""Responses of apps: the headers are those of the app alone."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

ADDED: Final = ("Content-Type", "Server")
"""Headers that aiohttp's server adds. It also adds ``Date``, which a router may."""


class AppResponse(web.StreamResponse):
    """A response with the status and headers of an app."""

    def __init__(self, status: int, reason: str | None, headers: CIMultiDict[str]) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self._missing = tuple(name for name in ADDED if name not in headers)

    def drop_added(self) -> None:
        """Remove what aiohttp's server has added."""
        for name in self._missing:
            self.headers.popall(name, None)


async def drop_added_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Called by aiohttp before it sends the head of a response."""
    if isinstance(response, AppResponse):
        response.drop_added()
