"""Requests to instances through their mapped ports, over standing and over new connections.

No request may fail while its instance runs: the agent has no part in them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

REQUEST_S = 60.0
"""Limit of a request on a busy machine; a lost packet rule makes it hang."""
PAUSE_S = 0.2
REQUEST = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"


class RequestFailed(Exception):
    """A request got no complete answer."""


@dataclass(frozen=True)
class Reply:
    """life: the app's name for its life. lines: how many it had printed."""

    life: str
    lines: int


class Connection:
    """One HTTP connection to a port of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        try:
            async with asyncio.timeout(REQUEST_S):
                return cls(*await asyncio.open_connection("127.0.0.1", port))
        except (OSError, TimeoutError) as error:
            raise RequestFailed(f"connect: {error!r}") from error

    async def get(self, request: bytes = REQUEST) -> Reply:
        try:
            async with asyncio.timeout(REQUEST_S):
                self._writer.write(request)
                head = await self._reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                life, _, lines = (await self._reader.readexactly(length)).decode().partition(" ")
                return Reply(life, int(lines))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise RequestFailed(f"request: {error!r}") from error

    def close(self) -> None:
        self._writer.transport.abort()


async def ask(port: int, path: str = "/") -> Reply:
    """One request over a connection of its own. Raises RequestFailed."""
    connection = await Connection.open(port)
    try:
        return await connection.get(REQUEST.replace(b"GET / ", f"GET {path} ".encode()))
    finally:
        connection.close()


async def first_reply(port: int) -> Reply:
    """The reply of an instance that may not listen yet. Raises RequestFailed."""
    deadline = time.monotonic() + REQUEST_S
    while True:
        try:
            return await ask(port)
        except RequestFailed:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


@dataclass
class Traffic:
    """Clients of instances, by instance guid; each runs until it is dropped. failures: what went wrong."""

    group: asyncio.TaskGroup
    failures: list[str] = field(default_factory=list)
    requests: int = 0
    _clients: dict[str, list[asyncio.Task[None]]] = field(default_factory=dict)

    async def add(self, guid: str, port: int) -> None:
        """Begin to call an instance, once it answers: without a check, it may run before it listens."""
        life = (await first_reply(port)).life
        self._clients[guid] = [
            self.group.create_task(work(guid, port, life)) for work in (self._standing, self._fresh)
        ]

    def calls(self, guid: str) -> bool:
        """Whether an instance is called."""
        return guid in self._clients

    async def drop(self, guid: str) -> None:
        """End the calls, because the instance is about to end."""
        clients = self._clients.pop(guid, [])
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def close(self) -> None:
        for guid in list(self._clients):
            await self.drop(guid)

    async def _standing(self, guid: str, port: int, life: str) -> None:
        with self._noted(guid, "standing"):
            connection = await Connection.open(port)
            try:
                while True:
                    self._check(await connection.get(), life)
                    await asyncio.sleep(PAUSE_S)
            finally:
                connection.close()

    async def _fresh(self, guid: str, port: int, life: str) -> None:
        with self._noted(guid, "new connection"):
            while True:
                self._check(await ask(port), life)
                await asyncio.sleep(PAUSE_S)

    def _check(self, reply: Reply, life: str) -> None:
        self.requests += 1
        if reply.life != life:
            raise RequestFailed(f"another process answers: {reply.life}, not {life}")

    @contextmanager
    def _noted(self, guid: str, kind: str) -> Iterator[None]:
        try:
            yield
        except RequestFailed as error:
            self.failures.append(f"{guid}, {kind}: {error}")
