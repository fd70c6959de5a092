"""Client of completion callbacks, which deliver the result of a task."""

from __future__ import annotations

import logging

import aiohttp
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff
from bbs.client.pooled import PooledClient
from bbs.embedded.calls.destinations import Destinations

logger = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10)
"""Timeout of one attempt."""

MAX_CONNECTIONS = 100
"""Limit of open connections."""

LOGGED_CHARACTERS = 200

JSON_TYPE = {"Content-Type": "application/json"}

CALLBACK_TRIES = 3
CALLBACK_RETRIES = Backoff(attempts=CALLBACK_TRIES, first_s=0.2)
RETRIED_STATUSES = frozenset({503, 504})
"""Callback statuses that are retried; any other status counts as delivered."""


class _Busy(Exception):
    """The peer asks for a retry."""


class HTTPCallbacks(PooledClient):
    """Completion callbacks over HTTP. destinations: rules for allowed addresses."""

    def __init__(self, *, destinations: Destinations) -> None:
        super().__init__(
            None, limit=MAX_CONNECTIONS, socket_factory=destinations.socket_factory, timeout=TIMEOUT
        )

    async def deliver(self, url: str, body: str) -> bool:
        """POST the body; false if the peer did not receive it and the call must be repeated later.

        A timeout, 503 and 504 are retried at once. Redirects are not followed.
        """
        try:
            async for attempt in CALLBACK_RETRIES.retrying(retry_if_exception_type((TimeoutError, _Busy))):
                with attempt:
                    await self._post(url, body)
        except (aiohttp.ClientError, OSError, ValueError, _Busy) as error:
            data = {"url": url[:LOGGED_CHARACTERS], "error": str(error) or type(error).__name__}
            logger.error("callback-failed", extra={"data": data})
            return False
        return True

    async def _post(self, url: str, body: str) -> None:
        async with self.session.post(
            url, data=body.encode("utf-8", "replace"), headers=JSON_TYPE, allow_redirects=False
        ) as answer:
            if answer.status in RETRIED_STATUSES:
                raise _Busy(f"answered {answer.status}")
