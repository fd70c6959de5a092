"""Show the network of a cell: host ports, egress rules, allowed connections, refused packets.

Without a guid the output has one line per container. With a guid (a prefix is enough) it lists the
container's rules, each with its number of allowed connections. The data come from the kernel's packet table,
so they show the rules in force, whatever their origin. Needs root.

  cell network
  cell network 30911132
  cell network --table diego_cell_dev_2

Exit status 0; 1 if there is no such table or container.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import click
import psutil
from pyroute2 import IPRoute, NetlinkError

from cell.assembly.terminal import Table
from cell.cli import Command, command, require_root
from executor.errors import NetworkError
from executor.network.actualtable import ActualTable, Count, parse
from executor.network.nft import Nft

TABLE_PREFIX = "diego_cell"


@command(Command, errors={NetworkError: 1})
@click.argument("guid", required=False, metavar="[GUID]", help="guid of a container, or its beginning")
@click.option(
    "--table",
    metavar="TABLE",
    help=f"packet table of the cell (default: all whose names start with {TABLE_PREFIX})",
)
def network(guid: str | None, table: str | None) -> None:
    require_root("it reads packet rules")
    print(_report(asyncio.run(_tables(table)), guid))


async def _tables(table: str | None) -> list[ActualTable]:
    """The packet table of one cell, or those of all cells. Raises NetworkError."""
    nft = Nft()
    names = [table] if table else [name for name in await nft.tables() if name.startswith(TABLE_PREFIX)]
    if not names:
        raise NetworkError(f"no cell runs here: there is no packet table {TABLE_PREFIX}*")
    tables = []
    for name in names:
        if (text := await nft.read(name)) is None:
            raise NetworkError(f"there is no packet table {name}")
        tables.append(parse(text))
    return tables


def _report(tables: list[ActualTable], guid: str | None) -> str:
    """Raises NetworkError if no container has the guid."""
    found = [one for table in tables for one in containers(table)]
    if guid is None:
        return overview(found)
    chosen = [one for one in found if one.guid.startswith(guid)]
    if not chosen:
        raise NetworkError(f"no container {guid}; there are {len(found)}")
    return "\n\n".join(details(one, _traffic(one.address)) for one in chosen)


@dataclass(frozen=True, slots=True)
class CountedRule:
    """A rule in the kernel, and its number of allowed connections."""

    text: str
    connections: int
    logged: bool


@dataclass(frozen=True, slots=True)
class ContainerRules:
    """A container in a packet table. ipv6: its address, empty for none. refused: packets."""

    guid: str
    address: str
    ipv6: str
    ports: tuple[tuple[int, int], ...]
    rules: tuple[CountedRule, ...]
    refused: int


def containers(table: ActualTable) -> list[ContainerRules]:
    """All containers of a table, by guid."""
    ipv6 = {count.guid: address for address, count in table.refused.items() if ":" in address}
    return sorted(
        (
            ContainerRules(
                guid=count.guid,
                address=address,
                ipv6=ipv6.get(count.guid, ""),
                ports=tuple(
                    (port, target) for port, (to, target) in sorted(table.ports.items()) if to == address
                ),
                rules=tuple(_rules(table, table.jumps.get(address, ""))),
                refused=count.packets + table.refused.get(ipv6.get(count.guid, ""), Count()).packets,
            )
            for address, count in table.refused.items()
            if ":" not in address
        ),
        key=lambda one: one.guid,
    )


def _rules(table: ActualTable, chain: str) -> Iterator[CountedRule]:
    for name, elements in sorted(table.sets.items()):
        if chain and name.startswith(f"{chain}_"):
            kind = name.removeprefix(f"{chain}_")
            for element, count in elements.items():
                yield CountedRule(
                    _words(kind.removesuffix("_log"), element), count.packets, kind.endswith("_log")
                )


def _words(kind: str, element: str) -> str:
    address, *rest = element.split(" . ")
    match kind:
        case "ports" | "ports6":
            return f"{rest[0]} {address} port {rest[1]}"
        case "icmp" | "icmpv6":
            return f"{kind} {address} type {rest[0]} code {rest[1]}"
        case _:
            return f"other protocols {address}"


def overview(found: list[ContainerRules]) -> str:
    """One line per container."""
    headers = ("CONTAINER", "ADDRESS", "PORTS", "RULES", "REFUSED")
    rows = [
        (one.guid, one.address, _mapped(one) or "-", str(len(one.rules)), str(one.refused)) for one in found
    ]
    return Table(headers, rows).text()


def details(one: ContainerRules, traffic: tuple[int, int] | None) -> str:
    """One container. traffic: bytes in and out, if its link still exists."""
    lines = [
        f"container  {one.guid}",
        f"address    {one.address}",
        *([f"ipv6       {one.ipv6}"] if one.ipv6 else []),
        f"ports      {_mapped(one) or 'none'}",
        f"traffic    {f'{traffic[0]} bytes in, {traffic[1]} bytes out' if traffic else 'no link'}",
        f"refused    {one.refused} packets",
    ]
    if not one.rules:
        return "\n".join([*lines, "rules      none of its own"])
    rows = [(rule.text, str(rule.connections), "logged" if rule.logged else "") for rule in one.rules]
    return "\n".join([*lines, "", Table(("ALLOWED", "CONNECTIONS", "LOG"), rows).text()])


def _mapped(one: ContainerRules) -> str:
    return ",".join(f"{port}->{target}" for port, target in one.ports)


def _traffic(address: str) -> tuple[int, int] | None:
    """Bytes in and out of the container, counted at the host's end of its link."""
    try:
        with IPRoute() as netlink:
            index = next(iter(netlink.route("get", dst=address))).get("oif")
        counters = psutil.net_io_counters(pernic=True)[socket.if_indextoname(index)]
    except (NetlinkError, OSError, KeyError, TypeError):
        return None
    return counters.bytes_sent, counters.bytes_recv
