"""A relay of bytes before a server, for faults below its protocol: refused or silent connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self


class Relay:
    """Listens on a port of loopback and passes connections on, TLS and gRPC included."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def before(cls, address: str) -> AsyncIterator[Self]:
        """address: ``host:port`` of the server."""
        host, _, port = address.rpartition(":")
        relay = cls(host, int(port))
        await relay._listen()
        try:
            yield relay
        finally:
            await relay._refuse()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Connections are cut at the begin of the block, and refused in it."""
        await self._refuse()
        try:
            yield
        finally:
            await self._listen()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections are accepted, but no byte moves in the block."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection(*self._upstream)
        pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, there), (back, writer))]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            there.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
