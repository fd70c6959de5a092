"""Lines over sockets: one datagram each, or a stream of them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from executor.logs.api import LogLine
from executor.logs.outlet import Unreachable

CONNECT_TIMEOUT_S = 5.0

MAX_UDP_BYTES = 65507

Encode = Callable[[LogLine], bytes]


class UnixDatagrams:
    """A destination of lines: a datagram socket in the file system (journald, ``/dev/log``)."""

    def __init__(self, path: Path, encode: Encode) -> None:
        self._path = path
        self._datagrams = _Datagrams(encode)

    async def send(self, items: Sequence[LogLine]) -> int:
        return await self._datagrams.send(items, self._connect)

    async def close(self) -> None:
        self._datagrams.close()

    async def _connect(self) -> socket.socket:
        return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), str(self._path))


class UDPDatagrams:
    """A destination of lines: UDP. A line too long for a datagram is cut."""

    def __init__(self, host: str, port: int, encode: Encode) -> None:
        self._host = host
        self._port = port
        self._datagrams = _Datagrams(lambda line: encode(line)[:MAX_UDP_BYTES])

    async def send(self, items: Sequence[LogLine]) -> int:
        return await self._datagrams.send(items, self._connect)

    async def close(self) -> None:
        self._datagrams.close()

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        return _connected(socket.socket(family, kind, protocol), address)


class _Datagrams:
    """A connected socket, when there is one."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._socket: socket.socket | None = None

    async def send(self, items: Sequence[LogLine], connect: Callable[[], Awaitable[socket.socket]]) -> int:
        loop = asyncio.get_running_loop()
        refused = 0
        sent = 0
        try:
            if self._socket is None:
                self._socket = await connect()
            for line in items:
                try:
                    await loop.sock_sendall(self._socket, self._encode(line))
                except OSError as error:
                    if error.errno != errno.EMSGSIZE:
                        raise
                    refused += 1
                sent += 1
        except OSError as error:
            self.close()
            raise Unreachable(error, sent) from error
        return refused

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(made: socket.socket, address: str | tuple[Any, ...]) -> socket.socket:
    """A non-blocking socket. Raises OSError."""
    try:
        made.setblocking(False)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


class StreamConnection:
    """A destination of lines: a TCP connection, with ``tls`` an encrypted one.

    A batch counts as sent when the kernel took it; a peer that closed the connection in between is noticed
    before the next batch.
    """

    def __init__(self, host: str, port: int, encode: Encode, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._encode = encode
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, items: Sequence[LogLine]) -> int:
        data = b"".join(map(self._encode, items))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                writer = await self._writer()
            writer.write(data)
            await writer.drain()
        except OSError as error:  # TimeoutError is one
            await self.close()
            raise Unreachable(error) from error
        return 0

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _writer(self) -> asyncio.StreamWriter:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
            writer.transport.set_write_buffer_limits(high=0)  # drained means: the kernel has it
            self._streams = (reader, writer)
        return self._streams[1]
