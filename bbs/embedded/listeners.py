"""Addresses of the control plane, and applications served on them."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from bbs.client import listener

SHUTDOWN_TIMEOUT_S: Final = 1.0
"""How long requests in flight may go on after their listener is closed."""

ANY_HOSTS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where somebody on this machine reaches a listener on all addresses."""


class ListenError(Exception):
    """An address could not be had; the message says which, and for what."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``HOST:PORT``, an IPv6 host in brackets. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(f"{text!r} is no address: expected HOST:PORT")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, *, tls: bool = False) -> str:
        """Base URL for a client on this machine."""
        here = Address(ANY_HOSTS.get(self.host, self.host), self.port)
        return f"{'https' if tls else 'http'}://{here}"


@contextmanager
def listening(address: Address, purpose: str) -> Iterator[socket.socket]:
    """A socket that listens as long as the context lasts. Raises ListenError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        bound = socket.create_server((address.host, address.port), family=family, backlog=listener.BACKLOG)
    except OSError as error:
        raise listen_error(address, purpose, error) from error
    with bound:
        bound.setblocking(False)
        yield bound


def listen_error(address: Address, purpose: str, error: OSError) -> ListenError:
    """What to tell somebody whose address cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return ListenError(f"address {address} for {purpose} is taken")
    return ListenError(f"cannot listen on {address} for {purpose}: {error.strerror or error}")


@asynccontextmanager
async def serving(
    app: web.Application,
    bound: socket.socket,
    ssl_context: ssl.SSLContext | None = None,
    *,
    cancel_on_disconnect: bool = False,
) -> AsyncIterator[None]:
    """Serve an application on a socket for as long as the context lasts.

    cancel_on_disconnect: a handler whose client has gone is cancelled.
    """
    async with listener.serving(
        app,
        bound,
        ssl_context,
        grace_s=SHUTDOWN_TIMEOUT_S,
        cancel_on_disconnect=cancel_on_disconnect,
    ):
        yield
