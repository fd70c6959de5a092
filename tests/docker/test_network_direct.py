"""Set elements sent over netlink equal those sent through the nftables library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from bbs.models.workload import SecurityGroupRule
from executor.errors import NetworkError
from executor.network.actualtable import ActualTable, differences, parse
from executor.network.desiredtable import DesiredTable, Member, everything
from executor.network.egress import compile_rules
from executor.network.egressrules import delete_member
from executor.network.libnftables import NftContext
from executor.network.nft import Nft
from executor.network.rules import Target, Wiring, add_targets, remove_table

pytestmark = pytest.mark.docker

RULES = compile_rules(
    [SecurityGroupRule(protocol="tcp", destinations=("192.0.2.0/24", "fd77::/16"), ports=(80,))]
)


def member(last: int, *ports: int, ruled: bool = True) -> Member:
    address = IPv4Address(f"10.0.0.{last}")
    targets = {port: Target(address, 8080 + port % 7) for port in ports}
    return Member(address, targets, RULES if ruled else None, IPv6Address(f"fd00::{last:x}"))


def wiring(table: str) -> Wiring:
    return Wiring(
        table=table,
        ports="cf-",
        subnet=IPv4Network("10.0.0.0/24"),
        gateway=IPv4Address("10.0.0.1"),
        subnet_ipv6=IPv6Network("fd00::/64"),
        gateway_ipv6=IPv6Address("fd00::1"),
    )


@pytest.fixture
def desired(unique: str) -> DesiredTable:
    """A table with a container."""
    made = DesiredTable(unique)
    made.put("first", member(2, 20001, 20002))
    return made


def no_library() -> NftContext:
    raise AssertionError("the library is not asked")


@pytest.fixture
async def table(unique: str, desired: DesiredTable) -> AsyncIterator[Nft]:
    """What changes the table, without the library."""
    nft = Nft()
    await nft.apply(everything(wiring(unique), desired.members))
    direct = Nft(no_library)
    yield direct
    await direct.close()
    await nft.apply(remove_table(unique))
    await nft.close()


async def actual(nft: Nft, table: str) -> ActualTable:
    text = await nft.read(table)
    assert text is not None
    return parse(text)


async def test_containers_come_change_and_go(unique: str, table: Nft, desired: DesiredTable) -> None:
    base = (await actual(table, unique)).base_chains()
    changes: list[Callable[[], list[str]]] = [
        lambda: desired.put("second", member(3, 20003)),
        lambda: desired.put("third", member(4, *range(20100, 20700))),
        lambda: desired.put("fourth", member(5, ruled=False)),
        lambda: desired.put("second", member(6, 20003, 20004)),
        lambda: desired.put("fourth", member(5)),
        lambda: desired.remove("third"),
    ]
    for change in changes:
        await table.apply(change())
        found = await actual(table, unique)
        assert differences(found, desired.members, base) == []
        guids = {count.guid for count in found.refused.values()}
        assert guids == set(desired.members)


async def test_what_is_made_directly_reads_as_what_the_library_makes(
    unique: str, table: Nft, desired: DesiredTable
) -> None:
    await table.apply(desired.put('odd "guid"; {}', member(3, 20003)))
    direct = await table.read(unique)
    library = Nft()
    await library.apply(everything(wiring(unique), desired.members))
    assert direct is not None
    again = await table.read(unique)
    assert again is not None
    assert without_handles(direct) == without_handles(again)
    await library.close()


def without_handles(text: str) -> list[str]:
    found = parse(text)
    return [repr(found.ports), repr(found.ports_ipv6), repr(found.jumps), repr(found.refused)]


async def test_a_transaction_is_made_whole_or_not_at_all(
    unique: str, table: Nft, desired: DesiredTable
) -> None:
    before = await actual(table, unique)
    nobody = delete_member(unique, IPv4Address("10.0.0.99"))
    more = add_targets(unique, {20009: Target(IPv4Address("10.0.0.2"), 80)}, "first")
    with pytest.raises(NetworkError, match=rf"No such file or directory: {nobody}"):
        await table.apply([*more, nobody])
    assert await actual(table, unique) == before
    await table.apply(more)
    with pytest.raises(NetworkError, match="packet rules refused: File exists"):
        await table.apply(add_targets(unique, {20009: Target(IPv4Address("10.0.0.3"), 80)}, "first"))
    with pytest.raises(NetworkError, match="No such file or directory"):
        await table.apply(add_targets("nowhere", {20009: Target(IPv4Address("10.0.0.3"), 80)}, "first"))
