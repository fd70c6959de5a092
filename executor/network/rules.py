"""The packet table of a cell as nft statements. Pure.

One map ``protocol . host port -> container address . container port`` is used by one rule for what arrives
and one for what the host itself sends, and one map ``container address -> jump`` leads to the rules of a
container. A lookup costs the same for one container and for 250, and a container's change is a change of
elements only.

What a container sends is judged once, before any address of it is translated: so the rules see what the
app dialled, whether that is outside, the host itself, or a mapped port of this host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from executor.network.egressrules import CONTAINERS, REFUSED, comment

PORTS = "ports"
"""Map of host ports."""

METADATA = "169.254.169.254"
"""Where a cloud's machines ask who they are, and for credentials."""

_BEFORE_ENGINE_DNAT = -110
_BEFORE_ENGINE_SNAT = 90
_BEFORE_ENGINE_FILTER = -10
_BEFORE_ANY_TRANSLATION = -150
_RAW = -300


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the rules speak of.

    ports: start of the names of the host's ends of the links. resolvers: name servers, always allowed.
    denied, allowed: networks, for containers whose own rules say nothing; allowed comes first.
    """

    table: str
    ports: str
    subnet: IPv4Network
    gateway: IPv4Address
    resolvers: tuple[IPv4Address, ...] = ()
    denied: tuple[IPv4Network, ...] = ()
    allowed: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a host port leads."""

    address: IPv4Address
    port: int


def remove_table(table: str) -> list[str]:
    """Statements that remove the table, whether it exists or not."""
    return [f"add table inet {table}", f"delete table inet {table}"]


def empty_table(wiring: Wiring) -> list[str]:
    """Statements that make the table anew, without any container."""
    table = f"inet {wiring.table}"
    statements = remove_table(wiring.table)
    statements.append(f"add table {table}")
    statements += [
        f"add map {table} {PORTS} {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}",
        f"add map {table} {CONTAINERS} {{ type ipv4_addr : verdict; }}",
        f"add set {table} {REFUSED} {{ type ipv4_addr; counter; }}",
    ]
    for chain, (definition, rules) in chains(wiring).items():
        statements.append(f"add chain {table} {chain} {definition}".rstrip())
        statements.extend(f"add rule {table} {chain} {rule}" for rule in rules)
    return statements


def _hook(kind: str, hook: str, priority: int) -> str:
    return f"{{ type {kind} hook {hook} priority {priority}; }}"


def chains(wiring: Wiring) -> dict[str, tuple[str, list[str]]]:
    """Chains in an order in which each jumps to earlier ones only: hook and rules by name.

    Clients on the loopback interface get the gateway's address as source, for the container could not answer
    127.0.0.1; so do containers that dial a neighbour (or themselves) through the host, for the answer must
    come back through the host. The guard drops what a container sends with another's address, to which the
    route is not its link, and closes what route_localnet opens: containers must not reach the host's own
    loopback listeners. Containers have no IPv6 here, so none of it comes in.

    What a container begins is let through by its own rules, else refused when it goes to a neighbour's
    address, to the host (its listeners and mapped ports alike), or to a denied network.
    """
    ours, subnet, gateway = f'"{wiring.ports}*"', wiring.subnet, wiring.gateway
    dnat = f"fib daddr type local dnat ip to meta l4proto . th dport map @{PORTS}"
    refuse = [
        "fib daddr type local goto refuse",
        f"ip daddr {METADATA} goto refuse",
        *_each("ip daddr {{ {} }} goto refuse", collapse_addresses(wiring.denied)),
    ]
    return {
        "refuse": ("", [f"ip saddr @{REFUSED}", "reject"]),
        "egress": (
            "",
            [
                "ct state established,related accept",
                f"ip daddr {subnet} ip daddr != {gateway} goto refuse",
                f"ip saddr vmap @{CONTAINERS}",
                *_each("meta l4proto {{ tcp, udp }} th dport 53 ip daddr {{ {} }} accept", wiring.resolvers),
                *_each("ip daddr {{ {} }} accept", collapse_addresses(wiring.allowed)),
                *refuse,
            ],
        ),
        "judge": (_hook("filter", "prerouting", _BEFORE_ANY_TRANSLATION), [f"iifname {ours} jump egress"]),
        "guard": (
            _hook("filter", "prerouting", _RAW),
            [
                f"iifname {ours} fib saddr . iif oif missing drop",
                f"iifname {ours} ip daddr 127.0.0.0/8 drop",
                f"iifname {ours} meta nfproto ipv6 drop",
            ],
        ),
        "forward": (
            _hook("filter", "forward", _BEFORE_ENGINE_FILTER),
            [
                "ct state established,related accept",
                f"iifname {ours} oifname {ours} ct status ! dnat reject",
                f"oifname {ours} ct status ! dnat drop",
            ],
        ),
        "prerouting": (_hook("nat", "prerouting", _BEFORE_ENGINE_DNAT), [dnat]),
        "output": (_hook("nat", "output", _BEFORE_ENGINE_DNAT), [dnat]),
        "postrouting": (
            _hook("nat", "postrouting", _BEFORE_ENGINE_SNAT),
            [
                f"oifname {ours} ip saddr 127.0.0.0/8 snat ip to {gateway}",
                f"oifname {ours} ip saddr {subnet} ct status dnat snat ip to {gateway}",
                f"oifname != {ours} ip saddr {subnet} ip saddr != {gateway} masquerade",
            ],
        ),
    }


def _each(rule: str, addresses: Iterable[IPv4Address | IPv4Network]) -> list[str]:
    """The rule for all of these; none for none."""
    listed = ", ".join(map(str, addresses))
    return [rule.format(listed)] if listed else []


def add_targets(table: str, targets: Mapping[int, Target], guid: str) -> list[str]:
    """Statements that add map elements, commented with the container's guid; none for no targets."""
    elements = ", ".join(
        f"tcp . {host_port} {comment(guid)} : {target.address} . {target.port}"
        for host_port, target in sorted(targets.items())
    )
    return [f"add element inet {table} {PORTS} {{ {elements} }}"] if elements else []


def delete_targets(table: str, host_ports: Iterable[int]) -> list[str]:
    """Statements that delete map elements; none for no ports."""
    elements = ", ".join(f"tcp . {host_port}" for host_port in sorted(host_ports))
    return [f"delete element inet {table} {PORTS} {{ {elements} }}"] if elements else []
