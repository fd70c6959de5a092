"""Desired content of the packet table: the containers, and the statements for each change. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from executor.network.config import Address
from executor.network.egress import RuleSet
from executor.network.egressrules import (
    add_members,
    add_rule_set,
    chain_name,
    delete_jump,
    delete_member,
    delete_rule_set,
)
from executor.network.rules import Target, Wiring, add_targets, delete_targets, empty_table


@dataclass(frozen=True, slots=True)
class Member:
    """A container: its address, the targets of its host ports, and its egress rules, if any.

    ipv6: its IPv6 address, which has the same mapped ports; None without IPv6.
    """

    address: IPv4Address
    targets: Mapping[int, Target] = field(default_factory=dict)
    rules: RuleSet | None = None
    ipv6: IPv6Address | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses of the container."""
        return (self.address, self.ipv6) if self.ipv6 else (self.address,)

    @property
    def targets_ipv6(self) -> dict[int, Target]:
        """Targets of its host ports for IPv6 clients."""
        if self.ipv6 is None:
            return {}
        return {port: Target(self.ipv6, target.port) for port, target in self.targets.items()}


def everything(wiring: Wiring, members: Mapping[str, Member]) -> list[str]:
    """Statements that create the whole table anew."""
    statements = empty_table(wiring)
    table = wiring.table
    distinct = {one.rules.digest: one.rules for one in members.values() if one.rules}
    for rules in distinct.values():
        statements += add_rule_set(table, rules)
    everybody = {address: (guid, one.rules) for guid, one in members.items() for address in one.addresses}
    statements += add_members(table, everybody)
    for guid, one in members.items():
        statements += add_targets(table, one.targets, guid)
        statements += add_targets(table, one.targets_ipv6, guid)
    return statements


def chains_of(members: Mapping[str, Member]) -> dict[str, RuleSet]:
    """The rule sets in use, by chain name."""
    return {chain_name(one.rules): one.rules for one in members.values() if one.rules}


class DesiredTable:
    """Members by guid. Each change returns its statements, for one transaction."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._members: dict[str, Member] = {}
        self._rules: Counter[str] = Counter()

    @property
    def members(self) -> Mapping[str, Member]:
        """Members by guid."""
        return self._members

    def put(self, guid: str, member: Member) -> list[str]:
        """Add or replace a container: the new rules replace the old ones in the same transaction."""
        old = self._members.get(guid)
        if old == member:
            return []
        self._members[guid] = member
        statements = [*self._use(member.rules), *self._entries_away(old), *self._entries(guid, member)]
        return statements + (self._unuse(old.rules) if old else [])

    def remove(self, guid: str) -> list[str]:
        """Remove a container; empty for an unknown one."""
        old = self._members.pop(guid, None)
        if old is None:
            return []
        return [*self._entries_away(old), *self._unuse(old.rules)]

    def clear(self) -> None:
        """Remove all containers, without statements."""
        self._members.clear()
        self._rules.clear()

    def _entries(self, guid: str, member: Member) -> list[str]:
        return [
            *add_members(self._table, dict.fromkeys(member.addresses, (guid, member.rules))),
            *add_targets(self._table, member.targets, guid),
            *add_targets(self._table, member.targets_ipv6, guid),
        ]

    def _entries_away(self, old: Member | None) -> list[str]:
        if old is None:
            return []
        return [
            *(delete_jump(self._table, address) for address in old.addresses if old.rules),
            *(delete_member(self._table, address) for address in old.addresses),
            *delete_targets(self._table, old.targets),
            *delete_targets(self._table, old.targets_ipv6, 6),
        ]

    def _use(self, rules: RuleSet | None) -> list[str]:
        if rules is None:
            return []
        self._rules[rules.digest] += 1
        if self._rules[rules.digest] > 1:
            return []
        return add_rule_set(self._table, rules)

    def _unuse(self, rules: RuleSet | None) -> list[str]:
        if rules is None:
            return []
        self._rules[rules.digest] -= 1
        if self._rules[rules.digest]:
            return []
        return delete_rule_set(self._table, rules)
