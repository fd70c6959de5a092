"""A reverse proxy with scripted faults: between an agent and its engine's socket, or before a BBS.

A fault names calls by method and path and has an effect: a delay, an error status, a cut connection, a lost
answer, or no answer at all. It ends with its ``with`` block, or after a number of calls::

    async with FaultProxy.before_engine(folder, ENGINE) as proxy:
        with proxy.fault(r"POST .*/containers/create", LoseAnswer(), times=1) as lost:
            ...
        assert lost.calls == 1
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

import aiohttp
from aiohttp import web

from bbs.client.identity import IdentityFiles
from bbs.client.tls import client_context, server_context

HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"})


@dataclass(frozen=True, slots=True)
class Delay:
    """The call is made after some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """The call is not made; the answer is an error."""

    code: int = 500
    text: str = "injected fault"


@dataclass(frozen=True, slots=True)
class Cut:
    """The call is not made; the connection is cut."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The call is made to its end; the connection is cut instead of the answer."""


@dataclass(frozen=True, slots=True)
class Hang:
    """The call waits until the fault ends, and is made then."""


Effect: TypeAlias = Delay | Status | Cut | LoseAnswer | Hang


@dataclass(eq=False)
class Fault:
    """A fault in force. skip: matching calls that pass first. times: calls it applies to, None for all.

    calls: how many calls it applied to.
    """

    pattern: re.Pattern[str]
    effect: Effect
    skip: int = 0
    times: int | None = None
    calls: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _applied: asyncio.Condition = field(default_factory=asyncio.Condition)

    def takes(self, call: str) -> bool:
        """Whether it applies to a call, which is then counted."""
        if not self.pattern.fullmatch(call):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.calls >= self.times:
            return False
        self.calls += 1
        return True

    async def applied(self) -> None:
        """Note that a call was affected."""
        async with self._applied:
            self._applied.notify_all()

    async def until_applied(self, times: int = 1) -> None:
        """Wait until it applied to a number of calls, and their answers are lost if that is its effect."""
        async with self._applied:
            await self._applied.wait_for(lambda: self.calls >= times)


class FaultProxy:
    """Forwards every call to one server, except those that a fault takes."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base
        self._faults: list[Fault] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def before_engine(cls, folder: Path, engine: str) -> AsyncIterator[Self]:
        """Listening on ``engine.sock`` in a folder. engine: path of the engine's socket."""
        connector = aiohttp.UnixConnector(engine, limit=0, force_close=True)
        async with _session(connector) as session:
            proxy = cls(session, "http://engine")
            async with proxy._runner() as runner:
                path = folder / "engine.sock"
                await web.UnixSite(runner, str(path)).start()
                proxy.url = f"unix://{path}"
                yield proxy

    @classmethod
    @asynccontextmanager
    async def before_server(cls, url: str, identity: IdentityFiles | None = None) -> AsyncIterator[Self]:
        """Listening on loopback. identity: with which TLS is ended, and made again to the server."""
        files = (identity.ca_file, identity.cert_file, identity.key_file) if identity else None
        upstream: ssl.SSLContext | bool = client_context(*files) if files else True
        async with _session(aiohttp.TCPConnector(limit=0, ssl=upstream)) as session:
            proxy = cls(session, url.rstrip("/"))
            async with proxy._runner() as runner:
                own = server_context(*files) if files else None
                await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own).start()
                port = runner.addresses[0][1]
                proxy.url = f"{'https' if files else 'http'}://127.0.0.1:{port}"
                yield proxy

    @contextmanager
    def fault(
        self, calls: str, effect: Effect, *, skip: int = 0, times: int | None = None
    ) -> Iterator[Fault]:
        """A fault for the block. calls: a pattern of ``METHOD PATH``, without the query."""
        fault = Fault(re.compile(calls), effect, skip, times)
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)
            fault.over.set()

    @asynccontextmanager
    async def _runner(self) -> AsyncIterator[web.AppRunner]:
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0, access_log=None)
        await runner.setup()
        try:
            yield runner
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = f"{request.method} {request.path}"
        fault = next((each for each in self._faults if each.takes(call)), None)
        if fault is None:
            return await self._forward(request)
        effect = fault.effect
        if isinstance(effect, LoseAnswer):
            await self._lose(request)
        await fault.applied()
        match effect:
            case Delay(seconds):
                await asyncio.sleep(seconds)
                return await self._forward(request)
            case Hang():
                await fault.over.wait()
                return await self._forward(request)
            case Status(code, text):
                return web.json_response({"message": text}, status=code)
            case Cut() | LoseAnswer():
                return _cut(request)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        try:
            async with self._call(request) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                response.headers.extend(_passed_on(answer.headers))
                await response.prepare(request)
                async for data in answer.content.iter_any():
                    await response.write(data)
                await response.write_eof()
                return response
        except aiohttp.ClientError:
            return _cut(request)

    async def _lose(self, request: web.Request) -> None:
        async with self._call(request) as answer:
            async for _ in answer.content.iter_any():
                pass

    def _call(self, request: web.Request) -> aiohttp.client._RequestContextManager:
        return self._session.request(
            request.method,
            self._base + request.raw_path,
            headers=_passed_on(request.headers),
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        )


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=None)
    skipped = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
    return aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, skip_auto_headers=skipped
    )


def _passed_on(headers: object) -> list[tuple[str, str]]:
    pairs = headers.items()  # type: ignore[attr-defined]
    return [(name, value) for name, value in pairs if name.lower() not in HOP_BY_HOP]


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
