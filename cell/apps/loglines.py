"""App log lines from `cell dev`, recent and new."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from cell.client.session import ComponentFailed
from cell.client.target import BadArguments, Target

RECENT_LIMIT_S: Final = 60.0
DIAL_LIMIT_S: Final = 10.0
LINE_BYTES: Final = 1 << 20
"""Half of the limit of a line. An app's line has at most 60 KiB; its JSON form at most six times that."""

LATEST_NS: Final = 2**63 - 1

_TEXTS: Final = {
    "source_type": "source_type",
    "instance": "instance_id",
    "stream": "stream",
    "message": "message",
}
"""Names of :class:`Line`, and of the JSON."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. instance: index, empty for a Task's."""

    time_ns: int
    source_type: str
    instance: str
    stream: str
    message: str

    @property
    def label(self) -> str:
        """Source and instance of the line."""
        return f"{self.source_type}/{self.instance}" if self.instance else self.source_type


class AppLog:
    """The log of one app or Task. source: its log guid."""

    def __init__(self, target: Target, source: str) -> None:
        """Raises BadArguments if the target has no log server."""
        if not target.logs:
            raise BadArguments(
                f"no app logs: {target.origin} names only a BBS; app logs are kept by a `cell dev`"
            )
        self._url = f"{target.logs}/v1/logs/{quote(source, safe='')}"

    async def recent(self) -> list[Line]:
        """The kept lines, oldest first. Raises ComponentFailed."""
        limits = aiohttp.ClientTimeout(total=RECENT_LIMIT_S, sock_connect=DIAL_LIMIT_S)
        async with self._response("?recent", limits) as response:
            return [line async for line in self._lines(response)]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[AsyncIterator[Line]]:
        """All lines from enter on. Raises ComponentFailed; so does the iterator."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=DIAL_LIMIT_S, sock_read=None)
        async with self._response("", limits) as response:
            yield self._lines(response)

    @asynccontextmanager
    async def _response(
        self, query: str, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(f"{self._url}{query}", encoded=True)
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, read_bufsize=LINE_BYTES) as session,
                session.get(url, headers={"Accept-Encoding": "identity"}) as response,
            ):
                if response.status != 200:
                    raise ComponentFailed(f"{self._url}: answered {response.status}")
                yield response
        except TimeoutError as error:
            raise ComponentFailed(f"{self._url}: no answer in time") from error
        except aiohttp.ClientError as error:
            raise ComponentFailed(f"{self._url}: {error}") from error

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[Line]:
        try:
            while text := await response.content.readline():
                yield _line(text)
        except aiohttp.ClientError as error:
            raise ComponentFailed(f"{self._url}: {error}") from error
        except (ValueError, LineTooLong) as error:
            raise ComponentFailed(f"{self._url}: not a server of app logs: {error}") from error


def _line(text: bytes) -> Line:
    """Raises ValueError."""
    try:
        value = json.loads(text)
        time_ns = value["time_ns"]
        if not isinstance(time_ns, int) or not 0 <= time_ns <= LATEST_NS:
            raise ValueError("not a time")
        return Line(
            time_ns=time_ns,
            **{name: str(value[key]) for name, key in _TEXTS.items()},
        )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("a line is not a log entry") from error
