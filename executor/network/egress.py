"""Security group rules compiled to sets of disjoint intervals. Pure.

All rules allow, so what counts is their union; where two of them overlap the later one says whether a
connection is logged. The kernel looks such a set up in one go, however many rules there were.

Rules for IPv6 are left out: containers have none here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from bbs.models.workload import SecurityGroupRule
from executor.errors import NetworkError

Interval = tuple[int, int]
"""First and last, both included."""

MAX_INTERVALS = 100_000
"""Of one container's rules; a few hundred rules that overlap in all ways stay far below."""

_PORTS: Interval = (0, 65535)
_ANY = -1


class Layer(Enum):
    """What a packet is looked up in; the value is what the kernel calls it."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    OTHER = "other"
    """Every other protocol, which only rules for ``all`` let through."""


@dataclass(frozen=True, slots=True, order=True)
class Opening:
    """Something that is let through: to ``addresses``, at ``ports``.

    For ICMP a port is type * 256 + code; other protocols have all of them.
    """

    addresses: Interval
    ports: Interval
    log: bool = False


@dataclass(frozen=True)
class RuleSet:
    """Disjoint openings of each layer, ascending."""

    openings: tuple[tuple[Layer, tuple[Opening, ...]], ...]

    @cached_property
    def digest(self) -> str:
        """The same for the same content."""
        return hashlib.sha256(repr(self.openings).encode()).hexdigest()[:12]

    def of(self, layer: Layer, *, log: bool) -> list[Opening]:
        """The openings of a layer that are logged, or those that are not."""
        return [
            one for found, openings in self.openings if found is layer for one in openings if one.log is log
        ]


@dataclass(frozen=True, slots=True)
class _Box:
    order: int
    addresses: Interval
    ports: Interval
    log: bool


def compile_rules(rules: Sequence[SecurityGroupRule]) -> RuleSet | None:
    """The rules of one container; None when they let nothing through. Raises NetworkError."""
    boxes: dict[Layer, list[_Box]] = {layer: [] for layer in Layer}
    for order, rule in enumerate(rules):
        for layer, ports in _reach(rule):
            boxes[layer] += [_Box(order, addresses, ports, rule.log) for addresses in destinations(rule)]
    openings = tuple((layer, tuple(_disjoint(found))) for layer, found in boxes.items() if found)
    return RuleSet(openings) if openings else None


def destinations(rule: SecurityGroupRule) -> list[Interval]:
    """Addresses as numbers, IPv4 only. Raises NetworkError for what is no destination."""
    texts = (text.strip() for entry in rule.destinations for text in entry.split(","))
    try:
        return [interval for text in texts if (interval := _destination(text)) is not None]
    except ValueError as error:
        raise NetworkError(f"egress rule: {error}") from error


def _destination(text: str) -> Interval | None:
    first, dash, last = text.partition("-")
    if dash:
        low, high = _address(first), _address(last)
        return None if low is None or high is None else (int(low), int(high))
    address, slash, prefix = text.partition("/")
    number = _address(address)
    if number is None:
        return None
    network = IPv4Network((number, int(prefix) if slash else 32), strict=False)
    return int(network[0]), int(network[-1])


def _address(text: str) -> IPv4Address | None:
    """None for an IPv6 address. Raises ValueError."""
    if ":" not in text:
        return IPv4Address(text)
    return IPv6Address(text).ipv4_mapped


def _reach(rule: SecurityGroupRule) -> Iterator[tuple[Layer, Interval]]:
    """The layers a rule opens, and where in them."""
    match rule.protocol:
        case "tcp" | "udp":
            if rule.port_range is not None:
                yield Layer(rule.protocol), (rule.port_range.start, rule.port_range.end)
            for port in rule.ports:
                yield Layer(rule.protocol), (port, port)
        case "icmp":
            kind = rule.icmp_info
            if kind is None:
                raise NetworkError("egress rule: icmp without icmp_info")
            for first, last in _kinds(kind.type, kind.code):
                yield Layer.ICMP, (first, last)
        case "icmpv6":
            return
        case "all":
            for layer in Layer:
                yield layer, _PORTS
        case _:
            raise NetworkError(f"egress rule: unknown protocol {rule.protocol!r}")


def _kinds(kind: int, code: int) -> list[Interval]:
    if kind == _ANY:
        return [_PORTS] if code == _ANY else [(one << 8 | code, one << 8 | code) for one in range(256)]
    return [(kind << 8, kind << 8 | 255)] if code == _ANY else [(kind << 8 | code, kind << 8 | code)]


def _disjoint(boxes: Iterable[_Box]) -> list[Opening]:
    """Sweep over the addresses; between two borders the same boxes are open."""

    @cache
    def painted(active: frozenset[_Box]) -> tuple[tuple[Interval, bool], ...]:
        return tuple(_painted(active))

    events: dict[int, tuple[list[_Box], list[_Box]]] = {}
    for box in boxes:
        events.setdefault(box.addresses[0], ([], []))[0].append(box)
        events.setdefault(box.addresses[1] + 1, ([], []))[1].append(box)
    columns: list[tuple[Interval, tuple[tuple[Interval, bool], ...]]] = []
    active: set[_Box] = set()
    start, total = 0, 0
    for border in sorted(events):
        if active:
            content = painted(frozenset(active))
            if columns and columns[-1][0][1] + 1 == start and columns[-1][1] == content:
                columns[-1] = ((columns[-1][0][0], border - 1), content)
            else:
                columns.append(((start, border - 1), content))
                total += len(content)
                if total > MAX_INTERVALS:
                    raise NetworkError(f"egress rules: more than {MAX_INTERVALS} intervals")
        opened, closed = events[border]
        active.update(opened)
        active.difference_update(closed)
        start = border
    return [Opening(addresses, ports, log) for addresses, content in columns for ports, log in content]


def _painted(boxes: Iterable[_Box]) -> Iterator[tuple[Interval, bool]]:
    """Disjoint port intervals; where boxes overlap, the last rule's flag counts."""
    borders: dict[int, tuple[list[_Box], list[_Box]]] = {}
    for box in boxes:
        borders.setdefault(box.ports[0], ([], []))[0].append(box)
        borders.setdefault(box.ports[1] + 1, ([], []))[1].append(box)
    active: set[_Box] = set()
    current: tuple[int, int, bool] | None = None
    start = 0
    for border in sorted(borders):
        if active:
            log = max(active, key=lambda box: box.order).log
            if current is not None and current[1] + 1 == start and current[2] is log:
                current = (current[0], border - 1, log)
            else:
                if current is not None:
                    yield current[:2], current[2]
                current = (start, border - 1, log)
        opened, closed = borders[border]
        active.update(opened)
        active.difference_update(closed)
        start = border
    if current is not None:
        yield current[:2], current[2]
