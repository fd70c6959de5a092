"""The packet table of a cell as nft statements. Pure.

The table is for both versions of IP where containers have both; sets, maps and elements that hold
addresses exist once per version.

One rule for arriving packets and one for the host's own packets share the map ``protocol . host port ->
container address . container port``. The map ``container address -> jump`` leads to the rules of a
container. A lookup costs the same for one container and for 250. A change of a container changes elements
only.

Egress rules match the destination before NAT, once per connection: outside, the host itself, or a mapped
port of this host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from executor.network.config import Address, Network
from executor.network.egressrules import CONTAINERS, LOGGED, REFUSED, comment, label, name_for
from executor.network.elements import Element, ElementStatement, port_key, target_value

PORTS = "ports"
"""Map of host ports."""

CONNECTIONS, CROWDED = "connections", "crowded"
"""Set that counts the connections of each container; chain for connections over the limit."""

_LOGGED_SET, _CROWDED_SET = "logged_at", "crowded_at"
"""Sets that hold the log rate limits of each container."""

KERNELS_SETS = frozenset(
    name_for(name, version) for name in (CONNECTIONS, _LOGGED_SET, _CROWDED_SET) for version in (4, 6)
)
"""Sets to which the kernel adds elements as packets arrive."""

LIMIT_PREFIX = "connection limit"
"""Prefix of the log message about a connection over the limit."""

_LOGGED_RATE = "limit rate 100/second burst 200 packets"
"""Rate of a container's log messages about allowed connections, as the Go cell's network has it for UDP.
Connections over the rate are allowed without a log message.
"""
_CROWDED_RATE = "limit rate 1/minute burst 1 packets"
_RATE_MEMORY = "10m"
_SET_SIZE = 65535

METADATA, METADATA_IPV6 = "169.254.169.254", "fd00:ec2::254"
"""Addresses of the instance metadata service of clouds, which hands out credentials."""

_LINK_LOCAL_IPV6, _MULTICAST_IPV6 = "fe80::/10", "ff00::/8"
_NEIGHBOURS_IPV6 = f"{{ {_LINK_LOCAL_IPV6}, ff02::/16 }}"
"""Destinations of neighbour discovery, which stays on the link."""

_BEFORE_ENGINE_DNAT = -110
_BEFORE_ENGINE_SNAT = 90
_BEFORE_ENGINE_FILTER = -10
_BEFORE_ANY_TRANSLATION = -150
_RAW = -300


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Parameters of the rules.

    ports: name prefix of the links' host ends.
    subnet_ipv6, gateway_ipv6: None where containers have no IPv6.
    resolvers: name servers, always allowed.
    denied, allowed: networks for connections that the container's own rules do not match; ``allowed``
        comes first.
    log_group: netfilter group for log messages.
    connection_limit: concurrent connections per container and version of IP; 0 for no limit.
    """

    table: str
    ports: str
    subnet: IPv4Network
    gateway: IPv4Address
    subnet_ipv6: IPv6Network | None = None
    gateway_ipv6: IPv6Address | None = None
    resolvers: tuple[Address, ...] = ()
    denied: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()
    log_group: int = 0
    connection_limit: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Container address and port of a mapped host port."""

    address: Address
    port: int


def remove_table(table: str) -> list[str]:
    """Statements that remove the table, if it exists."""
    return [f"add table inet {table}", f"delete table inet {table}"]


def empty_table(wiring: Wiring) -> list[str]:
    """Statements that create the table anew, without containers."""
    table = f"inet {wiring.table}"
    statements = remove_table(wiring.table)
    statements.append(f"add table {table}")
    for version in (4, 6) if wiring.subnet_ipv6 else (4,):
        kind = f"ipv{version}_addr"
        statements += [
            f"add map {table} {name_for(PORTS, version)} "
            f"{{ type inet_proto . inet_service : {kind} . inet_service; }}",
            f"add map {table} {name_for(CONTAINERS, version)} {{ type {kind} : verdict; }}",
            f"add set {table} {name_for(REFUSED, version)} {{ type {kind}; counter; }}",
            f"add set {table} {name_for(CONNECTIONS, version)} "
            f"{{ type {kind}; size {_SET_SIZE}; flags dynamic; }}",
            *(
                f"add set {table} {name_for(name, version)} "
                f"{{ type {kind}; size {_SET_SIZE}; flags dynamic, timeout; timeout {_RATE_MEMORY}; }}"
                for name in (_LOGGED_SET, _CROWDED_SET)
            ),
        ]
    for chain, (definition, rules) in chains(wiring).items():
        statements.append(f"add chain {table} {chain} {definition}".rstrip())
        statements.extend(f"add rule {table} {chain} {rule}" for rule in rules)
    return statements


def _hook(kind: str, hook: str, priority: int) -> str:
    return f"{{ type {kind} hook {hook} priority {priority}; }}"


def chains(wiring: Wiring) -> dict[str, tuple[str, list[str]]]:
    """Chains, ordered so that each jumps to earlier ones only: hook and rules by name.

    Clients on the loopback interface get the gateway's address as source, because the container could not
    answer 127.0.0.1. Containers that dial a neighbour (or themselves) through the host get it too, because
    the answer must come back through the host. The kernel accepts no answer for ::1 from another address,
    so ::1 has no mapped ports: clients are refused there and go on to 127.0.0.1.

    The guard drops packets with a spoofed source address, for which the route is not the container's link.
    It also closes what route_localnet opens: containers must not reach listeners on the host's loopback
    interface.

    The egress chain refuses new connections to broadcast and multicast addresses (the host's own listeners
    would take them), to a neighbour's address, and over the connection limit. The container's own rules
    come next and can allow the connection. Otherwise the chain refuses connections to the host (its
    listeners and mapped ports) and to denied networks. For IPv6, neighbour discovery passes on the link;
    all other link-local traffic of containers is refused.
    """
    ours, subnet, gateway = f'"{wiring.ports}*"', wiring.subnet, wiring.gateway
    both = wiring.subnet_ipv6 is not None
    versions = (("ip", 4), ("ip6", 6)) if both else (("ip", 4),)
    subnet6, gateway6 = wiring.subnet_ipv6, wiring.gateway_ipv6

    def with_ipv6(*rules: str) -> list[str]:
        return list(rules) if both else []

    dnat = f"fib daddr type local dnat ip to meta l4proto . th dport map @{PORTS}"
    dnat6 = f"fib daddr type local dnat ip6 to meta l4proto . th dport map @{name_for(PORTS, 6)}"
    refuse = [
        "fib daddr type local goto refuse",
        f"ip daddr {METADATA} goto refuse",
        *with_ipv6(f"ip6 daddr {METADATA_IPV6} goto refuse"),
        *_each("{ip} daddr {{ {listed} }} goto refuse", _merged(wiring.denied), both),
    ]
    # A TCP reset is immediate. An ICMPv6 error arrives while the caller still holds the socket: it waits a
    # second.
    reject = [*with_ipv6("meta nfproto ipv6 meta l4proto tcp reject with tcp reset"), "reject"]
    log = f"group {wiring.log_group}"
    return {
        LOGGED: (
            "",
            [
                *(
                    f"update @{name_for(_LOGGED_SET, version)} {{ {ip} saddr {_LOGGED_RATE} }} log {log}"
                    for ip, version in versions
                ),
                "accept",
            ],
        ),
        CROWDED: (
            "",
            [
                *(
                    f"update @{name_for(_CROWDED_SET, version)} {{ {ip} saddr {_CROWDED_RATE} }} "
                    f'log prefix "{LIMIT_PREFIX}" {log}'
                    for ip, version in versions
                ),
                *reject,
            ],
        ),
        "refuse": (
            "",
            [
                f"ip saddr @{REFUSED}",
                *with_ipv6(f"ip6 saddr @{name_for(REFUSED, 6)}"),
                *reject,
            ],
        ),
        "egress": (
            "",
            [
                "ct state established,related accept",
                *with_ipv6(
                    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } "
                    f"ip6 daddr {_NEIGHBOURS_IPV6} accept",
                    f"ip6 daddr {_MULTICAST_IPV6} drop",
                    f"ip6 daddr {_LINK_LOCAL_IPV6} goto refuse",
                ),
                "fib daddr type { broadcast, multicast } goto refuse",
                f"ip daddr {subnet} ip daddr != {gateway} goto refuse",
                *with_ipv6(f"ip6 daddr {subnet6} ip6 daddr != {gateway6} goto refuse"),
                *(
                    f"add @{name_for(CONNECTIONS, version)} {{ {ip} saddr ct count over "
                    f"{wiring.connection_limit} }} goto {CROWDED}"
                    for ip, version in versions
                    if wiring.connection_limit
                ),
                f"ip saddr vmap @{CONTAINERS}",
                *with_ipv6(f"ip6 saddr vmap @{name_for(CONTAINERS, 6)}"),
                *_each(
                    "meta l4proto {{ tcp, udp }} th dport 53 {ip} daddr {{ {listed} }} accept",
                    wiring.resolvers,
                    both,
                ),
                *_each("{ip} daddr {{ {listed} }} accept", _merged(wiring.allowed), both),
                *refuse,
            ],
        ),
        "judge": (_hook("filter", "prerouting", _BEFORE_ANY_TRANSLATION), [f"iifname {ours} jump egress"]),
        "guard": (
            _hook("filter", "prerouting", _RAW),
            [
                f"iifname {ours} fib saddr . iif oif missing drop",
                f"iifname {ours} ip daddr 127.0.0.0/8 drop",
                *([] if both else [f"iifname {ours} meta nfproto ipv6 drop"]),
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
        "prerouting": (_hook("nat", "prerouting", _BEFORE_ENGINE_DNAT), [dnat, *with_ipv6(dnat6)]),
        "output": (
            _hook("nat", "output", _BEFORE_ENGINE_DNAT),
            [dnat, *with_ipv6(f"ip6 daddr != ::1 {dnat6}")],
        ),
        "postrouting": (
            _hook("nat", "postrouting", _BEFORE_ENGINE_SNAT),
            [
                f"oifname {ours} ip saddr 127.0.0.0/8 snat ip to {gateway}",
                f"oifname {ours} ip saddr {subnet} ct status dnat snat ip to {gateway}",
                f"oifname != {ours} ip saddr {subnet} ip saddr != {gateway} masquerade",
                *with_ipv6(
                    f"oifname {ours} ip6 saddr {subnet6} ct status dnat snat ip6 to {gateway6}",
                    f"oifname != {ours} ip6 saddr {subnet6} ip6 saddr != {gateway6} masquerade",
                ),
            ],
        ),
    }


def _each(rule: str, addresses: Iterable[Address | Network], both: bool) -> list[str]:
    """The rule with the addresses of each version of IP; left out for a version without addresses."""
    versions = (("ip", 4), ("ip6", 6)) if both else (("ip", 4),)
    listed = {
        ip: ", ".join(str(one) for one in addresses if one.version == version) for ip, version in versions
    }
    return [rule.format(ip=ip, listed=text) for ip, text in listed.items() if text]


def _merged(networks: Sequence[Network]) -> list[Network]:
    return [
        *collapse_addresses(one for one in networks if isinstance(one, IPv4Network)),
        *collapse_addresses(one for one in networks if isinstance(one, IPv6Network)),
    ]


def add_targets(table: str, targets: Mapping[int, Target], guid: str) -> list[str]:
    """Statements that add map elements, commented with the container's guid; empty without targets."""
    statements: list[str] = []
    for version in (4, 6):
        led = sorted((port, to) for port, to in targets.items() if to.address.version == version)
        if led:
            name = name_for(PORTS, version)
            listed = ", ".join(f"tcp . {port} {comment(guid)} : {to.address} . {to.port}" for port, to in led)
            elements = (
                Element(port_key(port), target_value(to.address.packed, to.port), comment=label(guid))
                for port, to in led
            )
            text = f"add element inet {table} {name} {{ {listed} }}"
            statements.append(ElementStatement.of(text, table, name, elements, add=True))
    return statements


def delete_targets(table: str, host_ports: Iterable[int], version: int = 4) -> list[str]:
    """Statements that delete map elements of a version of IP; empty without ports."""
    ports = sorted(host_ports)
    if not ports:
        return []
    name, listed = name_for(PORTS, version), ", ".join(f"tcp . {port}" for port in ports)
    text = f"delete element inet {table} {name} {{ {listed} }}"
    elements = (Element(port_key(port)) for port in ports)
    return [ElementStatement.of(text, table, name, elements, add=False)]
