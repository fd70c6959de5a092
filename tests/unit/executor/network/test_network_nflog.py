"""The kernel's messages about logged packets."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from executor.network.nflog import Packet, packets

pytestmark = pytest.mark.unit

SOURCE, DESTINATION = IPv4Address("10.255.0.2"), IPv4Address("192.0.2.1")


def ip_packet(protocol: int, payload: bytes, *, options: bytes = b"") -> bytes:
    first = 0x40 | (20 + len(options)) // 4
    header = struct.pack(
        ">BBHHHBBH4s4s", first, 0, 0, 0, 0, 64, protocol, 0, SOURCE.packed, DESTINATION.packed
    )
    return header + options + payload


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=LHHLL", 20 + len(body), kind, 0, 0, 0) + bytes(4) + body


def logged(packet: bytes) -> bytes:
    return message(0x400, attribute(10, b"prefix\0") + attribute(9, packet))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ip_packet(6, struct.pack(">HH", 40000, 443)), ("tcp", 443)),
        (ip_packet(17, struct.pack(">HH", 40000, 53), options=bytes(8)), ("udp", 53)),
        (ip_packet(1, b"\x08\0"), ("icmp", None)),
        (ip_packet(47, b""), ("47", None)),
        (ip_packet(6, b""), ("tcp", None)),
    ],
)
def test_packets(data: bytes, expected: tuple[str, int | None]) -> None:
    assert list(packets(logged(data))) == [Packet(SOURCE, DESTINATION, *expected, prefix="prefix")]


@pytest.mark.parametrize(
    ("number", "payload", "expected"),
    [
        (6, struct.pack(">HH", 40000, 443), ("tcp", 443)),
        (58, b"\x80\0", ("icmpv6", None)),
        (0, bytes(8), ("0", None)),
        (17, b"", ("udp", None)),
    ],
)
def test_packets_of_ipv6(number: int, payload: bytes, expected: tuple[str, int | None]) -> None:
    ends = IPv6Address("fd00::2"), IPv6Address("2001:db8::1")
    header = struct.pack(">LHBB", 6 << 28, len(payload), number, 64) + ends[0].packed + ends[1].packed
    assert list(packets(logged(header + payload))) == [Packet(*ends, *expected, prefix="prefix")]
    assert list(packets(logged(header[:39]))) == []


def test_several_messages_at_once() -> None:
    tcp = logged(ip_packet(6, struct.pack(">HH", 1, 80)))
    done = message(3, b"")
    five = logged(b"\x50" + bytes(40))
    assert len(list(packets(tcp + done + five + tcp))) == 2


@pytest.mark.parametrize(
    "data", [b"", bytes(16), message(0x400, b""), message(0x400, bytes(8)), b"\xff" * 40]
)
def test_what_makes_no_sense_is_left_out(data: bytes) -> None:
    assert list(packets(data)) == []
