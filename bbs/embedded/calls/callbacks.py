"""Clients of the BBS's collaborators: auctioneer, reps, completion callbacks."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff
from bbs.embedded.auctioneer.types import LRPStartRequest, TaskStartRequest
from bbs.embedded.calls.destinations import Destinations
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPInternalRoute, ActualLRPKey

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
"""Timeout of every outgoing call."""

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


class AuctioneerError(Exception):
    """The auctioneer did not accept a request; the message contains its address."""


class HTTPAuctioneer:
    """Client of an auctioneer's HTTP API; an async context manager that owns its connections.

    url: base address, http or https.
    """

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._http = _Session(ssl_context)

    async def __aenter__(self) -> Self:
        await self._http.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def request_lrps(self, requests: list[LRPStartRequest], trace_id: str = "") -> None:
        """Raises AuctioneerError."""
        await self._post("/v1/lrps", [request.to_json() for request in requests], trace_id)

    async def request_tasks(self, requests: list[TaskStartRequest], trace_id: str = "") -> None:
        """Raises AuctioneerError."""
        await self._post("/v1/tasks", [request.to_json() for request in requests], trace_id)

    async def _post(self, path: str, body: object, trace_id: str) -> None:
        headers = {**JSON_TYPE, "X-Vcap-Request-Id": trace_id}
        url = self._url + path
        try:
            async with self._http.session.post(url, data=_dump(body), headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AuctioneerError(f"POST {url}: {error or type(error).__name__}") from error
        if status != 202:
            raise AuctioneerError(f"POST {url}: answered {status} instead of 202")


class _Busy(Exception):
    """The peer asks for a retry."""


class HTTPCallbacks:
    """Completion callbacks over HTTP; an async context manager that owns its connections.

    destinations: rules for allowed addresses.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext | None = None, *, destinations: Destinations | None = None
    ) -> None:
        self._http = _Session(ssl_context, destinations or Destinations())

    async def __aenter__(self) -> Self:
        await self._http.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

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
        async with self._http.session.post(
            url, data=body.encode("utf-8", "replace"), headers=JSON_TYPE, allow_redirects=False
        ) as answer:
            if answer.status in RETRIED_STATUSES:
                raise _Busy(f"answered {answer.status}")


class _Session:
    """A client session with the lifetime of its owner's context."""

    def __init__(self, ssl_context: ssl.SSLContext | None, destinations: Destinations | None = None) -> None:
        self._ssl_context = ssl_context
        self._destinations = destinations
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("used outside its context")
        return self._session

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._ssl_context or True,
                socket_factory=self._destinations.socket_factory if self._destinations else None,
            ),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self.session.close()
        self._session = None


def _dump(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
