"""HTTP connections pooled for the lifetime of a client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Self

import aiohttp

SocketFactory = Callable[[tuple[Any, Any, int, str, tuple[Any, ...]]], socket.socket]


class PooledClient:
    """Base of HTTP clients: an async context manager that owns one session. Keeps no cookies."""

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None,
        *,
        limit: int = 0,
        reused: bool = True,
        socket_factory: SocketFactory | None = None,
        **options: Any,
    ) -> None:
        """ssl_context: for https; without one, the system's CAs are trusted. limit: of connections; 0: none.

        reused: a connection serves several requests. socket_factory: makes sockets. options: of the session.
        """
        self._ssl_context = ssl_context
        self._limit = limit
        self._reused = reused
        self._socket_factory = socket_factory
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            ssl=self._ssl_context or True,
            limit=self._limit,
            force_close=not self._reused,
            socket_factory=self._socket_factory,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **self._options
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """Raises RuntimeError outside the context."""
        if self._session is None:
            raise RuntimeError(f"{type(self).__name__} is not open: use it in 'async with'")
        return self._session
