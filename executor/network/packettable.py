"""The cell's packet table in the kernel, kept equal to the desired one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import ParamSpec, TypeVar

from bbs.models.workload import SecurityGroupRule
from common.shielded import finish
from executor.errors import NetworkError
from executor.network.actualtable import differences, parse
from executor.network.config import NetworkConfig
from executor.network.desiredtable import DesiredTable, Member, everything
from executor.network.egress import RuleSet, compile_rules
from executor.network.egressrules import set_elements
from executor.network.nft import Nft
from executor.network.resolvers import resolvers, resolvers_ipv6
from executor.network.rules import Wiring, remove_table

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_CHECK_ATTEMPTS = 5
"""Attempts of a check when the table changes during it; the next periodic check follows anyway."""


class PacketTable:
    """The table of one cell, and its members by guid. Calls raise NetworkError."""

    def __init__(self, config: NetworkConfig) -> None:
        self.nft = Nft()
        self._name = config.table
        self._wiring = _wiring(config)
        self._desired = DesiredTable(config.table)
        self._rules_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="egress-rules")
        """Composes and compares rules: one container may have thousands."""
        self._compiled = lru_cache(maxsize=256)(partial(_compiled, ipv6=config.network_ipv6 is not None))
        self._base: Mapping[str, list[str]] = {}
        self._changes_begun = self._changes_ended = 0
        self._open = False

    @property
    def members(self) -> Mapping[str, Member]:
        """The desired members by guid."""
        return self._desired.members

    async def compiled(self, egress: Sequence[SecurityGroupRule]) -> RuleSet | None:
        """The rule set of these rules; None if it is empty."""
        return await self._in_thread(self._compiled, tuple(egress))

    def expect(self, guid: str, member: Member) -> None:
        """Add a member before the table is open."""
        self._desired.put(guid, member)

    async def open(self) -> None:
        """Create the table with its members, in place of an earlier one."""
        self._open = True
        await self.rebuild()

    async def put(self, guid: str, member: Member) -> None:
        """Add or replace a member. Cancellation waits, so that both tables stay equal."""
        await self._change(self._desired.put(guid, member))

    async def remove(self, guid: str) -> None:
        """Remove a member, if it exists. Cancellation waits, so that both tables stay equal."""
        await self._change(self._desired.remove(guid))

    async def rebuild(self) -> None:
        """Create the whole table anew, in one transaction."""
        if not self._open:
            raise NetworkError("the cell's network was not started")
        await self.nft.apply(partial(everything, self._wiring, dict(self._desired.members)))
        if (listing := await self.nft.read(self._name)) is not None:
            self._base = (await self._in_thread(parse, listing)).base_chains()

    async def differences(self) -> list[str]:
        """What differs from the desired table, compared while no change of ours is in progress."""
        for _ in range(_CHECK_ATTEMPTS):
            began = self._changes_begun
            if began == self._changes_ended:
                listing = await self.nft.read(self._name)
                if listing is None:
                    return ["packet table"]
                found = await self._in_thread(parse, listing)
                if began == self._changes_begun:
                    members = dict(self._desired.members)
                    return await self._in_thread(differences, found, members, self._base)
        return []

    async def delete(self) -> None:
        """Remove the table and forget its members."""
        await self.nft.apply(remove_table(self._name))
        self._desired.clear()

    async def close(self) -> None:
        """Leave the table in force. Closing twice is allowed."""
        self._open = False
        await self.nft.close()

    async def _change(self, statements: list[str]) -> None:
        if statements:
            await finish(self._apply(statements))

    async def _apply(self, statements: list[str]) -> None:
        self._changes_begun += 1
        try:
            await self.nft.apply(statements)
        except NetworkError as error:
            # Our table may have been flushed by another program: restore it from memory.
            logger.warning("rebuilding-packet-table", extra={"data": {"error": str(error)}})
            await self.rebuild()
        finally:
            self._changes_ended += 1

    async def _in_thread(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._rules_thread, lambda: job(*args, **kwargs))


def _wiring(config: NetworkConfig) -> Wiring:
    return Wiring(
        table=config.table,
        ports=config.port_prefix,
        subnet=config.network,
        gateway=config.gateway,
        subnet_ipv6=config.network_ipv6,
        gateway_ipv6=config.gateway_ipv6,
        resolvers=(*resolvers(config.dns_servers), *resolvers_ipv6(config.dns_servers)),
        denied=config.denied,
        allowed=config.allowed,
        log_group=config.log_group,
        connection_limit=config.connection_limit,
    )


def _compiled(rules: Sequence[SecurityGroupRule], *, ipv6: bool) -> RuleSet | None:
    """The compiled rules, with their set elements already cached. Raises NetworkError."""
    rule_set = compile_rules(rules, ipv6=ipv6)
    if rule_set is not None:
        set_elements(rule_set)
    return rule_set
