"""The port map as nft statements. Pure.

One map ``protocol . host port -> container address . container port`` is used by one rule for what arrives
and one for what the host itself sends, so a lookup costs the same for one container and for 250, and a
container's change is a change of map elements only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

MAP = "ports"

_BEFORE_ENGINE_DNAT = -110
_BEFORE_ENGINE_SNAT = 90
_RAW = -300


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Names that the rules speak of. subnet: the containers' network in CIDR form."""

    table: str
    bridge: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where a host port leads."""

    address: IPv4Address
    port: int


def remove_table(table: str) -> list[str]:
    """Statements that remove the table, whether it exists or not."""
    return [f"add table inet {table}", f"delete table inet {table}"]


def whole_table(wiring: Wiring, targets: Mapping[int, Target]) -> list[str]:
    """Statements that make the table anew with all ``targets`` (by host port).

    Clients on the loopback interface get the bridge's address as source, for the container could not answer
    127.0.0.1; so do containers that dial a neighbour (or themselves) through the host, for the answer must
    come back through the host. The guard closes what the bridge's route_localnet opens: containers must not
    reach the host's own loopback listeners.
    """
    table, bridge = f"inet {wiring.table}", wiring.bridge
    dnat = f"fib daddr type local dnat ip to meta l4proto . th dport map @{MAP}"
    hook = "type {kind} hook {hook} priority {priority};"
    chains = {
        "prerouting": (hook.format(kind="nat", hook="prerouting", priority=_BEFORE_ENGINE_DNAT), [dnat]),
        "output": (hook.format(kind="nat", hook="output", priority=_BEFORE_ENGINE_DNAT), [dnat]),
        "postrouting": (
            hook.format(kind="nat", hook="postrouting", priority=_BEFORE_ENGINE_SNAT),
            [
                f'oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade',
                f'oifname "{bridge}" ip saddr {wiring.subnet} ct status dnat masquerade',
            ],
        ),
        "guard": (
            hook.format(kind="filter", hook="prerouting", priority=_RAW),
            [f'iifname "{bridge}" ip daddr 127.0.0.0/8 drop'],
        ),
    }
    statements = remove_table(wiring.table)
    statements.append(f"add table {table}")
    statements.append(
        f"add map {table} {MAP} {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}"
    )
    for chain, (definition, rules) in chains.items():
        statements.append(f"add chain {table} {chain} {{ {definition} }}")
        statements.extend(f"add rule {table} {chain} {rule}" for rule in rules)
    return statements + add_targets(wiring.table, targets)


def add_targets(table: str, targets: Mapping[int, Target]) -> list[str]:
    """Statements that add map elements; none for no targets."""
    elements = ", ".join(
        f"tcp . {host_port} : {target.address} . {target.port}" for host_port, target in sorted_items(targets)
    )
    return [f"add element inet {table} {MAP} {{ {elements} }}"] if elements else []


def delete_targets(table: str, host_ports: Iterable[int]) -> list[str]:
    """Statements that delete map elements; none for no ports."""
    elements = ", ".join(f"tcp . {host_port}" for host_port in sorted(host_ports))
    return [f"delete element inet {table} {MAP} {{ {elements} }}"] if elements else []


def sorted_items(targets: Mapping[int, Target]) -> list[tuple[int, Target]]:
    """By host port."""
    return sorted(targets.items(), key=lambda item: item[0])
