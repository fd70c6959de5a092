"""Log destinations over sockets: a datagram per line, or a stream of lines."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from executor.logs.shipper import Unreachable

CONNECT_TIMEOUT_S = 5.0

MAX_UDP_BYTES = 65507

SENT_AT_ONCE = 100
"""Datagrams sent before other tasks run: sending to a socket with free space never waits."""


class UnixDatagrams:
    """Destination: a Unix datagram socket (journald, ``/dev/log``)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._datagrams = _Datagrams()

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        return await self._datagrams.send(items, self._connect)

    async def close(self) -> None:
        self._datagrams.close()

    async def _connect(self) -> socket.socket:
        return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), str(self._path))


class UDPDatagrams:
    """Destination: UDP. A line too long for a datagram is truncated."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._datagrams = _Datagrams()

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        return await self._datagrams.send([item[:MAX_UDP_BYTES] for item in items], self._connect)

    async def close(self) -> None:
        self._datagrams.close()

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        return _connected(socket.socket(family, kind, protocol), address)


class _Datagrams:
    """A datagram socket, connected on demand."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    async def send(
        self, items: Sequence[bytes], connect: Callable[[], Awaitable[socket.socket]]
    ) -> Collection[int]:
        loop = asyncio.get_running_loop()
        refused: set[int] = set()
        sent = 0
        try:
            if self._socket is None:
                self._socket = await connect()
            for index, item in enumerate(items):
                try:
                    await loop.sock_sendall(self._socket, item)
                except OSError as error:
                    if error.errno != errno.EMSGSIZE:
                        raise
                    refused.add(index)
                sent += 1
                if sent % SENT_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except OSError as error:
            self.close()
            # Report only the items before the first refused one: a retry must count the refused one again.
            raise Unreachable(error, sent if not refused else min(refused)) from error
        return refused

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(made: socket.socket, address: str | tuple[Any, ...]) -> socket.socket:
    """Connect a non-blocking socket. Raises OSError."""
    try:
        made.setblocking(False)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


class StreamConnection:
    """Destination: a TCP connection, encrypted with ``tls``.

    A batch counts as sent once the kernel has taken it. A connection closed by the peer is detected before
    the next batch.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                writer = await self._writer()
            writer.write(b"".join(items))
            await writer.drain()
        except OSError as error:  # includes TimeoutError
            await self.close()
            raise Unreachable(error) from error
        return ()

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _writer(self) -> asyncio.StreamWriter:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
            writer.transport.set_write_buffer_limits(high=0)  # drain() waits for the kernel
            self._streams = (reader, writer)
        return self._streams[1]
