"""Compiled egress rules as nft statements: a chain per distinct rule set, with sets of intervals. Pure.

Containers with the same rules share a chain. A map per version of IP leads from a container's address to
its chain. Each interval counts the connections it allowed.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from executor.network.config import Address
from executor.network.egress import IPV6_LAYERS, Interval, Layer, Opening, RuleSet
from executor.network.elements import Element, ElementStatement

CONTAINERS = "containers"
"""Map from a container's address to the chain of its rules."""

LOGGED = "logged"
"""Chain for connections that are allowed and logged."""

REFUSED = "refused"
"""Set of all containers' addresses, which counts the refused connections of each."""

CHAIN_PREFIX = "egress_"

_TYPES = {
    "ports": "ipv4_addr . inet_proto . inet_service",
    "icmp": "ipv4_addr . icmp_type . icmp_code",
    "other": "ipv4_addr",
    "ports6": "ipv6_addr . inet_proto . inet_service",
    "icmpv6": "ipv6_addr . icmpv6_type . icmpv6_code",
    "other6": "ipv6_addr",
}
_MATCHES = {
    "ports": "ip daddr . meta l4proto . th dport @{name}",
    "icmp": "ip daddr . icmp type . icmp code @{name}",
    "other": "meta l4proto != {{ tcp, udp, icmp }} ip daddr @{name}",
    "ports6": "ip6 daddr . meta l4proto . th dport @{name}",
    "icmpv6": "ip6 daddr . icmpv6 type . icmpv6 code @{name}",
    "other6": "meta l4proto != {{ tcp, udp, ipv6-icmp }} ip6 daddr @{name}",
}
_KINDS = {
    Layer.TCP: "ports",
    Layer.UDP: "ports",
    Layer.ICMP: "icmp",
    Layer.OTHER: "other",
    Layer.TCP6: "ports6",
    Layer.UDP6: "ports6",
    Layer.ICMPV6: "icmpv6",
    Layer.OTHER6: "other6",
}
"""The kind of set that holds a layer's openings: TCP and UDP share one."""

_COMMENT_LENGTH = 120
_NOT_IN_COMMENTS = re.compile(r"[^A-Za-z0-9_.-]")


def label(guid: str) -> str:
    """Element comment that names the container, for people and for `cell network`."""
    return _NOT_IN_COMMENTS.sub("", guid)[-_COMMENT_LENGTH:]


def comment(guid: str) -> str:
    """The label as an nft comment."""
    return f'comment "{label(guid)}"'


def name_for(name: str, version: int) -> str:
    """Name of the set or map for addresses of this version of IP."""
    return name if version == 4 else f"{name}{version}"


def chain_name(rule_set: RuleSet) -> str:
    """The same name for the same content."""
    return f"{CHAIN_PREFIX}{rule_set.digest}"


def set_names(rule_set: RuleSet) -> list[str]:
    """The sets of the rule set, in the order of lookup in its chain."""
    return list(dict.fromkeys(_set_name(rule_set, layer, log) for layer, log in rule_set.kinds))


@lru_cache(maxsize=256)
def set_elements(rule_set: RuleSet) -> Mapping[str, Sequence[str]]:
    """The elements of each set of the rule set, by set name; empty sets are left out.

    Cached, because checks compare them with the kernel's repeatedly.
    """
    found: dict[str, list[str]] = {}
    for (layer, log), openings in rule_set.kinds.items():
        found.setdefault(_set_name(rule_set, layer, log), []).extend(_elements(layer, openings))
    return found


def add_rule_set(table: str, rule_set: RuleSet) -> list[str]:
    """Statements that create the chain and its sets."""
    chain = chain_name(rule_set)
    sets = set_elements(rule_set)
    statements = [f"add chain inet {table} {chain}"]
    for name, elements in sets.items():
        kind = name.removeprefix(f"{chain}_").removesuffix("_log")
        statements.append(f"add set inet {table} {name} {{ type {_TYPES[kind]}; flags interval; counter; }}")
        statements.append(f"add element inet {table} {name} {{ {', '.join(elements)} }}")
        verdict = f"goto {LOGGED}" if name.endswith("_log") else "accept"
        statements.append(f"add rule inet {table} {chain} {_MATCHES[kind].format(name=name)} {verdict}")
    return statements


