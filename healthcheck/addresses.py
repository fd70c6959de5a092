"""The container address that a check connects to: the first non-loopback IPv4 address.

Netlink lists the addresses. The standard library lists only interface names, and ``lo`` may also have a
non-loopback address.
"""

from __future__ import annotations

import _socket
import struct

_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_HEADER = struct.Struct("=IHHII")
_ADDRESS_HEADER = struct.Struct("=BBBBi")
_ATTRIBUTE = struct.Struct("=HH")
_ANSWER_BYTES = 1 << 16


def interfaces() -> list[int]:
    """The indexes of all interfaces, in kernel order. Raises OSError."""
    return sorted(index for index, _ in _socket.if_nameindex())


def ipv4_addresses() -> list[tuple[int, str]]:
    """(interface index, address) of every IPv4 address, in kernel order. Raises OSError."""
    found: list[tuple[int, str]] = []
    sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _socket.NETLINK_ROUTE)
    try:
        body = _ADDRESS_HEADER.pack(_socket.AF_INET, 0, 0, 0, 0)
        length = _HEADER.size + len(body)
        sock.send(_HEADER.pack(length, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            answer = sock.recv(_ANSWER_BYTES)
            at = 0
            while at + _HEADER.size <= len(answer):
                length, kind, _, _, _ = _HEADER.unpack_from(answer, at)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    (number,) = struct.unpack_from("=i", answer, at + _HEADER.size)
                    raise OSError(-number, "netlink refuses to list addresses")
                if kind == _RTM_NEWADDR:
                    entry = _address(answer[at + _HEADER.size : at + length])
                    if entry is not None:
                        found.append(entry)
                at += (length + 3) & ~3
    finally:
        sock.close()


def _address(message: bytes) -> tuple[int, str] | None:
    family, _, _, _, index = _ADDRESS_HEADER.unpack_from(message)
    if family != _socket.AF_INET:
        return None
    values: dict[int, bytes] = {}
    at = _ADDRESS_HEADER.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        values[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    # On a point-to-point link, IFA_ADDRESS is the address of the peer.
    address = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
    return (index, _socket.inet_ntoa(address)) if address else None


def choose(order: list[int], addresses: list[tuple[int, str]]) -> str | None:
    """The first suitable address in interface order; later ones are never used."""
    for interface in order:
        for index, address in addresses:
            if index == interface and not address.startswith("127."):
                return address
    return None
