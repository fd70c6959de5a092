"""Long engine calls in the event loop: they use no thread and end with their caller.

The SDK's blocking calls cannot be cancelled while they wait for the engine, and a few of them would use up
all threads.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from docker.utils import parse_host

from common.reading import beginning
from executor.engine.client import CALL_TIMEOUT, EngineClient
from executor.engine.faults import refused, unavailable
from executor.errors import EngineError, EngineUnavailable
from executor.reasons import reason_of

_UNIX = "http+unix://"
_ERROR_LIMIT = 64 * 1024
"""Maximum bytes read of an error answer."""


class Streams:
    """Calls with streamed answers."""

    def __init__(self, docker_host: str | None, client: EngineClient) -> None:
        self._docker_host = docker_host
        self._client = client
        self._session: aiohttp.ClientSession | None = None
        self._base = ""

    @asynccontextmanager
    async def progress_of(
        self, asked: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        """POST a request and yield the engine's progress messages, without a time limit.

        Raises EngineError with the engine's message.
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

    async def close(self) -> None:
        """Close the session; no call may be in progress."""
        if self._session is not None:
            await self._session.close()

    async def _opened(self, path: str) -> tuple[aiohttp.ClientSession, str]:
        version = await self._client.api_version()
        if self._session is None:
            self._session, self._base = _session(self._docker_host)
        return self._session, f"{self._base}/v{version}{path}"


def _session(docker_host: str | None) -> tuple[aiohttp.ClientSession, str]:
    """An HTTP session and its base URL. Raises EngineError.

    Each transfer has its own connection: the engine closes a connection with an unfinished transfer.
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
        raise refused(response.status, await beginning(response.content.read, _ERROR_LIMIT), asked)


@contextmanager
def _errors(asked: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise EngineUnavailable(f"{asked}: nothing moved for {CALL_TIMEOUT} s") from error
    except aiohttp.ClientConnectionError as error:
        raise unavailable(error, asked) from error
    except (aiohttp.ClientError, HttpProcessingError, ValueError) as error:
        raise EngineError(f"{asked}: {reason_of(error)}") from error