def delete_rule_set(table: str, rule_set: RuleSet) -> list[str]:
    """Statements that remove the chain and its sets. No map element may jump to the chain any more."""
    chain = chain_name(rule_set)
    return [
        f"flush chain inet {table} {chain}",
        f"delete chain inet {table} {chain}",
        *(f"delete set inet {table} {name}" for name in set_names(rule_set)),
    ]


def add_members(table: str, members: Mapping[Address, tuple[str, RuleSet | None]]) -> list[str]:
    """Statements that add container addresses, each with its container's guid and rules."""
    statements: list[str] = []
    for version in (4, 6):
        everybody = {address: each for address, each in members.items() if address.version == version}
        ruled = {address: (guid, rules) for address, (guid, rules) in everybody.items() if rules}
        if everybody:
            name = name_for(REFUSED, version)
            listed = ", ".join(f"{address} {comment(guid)}" for address, (guid, _) in everybody.items())
            known = (Element(address.packed, comment=label(guid)) for address, (guid, _) in everybody.items())
            statements.append(_statement(table, name, listed, known))
        if ruled:
            name = name_for(CONTAINERS, version)
            listed = ", ".join(
                f"{address} {comment(guid)} : jump {chain_name(rules)}"
                for address, (guid, rules) in ruled.items()
            )
            jumps = (
                Element(address.packed, chain=chain_name(rules), comment=label(guid))
                for address, (guid, rules) in ruled.items()
            )
            statements.append(_statement(table, name, listed, jumps))
    return statements


def delete_jump(table: str, address: Address) -> str:
    """The statement that removes the rules of an address."""
    return _without(table, name_for(CONTAINERS, address.version), address)


def delete_member(table: str, address: Address) -> str:
    """The statement that removes an address."""
    return _without(table, name_for(REFUSED, address.version), address)


def _statement(table: str, name: str, listed: str, elements: Iterable[Element]) -> ElementStatement:
    text = f"add element inet {table} {name} {{ {listed} }}"
    return ElementStatement.of(text, table, name, elements, add=True)


def _without(table: str, name: str, address: Address) -> ElementStatement:
    text = f"delete element inet {table} {name} {{ {address} }}"
    return ElementStatement.of(text, table, name, [Element(address.packed)], add=False)


def _set_name(rule_set: RuleSet, layer: Layer, log: bool) -> str:
    return f"{chain_name(rule_set)}_{_KINDS[layer]}{'_log' if log else ''}"


def _elements(layer: Layer, openings: Iterable[Opening]) -> Iterator[str]:
    show = _ipv6 if layer in IPV6_LAYERS else _ipv4
    for addresses, ports, _ in openings:
        where = _range(addresses, show)
        match layer:
            case Layer.TCP | Layer.UDP | Layer.TCP6 | Layer.UDP6:
                yield f"{where} . {layer.value.removesuffix('6')} . {_range(ports)}"
            case Layer.ICMP | Layer.ICMPV6:
                for kinds, codes in _rectangles(ports):
                    yield f"{where} . {_range(kinds)} . {_range(codes)}"
            case Layer.OTHER | Layer.OTHER6:
                yield where


def _rectangles(kinds: Interval) -> Iterator[tuple[Interval, Interval]]:
    """Rectangles of (types, codes) for an interval of type * 256 + code: a partial row, whole rows, a partial
    row.
    """
    first, last = kinds
    while first <= last:
        row, column = divmod(first, 256)
        rows = (last + 1 - first) // 256 if column == 0 else 0
        if rows:
            yield (row, row + rows - 1), (0, 255)
            first += rows * 256
        else:
            end = min(last, row * 256 + 255)
            yield (row, row), (column, end - row * 256)
            first = end + 1


def _range(interval: Interval, show: Callable[[int], str] = str) -> str:
    first, last = interval
    return show(first) if first == last else f"{show(first)}-{show(last)}"


def _ipv4(number: int) -> str:
    return socket.inet_ntop(socket.AF_INET, number.to_bytes(4, "big"))


def _ipv6(number: int) -> str:
    return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
