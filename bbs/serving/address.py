"""Addresses to listen on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Self

from bbs.models.numbers import whole_number

MAX_PORT: Final = 65535
BACKLOG: Final = 1024
"""Connections the kernel keeps until they are accepted."""

ANY_HOSTS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where clients on this machine reach a listener on all addresses."""


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
        number = whole_number(port, MAX_PORT)
        if not colon or number is None:
            raise ValueError(f"{text!r} is no address: expected HOST:PORT")
        return cls(host.removeprefix("[").removesuffix("]"), number)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it; a name other than ``localhost`` may be anything."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, *, tls: bool = False) -> str:
        """Base URL for a client on this machine."""
        here = Address(ANY_HOSTS.get(self.host, self.host), self.port)
        return f"{'https' if tls else 'http'}://{here}"


@contextmanager
def listening(address: Address, purpose: str) -> Iterator[socket.socket]:
    """A socket that listens while inside. Raises ListenError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        bound = socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise listen_error(address, purpose, error) from error
    with bound:
        bound.setblocking(False)
        yield bound


def listen_error(address: Address, purpose: str, error: OSError) -> ListenError:
    """The error for an address that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return ListenError(f"address {address} for {purpose} is taken")
    return ListenError(f"cannot listen on {address} for {purpose}: {error.strerror or error}")
