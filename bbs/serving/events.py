"""Writer for event streams, with a timeout for clients that do not read."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiohttp import web

PIECE_BYTES: Final = 64 * 1024
"""Bytes per write. Data that the socket does not accept is copied into the connection's buffer."""

SEND_TIMEOUT_S: Final = 30.0
"""Time for a client to accept one record."""

logger = logging.getLogger(__name__)


class SlowReader(Exception):
    """The client does not read; its connection has been aborted."""


async def send(request: web.BaseRequest, response: web.StreamResponse, record: bytes) -> None:
    """Write a record. Raises SlowReader, ConnectionError."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for start in range(0, len(record), PIECE_BYTES):
                await response.write(record[start : start + PIECE_BYTES])
    except TimeoutError as error:
        data = {"path": request.path, "peer": str(request.remote), "after-s": SEND_TIMEOUT_S}
        logger.info("event-stream-not-read", extra={"data": data})
        if request.transport is not None:
            request.transport.abort()
        raise SlowReader from error
