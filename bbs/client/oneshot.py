"""BBS client for single requests: one connection per request, and a fast import.

Importing aiohttp takes longer than a list request to a BBS, which matters for command-line tools.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Self

from bbs.client.api import BBSClient
from bbs.client.streaming import ProtocolError, StreamingResponse
from bbs.client.transport import (
    ROUTER_ERROR_HEADER,
    Answer,
    Policy,
    Transport,
    bounded,
    connection_failed,
    no_answer_in_time,
)


class OneShotBBSClient(BBSClient):
    """BBS client with one connection per call. Use as an async context manager."""

    def __init__(
        self, url: str, *, ssl_context: ssl.SSLContext | None = None, policy: Policy | None = None
    ) -> None:
        """url: scheme, host and port. ssl_context: for https, see :mod:`bbs.client.tls`."""
        super().__init__(OneShotTransport(url, ssl_context, policy or Policy()))


class OneShotTransport(Transport):
    """One connection per request."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return await exchange("POST", url, headers, body, ssl_context=self.ssl_context, policy=self.policy)


async def exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    ssl_context: ssl.SSLContext | None,
    policy: Policy,
) -> Answer:
    """One request on a new connection. Raises :class:`UnansweredError`."""
    try:
        async with asyncio.timeout(policy.request_timeout_s or None):
            response = await StreamingResponse.open(
                method,
                url,
                body,
                headers=headers,
                ssl_context=ssl_context,
                dial_timeout_s=policy.dial_timeout_s,
            )
            try:
                content = await bounded(url, response.read, policy.answer_bytes)
            finally:
                response.close()
    except TimeoutError as error:
        raise no_answer_in_time(url, policy) from error
    except (ProtocolError, OSError) as error:
        raise connection_failed(url, error) from error
    return Answer(
        status=response.status,
        media_type=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
        router_error=response.headers.get(ROUTER_ERROR_HEADER.lower(), ""),
        body=content,
    )
