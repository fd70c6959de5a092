"""Security group rules compiled to sets of disjoint intervals. Pure.

All rules allow, so the result is their union. Where rules overlap, the last one decides whether a
connection is logged. The kernel's lookup cost does not depend on the number of rules.

Rules that differ only in their addresses, or only in their ports, are merged first. The rest takes one
sweep over the addresses. The time of the sweep grows with the number of overlaps, which is bounded.

The destinations of a rule determine its IP version; a rule with both versions counts as two.
"""

from __future__ import annotations

import hashlib
import socket
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from heapq import heappop, heappush
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from bbs.models.workload import SecurityGroupRule
from executor.errors import NetworkError

Interval = tuple[int, int]
"""First and last, both inclusive."""

MAX_INTERVALS = 20_000
"""Maximum per container. Each takes 100 bytes here and more in the kernel; a thousand usual rules stay far
below.
"""

MAX_OVERLAPS = 2_000_000
"""Maximum number of visits of overlapping rules in a sweep: half a second of work."""

_COST_OF_MIXED = 8
"""Relative cost of a rule where some rules log and others do not."""

_PORTS: Interval = (0, 65535)
_ANY = -1


class Layer(Enum):
    """Lookup table of a packet; the value is the kernel's protocol name, with a 6 for IPv6."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    OTHER = "other"
    """All other protocols, which only rules for ``all`` allow."""
    TCP6 = "tcp6"
    UDP6 = "udp6"
    ICMPV6 = "icmpv6"
    OTHER6 = "other6"


IPV6_LAYERS = frozenset({Layer.TCP6, Layer.UDP6, Layer.ICMPV6, Layer.OTHER6})


class Destinations(NamedTuple):
    """Addresses as numbers."""

    ipv4: Sequence[Interval]
    ipv6: Sequence[Interval]


class Opening(NamedTuple):
    """Allowed ``addresses`` and ``ports``.

    For ICMP a port is type * 256 + code; other protocols have the whole range.
    """

    addresses: Interval
    ports: Interval
    log: bool = False


@dataclass(frozen=True)
class RuleSet:
    """Disjoint openings of each layer, in ascending order."""

    openings: tuple[tuple[Layer, tuple[Opening, ...]], ...]

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """Digest of the content."""
        content = [(layer.value, *map(tuple, openings)) for layer, openings in self.openings]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:12]

    @cached_property
    def kinds(self) -> dict[tuple[Layer, bool], list[Opening]]:
        """Openings by layer and log flag; empty lists are left out."""
        return {
            (layer, log): found
            for log in (False, True)
            for layer, openings in self.openings
            if (found := [one for one in openings if one.log is log])
        }

    def of(self, layer: Layer, *, log: bool) -> list[Opening]:
        """The openings of a layer with this log flag."""
        return self.kinds.get((layer, log), [])


Content = tuple[tuple[Interval, bool], ...]
"""Disjoint port intervals, in ascending order, each with its log flag."""


class _Box(NamedTuple):
    """The ports that one rule opens at some addresses. Boxes sort by their ports."""

    ports: Interval
    order: int
    log: bool


def compile_rules(rules: Sequence[SecurityGroupRule], *, ipv6: bool = True) -> RuleSet | None:
    """The rules of one container; None if they allow nothing. Raises NetworkError.

    ipv6: whether containers have IPv6; otherwise the IPv6 part of rules is left out.
    """
    boxes: dict[Layer, list[tuple[Interval, _Box]]] = {layer: [] for layer in Layer}
    for order, rule in enumerate(rules):
        where = destinations(rule)
        for layer, ports in _reach(rule):
            box = _Box(ports, order, rule.log)
            if layer not in IPV6_LAYERS:
                boxes[layer] += [(addresses, box) for addresses in where.ipv4]
            elif ipv6 and where.ipv6:
                boxes[layer] += [(addresses, box) for addresses in where.ipv6]
    openings = tuple((layer, tuple(_disjoint(_merged(found)))) for layer, found in boxes.items() if found)
    return RuleSet(openings) if openings else None


def destinations(rule: SecurityGroupRule) -> Destinations:
    """Destinations of a rule; IPv4-mapped IPv6 addresses count as IPv4. Raises NetworkError for
    invalid ones.
    """
    found: tuple[list[Interval], list[Interval]] = ([], [])
    try:
        for entry in rule.destinations:
            for text in entry.split(","):
                is_ipv6, interval = _destination(text.strip())
                found[is_ipv6].append(interval)
    except ValueError as error:
        raise NetworkError(f"egress rule: {error}") from error
    return Destinations(*found)


def _destination(text: str) -> tuple[bool, Interval]:
    """Whether the destination is IPv6, and its interval of addresses."""
    if "-" in text:
        (is_ipv6, low), (high_is_ipv6, high) = map(_number, text.split("-", 1))
        if is_ipv6 is not high_is_ipv6:
            raise ValueError(f"range {text!r} begins and ends in different versions of IP")
        if low > high:
            raise ValueError(f"range {text!r} ends before it begins")
        return is_ipv6, (low, high)
    address, slash, prefix = text.partition("/")
    is_ipv6, number = _number(address)
    if not slash:
        return is_ipv6, (number, number)
    if is_ipv6 is not (":" in address):
        raise ValueError(f"network {text!r}: write it as one of IPv4")
    kind = IPv6Network if is_ipv6 else IPv4Network
    network = kind((number, int(prefix)), strict=False)
    return is_ipv6, (int(network[0]), int(network[-1]))


def _number(text: str) -> tuple[bool, int]:
    """Whether the address is IPv6, and its number. Raises ValueError."""
    if ":" in text:
        address = IPv6Address(text)
        if address.scope_id is not None:
            raise ValueError(f"{text!r} is an address of one interface")
        mapped = address.ipv4_mapped
        return (True, int(address)) if mapped is None else (False, int(mapped))
    try:
        return False, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except OSError:
        return False, int(IPv4Address(text))  # raises the detailed error


def _reach(rule: SecurityGroupRule) -> Iterator[tuple[Layer, Interval]]:
    """The layers that a rule opens, each with an interval of ports."""
    match rule.protocol:
        case "tcp" | "udp":
            layers = (Layer.TCP, Layer.TCP6) if rule.protocol == "tcp" else (Layer.UDP, Layer.UDP6)
            for interval in _ports(rule):
                for layer in layers:
                    yield layer, interval
        case "icmp" | "icmpv6":
            kind = rule.icmp_info
            if kind is None:
                raise NetworkError(f"egress rule: {rule.protocol} without icmp_info")
            for interval in _kinds(kind.type, kind.code):
                yield Layer(rule.protocol), interval
        case "all":
            for layer in Layer:
                yield layer, _PORTS
        case _:
            raise NetworkError(f"egress rule: unknown protocol {rule.protocol!r}")


def _ports(rule: SecurityGroupRule) -> Iterator[Interval]:
    if (ports := rule.port_range) is not None:
        if ports.start > ports.end:
            raise NetworkError(f"egress rule: no range of ports: {ports.start} to {ports.end}")
        yield ports.start, ports.end
    for port in rule.ports:
        yield port, port


def _kinds(kind: int, code: int) -> list[Interval]:
    if kind == _ANY:
        return [_PORTS] if code == _ANY else [(one << 8 | code, one << 8 | code) for one in range(256)]
    return [(kind << 8, kind << 8 | 255)] if code == _ANY else [(kind << 8 | code, kind << 8 | code)]


def _merged(boxes: Sequence[tuple[Interval, _Box]]) -> Sequence[tuple[Interval, _Box]]:
    """The same openings in fewer boxes, if all have the same log flag: their order is irrelevant then."""
    flags = {box.log for _, box in boxes}
    if len(flags) > 1:
        return boxes
    (log,) = flags
    addresses_at: defaultdict[Interval, list[Interval]] = defaultdict(list)
    for addresses, box in boxes:
        addresses_at[box.ports].append(addresses)
    ports_at: defaultdict[Interval, list[Interval]] = defaultdict(list)
    for ports, intervals in addresses_at.items():
        for addresses in _union(sorted(intervals)):
            ports_at[addresses].append(ports)
    return [
        (addresses, _Box(ports, 0, log))
        for addresses, intervals in ports_at.items()
        for ports in _union(sorted(intervals))
    ]


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    """Disjoint, non-adjacent intervals. ``intervals`` must be in ascending order."""
    found: list[Interval] = []
    for first, last in intervals:
        if found and first <= found[-1][1] + 1:
            if last > found[-1][1]:
                found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def _disjoint(boxes: Sequence[tuple[Interval, _Box]]) -> list[Opening]:
    """Disjoint openings; adjacent columns with the same content are merged."""
    columns: list[tuple[int, int, Content]] = []
    total = 0
    for first, last, content in _columns(boxes):
        if columns and columns[-1][1] + 1 == first and columns[-1][2] == content:
            columns[-1] = (columns[-1][0], last, content)
            continue
        columns.append((first, last, content))
        total += len(content)
        if total > MAX_INTERVALS:
            raise NetworkError(f"egress rules: more than {MAX_INTERVALS} intervals")
    return [Opening((first, last), ports, log) for first, last, content in columns for ports, log in content]


def _columns(boxes: Sequence[tuple[Interval, _Box]]) -> Iterator[tuple[int, int, Content]]:
    """First and last address of each column with the same boxes, in ascending order, and its content."""
    ordered = sorted(boxes, key=itemgetter(0))
    if all(one[0][1] < other[0][0] for one, other in pairwise(ordered)):
        for (first, last), box in ordered:
            yield first, last, ((box.ports, box.log),)
    else:
        yield from _sweep(ordered)


def _sweep(boxes: Iterable[tuple[Interval, _Box]]) -> Iterator[tuple[int, int, Content]]:
    """Sweep over the addresses; between two borders the set of open boxes is constant."""
    opened: defaultdict[int, list[_Box]] = defaultdict(list)
    closed: defaultdict[int, list[_Box]] = defaultdict(list)
    for (first, last), box in boxes:
        opened[first].append(box)
        closed[last + 1].append(box)
    active: list[_Box] = []  # in ascending order
    start = cost = 0
    for border in sorted(opened.keys() | closed.keys()):
        if active:
            mixed = len({box.log for box in active}) > 1
            cost += len(active) * (_COST_OF_MIXED if mixed else 1)
            if cost > MAX_OVERLAPS:
                raise NetworkError("egress rules: too many of them overlap each other")
            yield start, border - 1, _painted(active) if mixed else _alike(active)
        for box in closed.get(border, ()):
            del active[bisect_left(active, box)]
        for box in opened.get(border, ()):
            insort(active, box)
        start = border


def _alike(boxes: Sequence[_Box]) -> Content:
    """Disjoint port intervals of boxes with the same log flag."""
    log = boxes[0].log
    return tuple((ports, log) for ports in _union(box.ports for box in boxes))


def _painted(boxes: Sequence[_Box]) -> Content:
    """Disjoint port intervals; where boxes overlap, the last rule's flag counts."""
    found: list[tuple[Interval, bool]] = []
    covering: list[tuple[int, int, bool]] = []  # a heap: the last rule, its last port, its flag
    waiting = deque(boxes)
    borders = {border for box in boxes for border in (box.ports[0], box.ports[1] + 1)}
    for start, following in pairwise(sorted(borders)):
        while waiting and waiting[0].ports[0] == start:
            box = waiting.popleft()
            heappush(covering, (-box.order, box.ports[1], box.log))
        while covering and covering[0][1] < start:
            heappop(covering)
        if covering:
            log = covering[0][2]
            if found and found[-1][0][1] + 1 == start and found[-1][1] is log:
                found[-1] = ((found[-1][0][0], following - 1), log)
            else:
                found.append(((start, following - 1), log))
    return tuple(found)
