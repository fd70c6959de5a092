"""Removal of the kernel's connection entries of removed containers.

An entry outlives its container (an established one for days). It would send packets for a port or an
address to the next container that gets it.

The kernel's table is walked once for any number of containers: a walk costs milliseconds even for few
entries, and decoding an entry costs more than searching its bytes for an address.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterator

from executor.errors import NetworkError
from executor.network import netlink
from executor.network.config import Address

_CONNTRACK = 1 << 8
_GET, _DELETE = _CONNTRACK | 1, _CONNTRACK | 2
_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_TUPLE_IP, _IP_SOURCE, _IPV6_SOURCE = 1, 1, 3
_IPV4_BYTES = 4
_ANSWER_BYTES = 1 << 18


def forget_connections(addresses: Collection[Address]) -> int:
    """Delete connections from these addresses or translated to them; return their number. Blocks.

    Raises NetworkError.
    """
    try:
        with netlink.open_socket(netlink.NETFILTER) as kernel:
            originals = [*_entries(kernel, {address.packed for address in addresses})]
            for original in originals:
                _delete(kernel, original)
    except OSError as error:
        raise NetworkError(f"connections of containers that are gone: {error.strerror}") from error
    return len(originals)


def _entries(kernel: socket.socket, addresses: Collection[bytes]) -> Iterator[bytes]:
    """The original tuple of each entry with one of the addresses as the source of either direction."""
    mentioned = re.compile(b"|".join(map(re.escape, addresses)), re.DOTALL)
    kernel.send(_request(_GET, netlink.DUMP, socket.AF_UNSPEC))
    while True:
        for kind, _, body in netlink.messages(kernel.recv(_ANSWER_BYTES)):
            if kind == netlink.DONE:
                return
            if kind == netlink.ERROR:
                netlink.raise_error(body)
            elif mentioned.search(body):
                tuples = dict(netlink.attributes(body[netlink.NETFILTER_HEADER.size :]))
                if {_source(tuples[_TUPLE_ORIGINAL]), _source(tuples[_TUPLE_REPLY])} & set(addresses):
                    yield tuples[_TUPLE_ORIGINAL]


def _delete(kernel: socket.socket, original: bytes) -> None:
    attribute = netlink.attribute(_TUPLE_ORIGINAL | netlink.NESTED, original)
    family = socket.AF_INET if len(_source(original)) == _IPV4_BYTES else socket.AF_INET6
    kernel.send(_request(_DELETE, netlink.ACK, family, attribute))
    for kind, _, body in netlink.messages(kernel.recv(_ANSWER_BYTES)):
        if kind == netlink.ERROR:
            try:
                netlink.raise_error(body)
            except FileNotFoundError:  # the connection ended meanwhile
                return


def _request(kind: int, flags: int, family: int, attributes: bytes = b"") -> bytes:
    return netlink.request(kind, flags, 1, netlink.NETFILTER_HEADER.pack(family, 0, 0) + attributes)


def _source(of_tuple: bytes) -> bytes:
    addresses = dict(netlink.attributes(dict(netlink.attributes(of_tuple))[_TUPLE_IP]))
    return addresses.get(_IP_SOURCE) or addresses[_IPV6_SOURCE]
