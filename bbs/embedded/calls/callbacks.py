"""Interfaces of the calls that a BBS makes, and the client of completion callbacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import aiohttp
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff
from bbs.client.pooled import PooledClient
from bbs.embedded.calls.destinations import Destinations
from bbs.embedded.calls.startrequests import LRPStartRequest, TaskStartRequest
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPInternalRoute, ActualLRPKey

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


class Auctioneer(Protocol):
    """Accepts start requests. The result arrives later, as a call from a cell or as a failure."""

    async def request_lrps(self, requests: list[LRPStartRequest], trace_id: str = "") -> None: ...

    async def request_tasks(self, requests: list[TaskStartRequest], trace_id: str = "") -> None: ...


class RepCalls(Protocol):
    """Calls of the BBS to reps. ``rep_url`` is the URL in the cell's presence."""

    async def stop_lrp(
        self,
        rep_url: str,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        trace_id: str = "",
        *,
        attempts: int = 1,
    ) -> None: ...

    async def cancel_task(self, rep_url: str, task_guid: str, trace_id: str = "") -> None: ...

    async def update_lrp(
        self,
        rep_url: str,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        internal_routes: Sequence[ActualLRPInternalRoute] | None,
        metric_tags: Mapping[str, str] | None,
        trace_id: str = "",
    ) -> None: ...


class Callbacks(Protocol):
    """Completion callbacks: deliver the result of a task to its client."""

    async def deliver(self, url: str, body: str) -> bool:
        """True if the peer received it, false if it must be retried later."""
        ...


class _Busy(Exception):
    """The peer asks for a retry."""


class HTTPCallbacks(PooledClient):
    """Completion callbacks over HTTP. destinations: rules for allowed addresses."""

    def __init__(self, *, destinations: Destinations) -> None:
        super().__init__(
            None, limit=MAX_CONNECTIONS, socket_factory=destinations.socket_factory, timeout=TIMEOUT
        )

    async def deliver(self, url: str, body: str) -> bool:
        """POST the body; retry after a timeout, 503 or 504. Redirects are not followed."""
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
