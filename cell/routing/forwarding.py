"""Forwards requests to the endpoints of their route, streaming both bodies."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bbs.client.pooled import PooledClient
from bbs.serving.access import authority
from bbs.serving.refusals import LOGGED_CHARACTERS, RefusalLog
from cell.routing.balancing import Balancer
from cell.routing.headers import (
    ERROR,
    REQUEST_ID,
    forwarded_request,
    forwarded_response,
    preferred_instance,
    wanted_instance,
)
from cell.routing.responses import AppResponse
from cell.routing.table import Endpoint, Pool, RouteTable
from cell.routing.upgrades import NotReachable, is_upgrade, pass_upgrade

ATTEMPTS: Final = 4
"""Endpoints that a request tries."""

CONNECT_TIMEOUT_S: Final = 2.0
"""Limit of a connection to an instance; after a cell's death its address does not answer."""

SILENCE_TIMEOUT_S: Final = 900.0
"""Limit of the time in which an instance sends nothing, as in the platform."""

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 512

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
AUTOMATIC: Final = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})
"""Headers that aiohttp's client adds, and a router must not."""

logger = logging.getLogger(__name__)


class _NoConnection(Exception):
    """No endpoint answered; the request is unchanged."""


class _Failed(Exception):
    """An endpoint took the request and gave no response."""


class _TooSlow(Exception):
    """An endpoint took the request and gave no response in time."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A request with what the router read from its head."""

    request: web.BaseRequest
    host: str
    target: str
    request_id: str
    at_ms: int


