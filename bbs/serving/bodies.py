"""Request bodies that are read as a whole, within one bound for the memory of all of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from bbs.serving.refusals import LOGGED_CHARACTERS, RefusalLog

BUDGET_BYTES: Final = 256 << 20
"""Memory limit of all large bodies in this process: four of the largest ones."""

SMALL_BYTES: Final = 64 * 1024
"""Bodies up to this size are always accepted; the number of connections is bounded."""

logger = logging.getLogger(__name__)


MIN_AGE_S: Final = 10.0
"""A body that began less than this ago is not cut in favour of another one."""


class Reading:
    """A body that is being read. held: its counted bytes. scope: its expiry ends the reading."""

    def __init__(self, scope: asyncio.Timeout) -> None:
        self.scope = scope
        self.since_s = time.monotonic()
        self.held = 0


class Budget:
    """Limit of bytes held at the same time.

    If it is used up, the oldest incomplete body is cut if it began at least ``min_age_s`` ago. Otherwise
    a client that does not complete its body could keep the others out indefinitely.
    """

    def __init__(self, limit: int, min_age_s: float = MIN_AGE_S) -> None:
        self.limit = limit
        self.held = 0
        self._min_age_s = min_age_s
        self._reading: dict[Reading, None] = {}  # the longest first
        self._refusals = RefusalLog(logger, logging.ERROR, "request-bodies-full")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """Register a body while the context lasts. Raises TimeoutError if it is cut."""
        async with asyncio.timeout(None) as scope:
            reading = Reading(scope)
            self._reading[reading] = None
            try:
                yield reading
            finally:
                self._reading.pop(reading, None)

    def take(self, reading: Reading, count: int) -> bool:
        """Reserve bytes for a body; false if not enough are left."""
        while self.held + count > self.limit:
            if not self._cut_one(reading):
                return False
        self.held += count
        reading.held += count
        return True

    def give_back(self, reading: Reading) -> None:
        """Release the bytes of a body; a second call has no effect."""
        self.held -= reading.held
        reading.held = 0

    def log_refusal(self, path: str, count: int) -> None:
        """count: bytes of the refused body that were read."""
        about = {"bytes-of-all-bodies": self.held, "limit": self.limit}
        self._refusals.add(path=path[:LOGGED_CHARACTERS], bytes=count, **about)

    def _cut_one(self, for_: Reading) -> bool:
        latest_s = time.monotonic() - self._min_age_s
        for other in self._reading:
            if other is not for_ and other.held and other.since_s <= latest_s:
                break
        else:
            return False
        del self._reading[other]
        other.scope.reschedule(asyncio.get_running_loop().time())
        self.give_back(other)
        return True


PROCESS: Final = Budget(BUDGET_BYTES)


@asynccontextmanager
async def whole_body(request: web.Request, budget: Budget = PROCESS) -> AsyncIterator[bytes]:
    """The body of a request, counted against the budget while the context lasts.

    Raises aiohttp's 413 for more than the application's ``client_max_size``, 503 if the budget is used up,
    408 for a slow body that was cut in favour of another one, ConnectionError if the client has disconnected.
    """
    body = bytearray()
    if request.content_length is not None and request.content_length > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length)
    reading: Reading | None = None
    try:
        try:
            async with budget.reading() as reading:
                while chunk := await _next_chunk(request):
                    body += chunk
                    if len(body) > request.client_max_size:
                        raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
                    due = max(len(body) - SMALL_BYTES, 0) - reading.held
                    if not budget.take(reading, due):
                        budget.log_refusal(request.path, len(body))
                        raise web.HTTPServiceUnavailable(
                            text="too many large requests at a time; try again\n"
                        )
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text="the request took too long to send\n") from error
        yield bytes(body)
    finally:
        if reading is not None:
            budget.give_back(reading)


async def _next_chunk(request: web.Request) -> bytes:
    """The next chunk of the body, empty at its end. Raises ConnectionError if the client has disconnected."""
    try:
        return await request.content.readany()
    except RuntimeError as error:  # aiohttp's error if the connection ended before the first read
        raise ConnectionResetError(str(error)) from error
