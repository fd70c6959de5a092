"""Removal of the kernel's connection entries of removed containers.

An entry outlives its container (an established one for days). It would send packets for a port or an
address to the next container that gets it.

The kernel's table is walked once for any number of containers: a walk costs milliseconds even for few
entries, and decoding an entry costs more than searching its bytes for an address.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Collection, Iterator

from executor.errors import NetworkError
from executor.network.config import Address

_NETLINK_NETFILTER = 12
_CONNTRACK = 1 << 8
_GET, _DELETE = _CONNTRACK | 1, _CONNTRACK | 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_MSG_ERROR, _MSG_DONE = 2, 3
_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_TUPLE_IP, _IP_SOURCE, _IPV6_SOURCE = 1, 1, 3
_NESTED = 0x8000
_IPV4_BYTES = 4
_ANSWER_BYTES = 1 << 18

_HEADER = struct.Struct("=LHHLL")
_ATTRIBUTE = struct.Struct("=HH")
_FAMILY = struct.Struct(">BBH")


def forget_connections(addresses: Collection[Address]) -> int:
    """Delete connections from these addresses or translated to them; return their number. Blocks.

    Raises NetworkError.
    """
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        ) as netlink:
            originals = [*_entries(netlink, {address.packed for address in addresses})]
            for original in originals:
                _delete(netlink, original)
    except OSError as error:
        raise NetworkError(f"connections of containers that are gone: {error.strerror}") from error
    return len(originals)


def _entries(netlink: socket.socket, addresses: Collection[bytes]) -> Iterator[bytes]:
    """The original tuple of each entry with one of the addresses as the source of either direction."""
    mentioned = re.compile(b"|".join(map(re.escape, addresses)), re.DOTALL)
    netlink.send(_message(_GET, _REQUEST | _DUMP, socket.AF_UNSPEC, b""))
    while True:
        for kind, body in _messages(netlink.recv(_ANSWER_BYTES)):
            if kind == _MSG_DONE:
                return
            if kind == _MSG_ERROR:
                _raise(body)
            elif mentioned.search(body):
                tuples = dict(_attributes(body[_FAMILY.size :]))
                if {_source(tuples[_TUPLE_ORIGINAL]), _source(tuples[_TUPLE_REPLY])} & set(addresses):
                    yield tuples[_TUPLE_ORIGINAL]


def _delete(netlink: socket.socket, original: bytes) -> None:
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(original), _TUPLE_ORIGINAL | _NESTED) + original
    family = socket.AF_INET if len(_source(original)) == _IPV4_BYTES else socket.AF_INET6
    netlink.send(_message(_DELETE, _REQUEST | _ACK, family, attribute))
    for kind, body in _messages(netlink.recv(_ANSWER_BYTES)):
        if kind == _MSG_ERROR:
            try:
                _raise(body)
            except FileNotFoundError:  # the connection ended meanwhile
                return


def _raise(body: bytes) -> None:
    (code,) = struct.unpack_from("=l", body)
    if code:
        raise OSError(-code, os.strerror(-code) if -code in errno.errorcode else f"error {-code}")


def _message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    body = _FAMILY.pack(family, 0, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (max(length, _HEADER.size) + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & ~_NESTED, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (max(length, _ATTRIBUTE.size) + 3) & ~3


def _source(of_tuple: bytes) -> bytes:
    addresses = dict(_attributes(dict(_attributes(of_tuple))[_TUPLE_IP]))
    return addresses.get(_IP_SOURCE) or addresses[_IPV6_SOURCE]
