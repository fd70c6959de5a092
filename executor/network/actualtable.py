"""Actual content of the packet table, parsed from ``nft -n -j list table``. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from executor.network.desiredtable import Member, chains_of
from executor.network.egressrules import CHAIN_PREFIX, CONTAINERS, REFUSED, name_for, set_elements, set_names
from executor.network.rules import KERNELS_SETS, PORTS, Target

_BETWEEN_ENTRIES = ", \n\r\t"
_PROTOCOLS = {"6": "tcp", "17": "udp"}
_PORTS_MAPS, _CONTAINERS_MAPS, _REFUSED_SETS = (
    {name_for(name, version) for version in (4, 6)} for name in (PORTS, CONTAINERS, REFUSED)
)
_PORTS_TYPES = [[kind, "inet_proto", "inet_service"] for kind in ("ipv4_addr", "ipv6_addr")]


@dataclass(frozen=True, slots=True)
class Count:
    """Packet count of an element, and the guid in its comment."""

    packets: int = 0
    guid: str = ""


@dataclass(slots=True)
class ActualTable:
    """Parsed packet table.

    ports, ports_ipv6: address and port by host port.
    jumps: chain by address.
    refused: count by address.
    sets: elements of rule sets, in nft's notation.
    chains: definition and rules of each chain, as nft prints them.
    """

    ports: dict[int, tuple[str, int]] = field(default_factory=dict)
    ports_ipv6: dict[int, tuple[str, int]] = field(default_factory=dict)
    jumps: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Count] = field(default_factory=dict)
    sets: dict[str, dict[str, Count]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)

    def base_chains(self) -> dict[str, list[str]]:
        """The chains other than those of egress rules."""
        return {name: rules for name, rules in self.chains.items() if not name.startswith(CHAIN_PREFIX)}


def parse(text: str) -> ActualTable:
    """Parse a JSON listing. Slow for many rules: call it in a thread."""
    found = ActualTable()
    for entry in _entries(text):
        ((kind, body),) = entry.items()
        match kind:
            case "chain":
                definition = {key: value for key, value in body.items() if key != "handle"}
                found.chains.setdefault(body["name"], []).append(json.dumps(definition, sort_keys=True))
            case "rule":
                found.chains[body["chain"]].append(json.dumps(_uncounted(body["expr"]), sort_keys=True))
            case "map" if body["name"] in _PORTS_MAPS:
                into = found.ports if body["name"] == PORTS else found.ports_ipv6
                for key, value in body.get("elem", []):
                    address, target = value["concat"]
                    into[int(_value(key)["concat"][1])] = (address, int(target))
            case "map" if body["name"] in _CONTAINERS_MAPS:
                for key, value in body.get("elem", []):
                    found.jumps[_element(_value(key))] = value["jump"]["target"]
            case "set":
                elements = {_element(_value(one)): _count(one) for one in body.get("elem", [])}
                if body["type"] in _PORTS_TYPES:
                    elements = {_named(text): count for text, count in elements.items()}
                if body["name"] in _REFUSED_SETS:
                    found.refused |= elements
                elif body["name"] not in KERNELS_SETS:
                    found.sets[body["name"]] = elements
    return found


def _entries(text: str) -> Iterator[dict[str, Any]]:
    """Entries of the listing's only list.

    They are decoded one by one: the decoder blocks all other threads until it returns, and a listing may
    have tens of megabytes.
    """
    decode = json.JSONDecoder().raw_decode
    at = text.index("[") + 1
    while True:
        while text[at] in _BETWEEN_ENTRIES:
            at += 1
        if text[at] == "]":
            return
        entry, at = decode(text, at)
        yield entry


def differences(found: ActualTable, wanted: Mapping[str, Member], base: Mapping[str, list[str]]) -> list[str]:
    """Names of the parts that differ from the desired table. Slow for many rules: call it in a thread.

    wanted: the members by guid. base: the base chains as listed after their creation.
    """
    members = wanted.values()
    chains = chains_of(wanted)
    jumps = {
        str(address): f"{CHAIN_PREFIX}{one.rules.digest}"
        for one in members
        if one.rules
        for address in one.addresses
    }
    sets = {
        name: set(elements) for rules in chains.values() for name, elements in set_elements(rules).items()
    }
    rules = {name: len(set_names(one)) for name, one in chains.items()}
    own = {name: len(lines) - 1 for name, lines in found.chains.items() if name.startswith(CHAIN_PREFIX)}
    return [
        what
        for what, is_, should_be in (
            ("host ports", found.ports, _written(one.targets for one in members)),
            ("host ports of IPv6", found.ports_ipv6, _written(one.targets_ipv6 for one in members)),
            ("ways to the rules of containers", found.jumps, jumps),
            ("known addresses", set(found.refused), {str(each) for one in members for each in one.addresses}),
            ("destinations of rules", {name: set(found.sets[name]) for name in found.sets}, sets),
            ("chains of rules", own, rules),
            ("base chains", found.base_chains(), dict(base)),
        )
        if is_ != should_be
    ]


def _written(targets: Iterable[Mapping[int, Target]]) -> dict[int, tuple[str, int]]:
    return {port: (str(target.address), target.port) for each in targets for port, target in each.items()}


def _uncounted(expression: Iterable[Any]) -> list[Any]:
    return [part for part in expression if "counter" not in part]


def _value(element: Any) -> Any:
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _count(element: Any) -> Count:
    if not (isinstance(element, dict) and "elem" in element):
        return Count()
    body = element["elem"]
    return Count(packets=body.get("counter", {}).get("packets", 0), guid=body.get("comment", ""))


def _element(value: Any) -> str:
    if isinstance(value, dict) and "concat" in value:
        return " . ".join(map(_interval, value["concat"]))
    return _interval(value)


def _named(text: str) -> str:
    """The element of a set with ports, with the protocol's name instead of its number."""
    address, protocol, ports = text.split(" . ")
    return f"{address} . {_PROTOCOLS.get(protocol, protocol)} . {ports}"


def _interval(value: Any) -> str:
    if isinstance(value, dict) and "range" in value:
        first, last = value["range"]
        return f"{first}-{last}"
    if isinstance(value, dict) and "prefix" in value:
        network = ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        return f"{network[0]}-{network[-1]}"
    return str(value)
