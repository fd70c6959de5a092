"""Listen addresses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Self

from bbs.models.text import whole_number

MAX_PORT: Final = 65535
BACKLOG: Final = 1024
"""Connections that the kernel queues until they are accepted."""

ANY_HOSTS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address by which clients on this machine reach a listener on all addresses."""


class ListenError(Exception):
    """An address cannot be bound; the message names the address and its purpose."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port; for port 0 the system chooses one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``HOST:PORT``, with an IPv6 host in brackets. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        number = whole_number(port, MAX_PORT)
        if not colon or number is None:
            raise ValueError(f"{text!r} is no address: expected HOST:PORT")
        return cls(host.removeprefix("[").removesuffix("]"), number)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; of all names, only ``localhost`` counts as loopback."""
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
    """A socket that listens while the context lasts. Raises ListenError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        bound = socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise listen_error(address, purpose, error) from error
    with bound:
        bound.setblocking(False)
        yield bound


def listen_error(address: Address, purpose: str, error: OSError) -> ListenError:
    """The error for an address that cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        return ListenError(f"address {address} for {purpose} is taken")
    return ListenError(f"cannot listen on {address} for {purpose}: {error.strerror or error}")
