"""Packet rules as text, transactions that are put together, and the map's life without a kernel."""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from executor.errors import NetworkError
from executor.network.address import detect_external_ip
from executor.network.nft import Nft
from executor.network.rules import (
    Target,
    Wiring,
    add_targets,
    delete_targets,
    remove_table,
    whole_table,
)

pytestmark = pytest.mark.unit

ONE = Target(IPv4Address("10.0.0.2"), 8080)
TWO = Target(IPv4Address("10.0.0.3"), 2222)


def test_elements_of_the_map() -> None:
    assert add_targets("t", {}) == []
    assert delete_targets("t", ()) == []
    assert add_targets("t", {61002: TWO, 61001: ONE}) == [
        "add element inet t ports { tcp . 61001 : 10.0.0.2 . 8080, tcp . 61002 : 10.0.0.3 . 2222 }"
    ]
    assert delete_targets("t", [61002, 61001]) == ["delete element inet t ports { tcp . 61001, tcp . 61002 }"]


def test_a_whole_table_replaces_the_one_before() -> None:
    statements = whole_table(Wiring(table="t", bridge="br", subnet="10.0.0.0/24"), {61001: ONE})
    assert statements[:2] == remove_table("t") == ["add table inet t", "delete table inet t"]
    assert statements[-1] == add_targets("t", {61001: ONE})[0]
    assert 'add rule inet t postrouting oifname "br" ip saddr 127.0.0.0/8 masquerade' in statements
    assert 'add rule inet t guard iifname "br" ip daddr 127.0.0.0/8 drop' in statements


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands for nft: waits for ``go``, keeps each transaction in a file, refuses what says "bad"."""
    script = tmp_path / "nft"
    script.write_text(
        f"""#!/bin/sh
cd {tmp_path}
echo started >started
read line <go
cat >"transaction.$$"
echo "$$" >>order
if grep -q bad "transaction.$$"; then echo 'line 1: bad' >&2; exit 1; fi
"""
    )
    script.chmod(0o755)
    return script


def transactions(folder: Path) -> list[str]:
    numbers = (folder / "order").read_text().split()
    return [(folder / f"transaction.{number}").read_text() for number in numbers]


def let_all_go(folder: Path) -> None:
    (folder / "go").unlink(missing_ok=True)
    (folder / "go").write_text("go\n")


async def hold_first(nft: Nft, folder: Path, *changes: str) -> list[asyncio.Task[None]]:
    """Start the first change, and the others while it is under way."""
    os.mkfifo(folder / "go")
    tasks = [asyncio.create_task(nft.apply([changes[0]]))]
    opened = await asyncio.to_thread(open, folder / "go", "w")
    tasks += [asyncio.create_task(nft.apply([change])) for change in changes[1:]]
    for _ in changes:
        await asyncio.sleep(0)
    let_all_go(folder)
    with opened:
        opened.write("go\n")
    return tasks


async def test_changes_that_wait_go_together(program: Path, tmp_path: Path) -> None:
    tasks = await hold_first(Nft(str(program)), tmp_path, "a", "b", "c")
    await asyncio.gather(*tasks)
    assert transactions(tmp_path) == ["a\n", "b\nc\n"]


async def test_a_bad_change_fails_alone(program: Path, tmp_path: Path) -> None:
    tasks = await hold_first(Nft(str(program)), tmp_path, "a", "bad", "c")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), NetworkError, type(None)]
    assert str(results[1]) == "packet rules refused: line 1: bad"
    assert transactions(tmp_path) == ["a\n", "bad\nc\n", "bad\n", "c\n"]


async def test_a_cancelled_change_that_waits_is_not_applied(program: Path, tmp_path: Path) -> None:
    nft = Nft(str(program))
    os.mkfifo(tmp_path / "go")
    first = asyncio.create_task(nft.apply(["a"]))
    opened = await asyncio.to_thread(open, tmp_path / "go", "w")
    second, third = asyncio.create_task(nft.apply(["b"])), asyncio.create_task(nft.apply(["c"]))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    let_all_go(tmp_path)
    with opened:
        opened.write("go\n")
    await asyncio.wait([first, second, third])
    assert (first.cancelled(), second.cancelled(), third.exception()) == (True, True, None)
    assert transactions(tmp_path) == ["a\n", "c\n"]


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(NetworkError, match="install the Debian package nftables"):
        await Nft("/no/such/nft").apply(["a"])


def test_the_external_address_is_one_of_the_host() -> None:
    mine = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    assert detect_external_ip() in mine | {"127.0.0.1"}


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [(["127.0.0.1"], "127.0.0.1"), (["127.0.0.1", "10.1.2.3"], "10.1.2.3"), ([], "127.0.0.1")],
)
def test_without_a_route_the_first_address_serves(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], expected: str
) -> None:
    class NoRoute(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError("network is unreachable")

    found = {
        f"eth{number}": [SimpleNamespace(family=socket.AF_INET, address=address)]
        for number, address in enumerate(addresses)
    }
    monkeypatch.setattr(socket, "socket", NoRoute)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert detect_external_ip() == expected
