"""Packets logged by the packet table, received through netfilter log groups.

The kernel log is no alternative: it is shared by all network namespaces of a host, and logs packets of the
first namespace only.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from executor.errors import NetworkError
from executor.network import netlink
from executor.network.config import Address

_SUBSYSTEM_LOG = 4
_PACKET, _CONFIG = 0, 1
_CFG_CMD, _CFG_MODE = 1, 2
_CMD_BIND = 1
_COPY_PACKET = 2
_COPIED_BYTES = 96
"""Copied bytes of each packet: more than the parsed headers."""
_ATTR_PAYLOAD, _ATTR_PREFIX = 9, 10
_RECEIVE_BUFFER = 1 << 20
_RECEIVE_BYTES = 1 << 16

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_IPV4_HEADER, _IPV6_HEADER = 20, 40


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. destination_port: None for protocols without ports.

    prefix: log prefix of the rule.
    """

    source: Address
    destination: Address
    protocol: str
    destination_port: int | None = None
    prefix: str = ""


class LogGroup:
    """A log group of this network namespace. A group has one listener."""

    def __init__(self, group: int) -> None:
        """Raises NetworkError, for example if the group already has a listener."""
        try:
            self._socket = netlink.open_socket(netlink.NETFILTER)
        except OSError as error:
            raise NetworkError(f"log group {group}: {error.strerror}") from error
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._ask(group, netlink.attribute(_CFG_CMD, struct.pack("B", _CMD_BIND)))
            self._ask(group, netlink.attribute(_CFG_MODE, struct.pack(">LBx", _COPIED_BYTES, _COPY_PACKET)))
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise NetworkError(f"log group {group}: {error.strerror}") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> list[Packet]:
        """The available packets; empty without any. Raises OSError (ENOBUFS) if packets were lost."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        return list(packets(data))

    def _ask(self, group: int, attribute: bytes) -> None:
        body = netlink.NETFILTER_HEADER.pack(socket.AF_UNSPEC, 0, group) + attribute
        self._socket.send(netlink.request(_SUBSYSTEM_LOG << 8 | _CONFIG, netlink.ACK, 1, body))
        answer = next(netlink.messages(self._socket.recv(_RECEIVE_BYTES)))
        if answer.kind == netlink.ERROR:
            netlink.raise_error(answer.body)


def packets(data: bytes) -> Iterator[Packet]:
    """The packets in netlink messages."""
    for kind, _, body in netlink.messages(data):
        if kind != _SUBSYSTEM_LOG << 8 | _PACKET:
            continue
        attributes = dict(netlink.attributes(body[netlink.NETFILTER_HEADER.size :]))
        prefix = attributes.get(_ATTR_PREFIX, b"").rstrip(b"\0").decode(errors="replace")
        if (packet := _packet(attributes.get(_ATTR_PAYLOAD, b""))) is not None:
            yield replace(packet, prefix=prefix)


def _packet(data: bytes) -> Packet | None:
    """An IPv6 extension header counts as the protocol."""
    match data[0] >> 4 if data else None:
        case 4 if len(data) >= _IPV4_HEADER:
            source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
            number, start = data[9], (data[0] & 15) * 4
            return Packet(source, destination, *_protocol(number, data[start:]))
        case 6 if len(data) >= _IPV6_HEADER:
            ends = IPv6Address(data[8:24]), IPv6Address(data[24:40])
            return Packet(*ends, *_protocol(data[6], data[_IPV6_HEADER:]))
    return None


def _protocol(number: int, data: bytes) -> tuple[str, int | None]:
    protocol = _PROTOCOLS.get(number, str(number))
    if protocol not in ("tcp", "udp") or len(data) < 4:
        return protocol, None
    (port,) = struct.unpack_from(">H", data, 2)
    return protocol, port
