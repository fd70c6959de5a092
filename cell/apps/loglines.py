"""App log lines from `cell dev`, recent and new."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from cell.client.session import ComponentFailed
from cell.client.target import BadArguments, Target


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
                f"no app logs: {target.origin} names a BBS only, and they are kept by `cell dev`"
            )
        self._url = f"{target.logs}/v1/logs/{source}"

    async def recent(self) -> list[Line]:
        """The kept lines, oldest first. Raises ComponentFailed."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self._url}?recent") as response:
                return [_line(text) for text in (await response.text()).splitlines()]
        except (aiohttp.ClientError, ValueError) as error:
            raise ComponentFailed(f"{self._url}: {error}") from error

    @asynccontextmanager
    async def following(self) -> AsyncIterator[AsyncIterator[Line]]:
        """All lines from enter on. Raises ComponentFailed; so does the iterator."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with aiohttp.ClientSession(timeout=limits) as session, session.get(self._url) as response:
                yield self._lines(response)
        except aiohttp.ClientError as error:
            raise ComponentFailed(f"{self._url}: {error}") from error

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[Line]:
        rest = b""
        try:
            async for chunk in response.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for text in whole:
                    yield _line(text)
        except aiohttp.ClientError as error:
            raise ComponentFailed(f"{self._url}: {error}") from error


def _line(text: str | bytes) -> Line:
    told = json.loads(text)
    return Line(told["time_ns"], told["source_type"], told["instance_id"], told["stream"], told["message"])
