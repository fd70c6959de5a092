"""HTTP client for reps: state, work, stop, update and cancel.

The auctioneer and the BBS use it. One pooled session serves all cells. Every call takes the ``rep_url`` of
the cell's presence, http or https.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from bbs.client.pooled import PooledClient
from bbs.client.transport import UNCOMPRESSED
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPInternalRoute, ActualLRPKey
from bbs.models.auction import CellState, Work
from bbs.models.codec import compact
from bbs.models.invalid import InvalidDocument
from bbs.wire.routes import TRACE_HEADER
from common.reading import whole

REQUEST_TIMEOUT_S: Final = 10.0
"""Timeout of every call, the default of auctioneer and BBS."""

MAX_ANSWER_BYTES: Final = 64 << 20
"""Far more than the state of a full cell."""

SHOWN: Final = 200
"""Maximum characters of a URL in an error."""

JSON_TYPE: Final = {"Content-Type": "application/json"}


class RepError(Exception):
    """A rep could not be reached or returned an unexpected response.

    status: HTTP status of the response, None if there was none.
    """

    def __init__(self, method: str, url: URL | str, why: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(f"{method} {url}: {why}")


class RepClient(PooledClient):
    """HTTP client for any number of reps."""

    def __init__(
        self, ssl_context: ssl.SSLContext | None = None, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._timeout_s = timeout_s
        super().__init__(
            ssl_context,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            headers=UNCOMPRESSED,
            auto_decompress=False,
        )

    async def state(self, rep_url: str, trace_id: str = "") -> CellState:
        """The cell's state. Raises RepError, also for an unhealthy cell (status 503)."""
        url = _url("GET", rep_url, "state")
        body = await self._request("GET", url, expected=200, trace_id=trace_id)
        try:
            return CellState.loads(body)
        except InvalidDocument as error:
            raise RepError("GET", url, f"unreadable cell state: {error}", 200) from error

    async def perform(self, rep_url: str, work: Work, trace_id: str = "") -> Work:
        """Send work; returns the work that the cell refused. Raises RepError."""
        url = _url("POST", rep_url, "work")
        body = await self._request(
            "POST", url, expected=200, trace_id=trace_id, data=compact(work.to_json()).encode()
        )
        try:
            return Work.loads(body)
        except InvalidDocument as error:
            raise RepError("POST", url, f"unreadable answer: {error}", 200) from error

    async def stop_lrp(
        self,
        rep_url: str,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        trace_id: str = "",
        *,
        attempts: int = 1,
    ) -> None:
        """Stop an instance, with up to ``attempts`` tries without a pause. Raises the last RepError."""
        instance = (key.process_guid, "instances", instance_key.instance_guid)
        url = _url("POST", rep_url, "v1", "lrps", *instance, "stop")
        for left in reversed(range(attempts)):
            try:
                await self._request("POST", url, expected=202, trace_id=trace_id, headers=JSON_TYPE)
            except RepError:
                if not left:
                    raise
            else:
                return

    async def cancel_task(self, rep_url: str, task_guid: str, trace_id: str = "") -> None:
        """Cancel a task. Raises RepError."""
        url = _url("POST", rep_url, "v1", "tasks", task_guid, "cancel")
        await self._request("POST", url, expected=202, trace_id=trace_id)

    async def update_lrp(
        self,
        rep_url: str,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        internal_routes: Sequence[ActualLRPInternalRoute] | None,
        metric_tags: Mapping[str, str] | None,
        trace_id: str = "",
    ) -> None:
        """Update internal routes or metric tags of an instance; None leaves either unchanged.

        If the rep lacks the v2 route, routes are sent through the v1 route. Raises RepError.
        """
        path = ("lrps", key.process_guid, "instances", instance_key.instance_guid)
        update: dict[str, object] = {
            "instance_guid": instance_key.instance_guid,
            "process_guid": key.process_guid,
            "index": key.index,
            "domain": key.domain,
            "internal_routes": None
            if internal_routes is None
            else [{"hostname": route.hostname} for route in internal_routes],
            "metric_tags": None if metric_tags is None else dict(sorted(metric_tags.items())),
        }
        try:
            await self._put(_url("PUT", rep_url, "v2", *path), update, trace_id)
        except RepError as error:
            if error.status != 404 or internal_routes is None:
                raise
            await self._put(_url("PUT", rep_url, "v1", *path), update | {"metric_tags": None}, trace_id)

    async def _put(self, url: URL, body: dict[str, object], trace_id: str) -> None:
        await self._request(
            "PUT", url, expected=202, trace_id=trace_id, data=compact(body).encode(), headers=JSON_TYPE
        )

    async def _request(
        self,
        method: str,
        url: URL,
        *,
        expected: int,
        trace_id: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        sent = dict(headers or {})
        if trace_id:
            sent[TRACE_HEADER] = trace_id
        try:
            async with self.session.request(
                method, url, data=data, headers=sent, skip_auto_headers=("Content-Type",)
            ) as answer:
                body = await whole(answer.content.readany, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise RepError(method, url, f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RepError(method, url, str(error) or type(error).__name__) from error
        if answer.status != expected:
            raise RepError(method, url, f"answered {answer.status} instead of {expected}", answer.status)
        return body


def _url(method: str, rep_url: str, *path: str) -> URL:
    """A URL below a presence URL. Raises RepError for an invalid presence URL or guid."""
    try:
        url = URL(rep_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("an http or https URL with a host was expected")
        for part in path:
            if part in ("", ".", ".."):
                raise ValueError(f"{part!r} cannot stand in a path")
            url = url.joinpath(quote(part, safe=""), encoded=True)
    except ValueError as error:
        raise RepError(method, rep_url[:SHOWN], f"no rep can be called there: {error}") from error
    return url