class Forwarder(PooledClient):
    """Handles all requests of the router's listener. Use as an async context manager.

    Connections to instances are not reused: an app closes idle ones at any time, and the next instance at an
    address can be another app.
    """

    def __init__(self, table: RouteTable, balancer: Balancer | None = None) -> None:
        super().__init__(
            None,
            reused=False,
            auto_decompress=False,
            skip_auto_headers=AUTOMATIC,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
            ),
        )
        self._table = table
        self._balancer = balancer or Balancer()
        self._failures = RefusalLog(logger, logging.INFO, "endpoint-failed")

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward a request, or answer with an error of the router."""
        called, target = _called(request)
        place = authority(called)
        arrived = _Arrived(
            request, place[0] if place else "", target, str(uuid.uuid4()), time.time_ns() // 1_000_000
        )
        if place is None:
            return _error(arrived, 400, "empty_host", "the request names no host")
        pool = self._table.find(arrived.host, _path(target))
        if pool is None:
            return _error(arrived, 404, "unknown_route", f"no route to {arrived.host}")
        try:
            wanted = wanted_instance(request.headers)
        except ValueError as error:
            return _error(arrived, 400, "invalid_cf_app_instance_header", str(error))
        if wanted is not None:
            pool = _only(pool, *wanted)
            if not pool.endpoints:
                return _error(arrived, 404, "unknown_route", f"{wanted[0]} has no instance {wanted[1]}")
        if not pool.endpoints:
            return _error(arrived, 503, "no_endpoints", f"no instance of {arrived.host} runs at the moment")
        try:
            return await self._try_each(arrived, pool)
        except _NoConnection as error:
            return _error(arrived, 502, f"endpoint_failure ({error})", "the app accepts no connection")
        except _Failed as error:
            return _error(arrived, 502, f"endpoint_failure ({error})", "the app gave no valid response")
        except _TooSlow as error:
            return _error(arrived, 504, f"endpoint_failure ({error})", "the app did not respond in time")

    async def _try_each(self, arrived: _Arrived, pool: Pool) -> web.StreamResponse:
        """Raises _NoConnection, _Failed, _TooSlow."""
        request = arrived.request
        endpoints = self._balancer.ordered(pool, preferred_instance(request.headers))[:ATTEMPTS]
        for number, endpoint in enumerate(endpoints, 1):
            last = number == len(endpoints)
            try:
                return await self._forward(arrived, endpoint)
            except _NoConnection as error:
                self._balancer.failed(endpoint)
                self._log(arrived, endpoint, error)
                if last:
                    raise
            except _Failed as error:
                self._log(arrived, endpoint, error)
                # A body is read once. Without one, and without an effect, another instance may answer.
                if last or request.can_read_body or request.method not in IDEMPOTENT:
                    raise
        raise _NoConnection("no endpoint is left")

    async def _forward(self, arrived: _Arrived, endpoint: Endpoint) -> web.StreamResponse:
        request = arrived.request
        headers = forwarded_request(
            request.headers,
            endpoint,
            client=request.remote or "",
            request_id=arrived.request_id,
            now_ms=arrived.at_ms,
        )
        headers["Host"] = _called(request)[0]
        if is_upgrade(request):
            try:
                passed = await pass_upgrade(
                    request, endpoint, arrived.target, headers, arrived.request_id, CONNECT_TIMEOUT_S
                )
            except NotReachable as error:
                raise _NoConnection(str(error)) from error
            self._balancer.answered(endpoint)
            return passed
        return await self._pass_request(arrived, endpoint, headers)

    async def _pass_request(
        self, arrived: _Arrived, endpoint: Endpoint, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        """Raises _NoConnection, _Failed, _TooSlow."""
        request = arrived.request
        try:
            url = URL(f"http://{endpoint.address}{arrived.target}", encoded=True)
            response = await self.session.request(
                request.method,
                url,
                headers=headers,
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _NoConnection(_reason(error)) from error
        except TimeoutError as error:
            raise _TooSlow("no response in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _Failed(_reason(error)) from error
        async with response:
            self._balancer.answered(endpoint)
            return await self._pass_response(arrived, endpoint, response)

    async def _pass_response(
        self, arrived: _Arrived, endpoint: Endpoint, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        request = arrived.request
        headers = forwarded_response(response.headers, endpoint, request_id=arrived.request_id)
        sent = AppResponse(response.status, response.reason, headers)
        await sent.prepare(request)
        try:
            async for piece in response.content.iter_any():
                await sent.write(piece)
        except (aiohttp.ClientError, TimeoutError) as error:
            # The client must not take the part for the whole.
            self._log(arrived, endpoint, error)
            if request.transport is not None:
                request.transport.abort()
            return sent
        await sent.write_eof()
        return sent

    def _log(self, arrived: _Arrived, endpoint: Endpoint, error: Exception) -> None:
        self._failures.add(
            **{
                "host": arrived.host[:LOGGED_CHARACTERS],
                "path": _path(arrived.target)[:LOGGED_CHARACTERS],
                "request-id": arrived.request_id,
                "instance-guid": endpoint.instance_guid,
                "index": endpoint.index,
                "address": endpoint.address,
                "error": _reason(error),
            }
        )


def _called(request: web.BaseRequest) -> tuple[str, str]:
    """Host header and target of a request; a client of a proxy sends both in one URL."""
    target = request.raw_path
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() == "http":
        host, slash, path = rest.partition("/")
        return host, f"/{path}" if slash else "/"
    hosts = request.headers.getall("Host", [])
    return (hosts[0] if len(hosts) == 1 else ""), target if target.startswith("/") else f"/{target}"


def _path(target: str) -> str:
    return target.partition("?")[0]


def _only(pool: Pool, app_guid: str, index: int) -> Pool:
    found = (each for each in pool.endpoints if each.app_guid == app_guid and each.index == index)
    return Pool(f"{pool.name} {app_guid}:{index}", tuple(found))


def _error(arrived: _Arrived, status: int, kind: str, text: str) -> web.Response:
    """An error of the router itself; the header tells it from one of the app."""
    headers = {
        ERROR: kind,
        REQUEST_ID: arrived.request_id,
        "Cache-Control": "no-cache, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    response = web.Response(status=status, text=f"{status}: {text}\n", headers=headers)
    if arrived.request.can_read_body:
        response.force_close()  # the body is not read
    return response


def _reason(error: BaseException) -> str:
    """One line for header and log."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
    return " ".join((str(error) or type(error).__name__).split())[:LOGGED_CHARACTERS]
