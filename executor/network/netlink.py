"""Netlink messages and their attributes, packed and parsed.

The packet table, connection entries and packet logs use it directly. ``pyroute2`` decodes every field of a
message, which costs more than the work for which these modules need it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NETFILTER = 12
REQUEST, ACK, CREATE, DUMP = 0x1, 0x4, 0x400, 0x300
ERROR, DONE = 2, 3
NESTED = 0x8000
NETFILTER_HEADER = struct.Struct(">BBH")
"""Family, version, and a number such as that of a log group."""

_HEADER = struct.Struct("=LHHLL")
_ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=l")


class Message(NamedTuple):
    """A message of the kernel. number: that of the request it answers."""

    kind: int
    number: int
    body: bytes


def open_socket(protocol: int) -> socket.socket:
    """Raises OSError."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


def request(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, number, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, number, _ = _HEADER.unpack_from(data, offset)
        yield Message(kind, number, data[offset + _HEADER.size : offset + length])
        offset += _padded(length, _HEADER.size)


def attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Pairs of kind and value."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & ~NESTED, data[offset + _ATTRIBUTE.size : offset + length]
        offset += _padded(length, _ATTRIBUTE.size)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def error_code(body: bytes) -> int:
    """The code in the body of an error message; 0 for success."""
    (code,) = _CODE.unpack_from(body)
    return -int(code)


def raise_error(body: bytes) -> None:
    """Raise the error of an error message as OSError, unless it reports success."""
    if code := error_code(body):
        raise OSError(code, os.strerror(code) if code in errno.errorcode else f"error {code}")


def _padded(length: int, least: int) -> int:
    return (max(length, least) + 3) & ~3
