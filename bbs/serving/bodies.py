"""Reader of whole request bodies, with a shared memory limit."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

BUDGET_BYTES: Final = 256 << 20
"""Memory limit of all large bodies in this process: four of the largest ones."""

SMALL_BYTES: Final = 64 * 1024
"""Bodies up to this size are always accepted; the number of connections is bounded."""

logger = logging.getLogger(__name__)


class Budget:
    """Limit of bytes held at the same time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, count: int) -> bool:
        """Reserve bytes; false if not enough are left."""
        if self.held + count > self.limit:
            return False
        self.held += count
        return True

    def give_back(self, count: int) -> None:
        self.held -= count


PROCESS: Final = Budget(BUDGET_BYTES)


@asynccontextmanager
async def whole_body(request: web.Request, budget: Budget = PROCESS) -> AsyncIterator[bytes]:
    """The body of a request, counted against the budget while the context lasts.

    Raises aiohttp's 413 for more than the application's ``client_max_size``, 503 if the budget is used up,
    ConnectionError if the client has disconnected.
    """
    counted = 0
    body = bytearray()
    try:
        if request.content_length is not None and request.content_length > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length)
        while chunk := await _next_chunk(request):
            body += chunk
            if len(body) > request.client_max_size:
                raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
            due = max(len(body) - SMALL_BYTES, 0) - counted
            if not budget.take(due):
                _log_refusal(request, len(body), budget)
                raise web.HTTPServiceUnavailable(text="too many large requests at a time; try again\n")
            counted += due
        yield bytes(body)
    finally:
        budget.give_back(counted)


async def _next_chunk(request: web.Request) -> bytes:
    """The next chunk of the body, empty at its end. Raises ConnectionError if the client has disconnected."""
    try:
        return await request.content.readany()
    except RuntimeError as error:  # aiohttp's error if the connection ended before the first read
        raise ConnectionResetError(str(error)) from error


def _log_refusal(request: web.Request, size: int, budget: Budget) -> None:
    data = {"path": request.path, "bytes": size, "bytes-of-all-bodies": budget.held, "limit": budget.limit}
    logger.error("request-bodies-full", extra={"data": data})
