"""Long transfers to and from the engine, in the event loop: they hold no thread and end when told to.

The SDK's blocking calls cannot be ended while they wait for the engine, and a few of them would take all
threads. The engine works on one archive of a container at a time and removes no container meanwhile, so
whoever destroys a container has to end its transfers first: :meth:`Streams.end` is for that.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from docker.utils import parse_host

from executor.engine.client import CALL_TIMEOUT, EngineClient
from executor.engine.faults import ContainerGone, refused
from executor.errors import EngineError, EngineUnavailable
from executor.shielded import settle

T = TypeVar("T")

_UNIX = "http+unix://"
_CHUNK = 256 * 1024
_ERROR_LIMIT = 64 * 1024
"""Bytes read of an answer that says what went wrong."""


class Streams:
    """Transfers, by the guid of their container."""

    def __init__(self, docker_host: str | None, client: EngineClient) -> None:
        self._docker_host = docker_host
        self._client = client
        self._session: aiohttp.ClientSession | None = None
        self._base = ""
        self._ends: defaultdict[str, set[Callable[[], object]]] = defaultdict(set)

    async def send(
        self, guid: str, asked: str, path: str, params: Mapping[str, str], body: AsyncIterable[bytes]
    ) -> None:
        """PUT ``body``. ``asked`` names the call in errors.

        Raises ContainerGone when it was ended, EngineError otherwise, also for whatever ``body`` raises.
        """
        await self._endable(guid, asked, self._send(asked, path, params, body))

    @asynccontextmanager
    async def receive(
        self, guid: str, asked: str, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET a body, in chunks. Raises EngineError on entry or in the middle, ContainerGone when ended."""
        response = await self._endable(
            guid, asked, self._get(asked, path, params), aiohttp.ClientResponse.close
        )
        ended = asyncio.Event()

        def end() -> None:
            ended.set()
            response.close()

        async def chunks() -> AsyncIterator[bytes]:
            try:
                with _errors(asked):
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        yield chunk
            except EngineError as error:
                if ended.is_set():
                    raise _destroyed(asked) from error
                raise

        with self._ended_by(guid, end):
            async with response:
                await _check(response, asked)
                yield chunks()

    @asynccontextmanager
    async def told(
        self, asked: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        """POST a wish; what the engine tells while it fulfils it, which may take as long as it likes.

        Raises EngineError with the engine's own words.
        """
        session, url = await self._opened(path)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT)

        async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
            with _errors(asked):
                async for line in response.content:
                    if line.strip():
                        yield json.loads(line)

        with _errors(asked):
            response = await session.post(url, params=params, headers=headers, timeout=timeout)
        async with response:
            await _check(response, asked)
            yield lines(response)

    def end(self, guid: str) -> None:
        """End all transfers of a container: it is about to be destroyed."""
        for end in tuple(self._ends.get(guid, ())):
            end()

    async def close(self) -> None:
        """Let go of the engine; no transfer may be under way."""
        if self._session is not None:
            await self._session.close()

    async def _endable(
        self,
        guid: str,
        asked: str,
        work: Coroutine[object, object, T],
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Run ``work`` until :meth:`end`. discard: releases a result that a cancelled caller does not take.

        Raises ContainerGone when it was ended.
        """
        task = asyncio.create_task(work)
        with self._ended_by(guid, task.cancel):
            await settle(task, abort=task.cancel, discard=discard)
        if task.cancelled():
            raise _destroyed(asked)
        return task.result()

    async def _get(self, asked: str, path: str, params: Mapping[str, str]) -> aiohttp.ClientResponse:
        session, url = await self._opened(path)
        with _errors(asked):
            return await session.get(url, params=params)

    async def _send(
        self, asked: str, path: str, params: Mapping[str, str], body: AsyncIterable[bytes]
    ) -> None:
        session, url = await self._opened(path)
        loop = asyncio.get_running_loop()
        with _errors(asked):
            async with asyncio.timeout(CALL_TIMEOUT) as patience:

                async def watched() -> AsyncIterator[bytes]:
                    async for block in body:
                        patience.reschedule(loop.time() + CALL_TIMEOUT)
                        yield block

                timeout = aiohttp.ClientTimeout(total=None)  # the answer comes when everything is unpacked
                async with session.put(url, params=params, data=watched(), timeout=timeout) as response:
                    await _check(response, asked)

    async def _opened(self, path: str) -> tuple[aiohttp.ClientSession, str]:
        version = await self._client.api_version()
        if self._session is None:
            self._session, self._base = _session(self._docker_host)
        return self._session, f"{self._base}/v{version}{path}"

    @contextmanager
    def _ended_by(self, guid: str, end: Callable[[], object]) -> Iterator[None]:
        self._ends[guid].add(end)
        try:
            yield
        finally:
            self._ends[guid].discard(end)
            if not self._ends[guid]:
                del self._ends[guid]


def _session(docker_host: str | None) -> tuple[aiohttp.ClientSession, str]:
    """A session and the start of its URLs. Raises EngineError.

    Each transfer has its own connection: the engine closes those on which one was not finished.
    """
    address = str(parse_host(docker_host))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT, sock_read=CALL_TIMEOUT)
    connector: aiohttp.BaseConnector
    if address.startswith(_UNIX):
        connector = aiohttp.UnixConnector(address.removeprefix(_UNIX), limit=0, force_close=True)
        address = "http://engine"
    elif address.startswith(("http://", "https://")):
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
    else:
        raise EngineError(f"docker_host {docker_host!r}: neither a unix socket nor an HTTP address")
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )
    return session, address


async def _check(response: aiohttp.ClientResponse, asked: str) -> None:
    if response.status >= 400:
        raise refused(response.status, await response.content.read(_ERROR_LIMIT), asked)


def _destroyed(asked: str) -> ContainerGone:
    return ContainerGone(f"{asked}: the container is being destroyed")


@contextmanager
def _errors(asked: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise EngineUnavailable(f"{asked}: nothing moved for {CALL_TIMEOUT} s") from error
    except aiohttp.ClientConnectionError as error:
        raise EngineUnavailable(f"{asked}: {error}") from error
    except (aiohttp.ClientError, HttpProcessingError, ValueError) as error:
        raise EngineError(f"{asked}: {error}") from error
