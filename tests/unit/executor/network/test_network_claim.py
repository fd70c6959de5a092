"""Claims of a cell on the host's names, subnets and ports."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from executor.errors import NetworkError
from executor.network.claim import Claim, conflict, holdings, listed
from executor.network.config import NetworkConfig

pytestmark = pytest.mark.unit

ONE = NetworkConfig(
    name="one", table="one", subnet="10.1.0.0/16", subnet_ipv6="fd01::/64", port_start=2000, port_count=100
)
OTHER = NetworkConfig(
    name="two", table="two", subnet="10.2.0.0/16", subnet_ipv6="fd02::/64", port_start=2100, port_count=100
)


def test_cells_with_nothing_in_common() -> None:
    assert conflict(holdings(ONE, 1), holdings(OTHER, 2)) is None


@pytest.mark.parametrize(
    ("same", "words"),
    [
        ({"name": "one"}, "the interface; stop that cell, or set another network_name"),
        ({"table": "one"}, "the packet table; stop that cell, or set another nft_table"),
        ({"subnet": "10.1.0.0/16"}, "the subnet 10.1.0.0/16; stop that cell, or set another network_subnet "),
        ({"subnet": "10.1.7.0/24"}, "the subnet 10.1.7.0/24; .* network_subnet "),
        ({"subnet": "10.0.0.0/8"}, "the subnet 10.0.0.0/8; .* network_subnet "),
        ({"subnet_ipv6": "fd01::/64"}, "the subnet fd01::/64; .* network_subnet_ipv6 "),
        ({"port_start": 1950}, "the host ports 1950-2049; .* host_port_start "),
        ({"port_start": 2099}, "the host ports 2099-2198; .* host_port_start "),
    ],
)
def test_what_two_cells_cannot_both_have(same: dict[str, str], words: str) -> None:
    """A second cell with the network of the first one made the first one's apps unreachable, silently."""
    reason = conflict(holdings(ONE, 1), holdings(replace(OTHER, **same), 77))
    assert reason is not None
    with pytest.raises(NetworkError, match=rf"^another cell, process 77, uses {words}"):
        raise NetworkError(reason)


def test_a_name_fits_into_that_of_a_socket() -> None:
    longest = replace(
        ONE,
        name="n" * 15,
        table="t" * 200,
        subnet="192.168.100.128/29",
        subnet_ipv6="fd12:3456:789a:bcde:f012:3456:7800:0/104",
        port_start=61001,
        port_count=4534,
    )
    assert max(len(one.socket_name) for one in holdings(longest, 4_194_303)) < 107


def test_a_listing_is_read() -> None:
    mine = holdings(ONE, 4711)
    lines = [f"0000000000000000: 00000002 00000000 00010000 0002 01 {n} @{one.socket_name}" for n, one in
             enumerate(mine)]  # fmt: skip
    odd = ["Num RefCount Protocol Flags Type St Inode Path", "0: 2 0 0 2 1 9", "x @diego-cell-network:x:y",
           "y @diego-cell-network:12:colour:red", "z @diego-cell-network:", ""]  # fmt: skip
    assert listed("\n".join([*odd, *lines])) == mine


@pytest.fixture
def config() -> NetworkConfig:
    name = f"t{secrets.token_hex(4)}"
    third = f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.0/24"
    return NetworkConfig(name=name, table=name, subnet=third, port_count=0)


def test_a_claim_is_for_one_at_a_time(config: NetworkConfig) -> None:
    first, second = Claim(config), Claim(config)
    first.take()
    first.take()
    with pytest.raises(NetworkError, match=f"another cell, process {os.getpid()}, uses the interface"):
        second.take()
    with pytest.raises(NetworkError, match="uses the subnet"):
        Claim(replace(config, name="another", table="another", subnet_ipv6="none")).take()
    first.release()
    first.release()
    second.take()
    second.release()


@pytest.fixture
def holder(config: NetworkConfig) -> Iterator[subprocess.Popen[str]]:
    script = (
        "from executor.network.claim import Claim; from executor.network.config import NetworkConfig; "
        f"claim = Claim(NetworkConfig(name={config.name!r}, table={config.table!r}, "
        f"subnet={config.subnet!r}, port_count=0)); claim.take(); print('taken', flush=True); input()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_a_killed_cell_holds_nothing(config: NetworkConfig, holder: subprocess.Popen[str]) -> None:
    """What a dead cell left is taken over."""
    claim = Claim(config)
    with pytest.raises(NetworkError, match=f"process {holder.pid}, uses"):
        claim.take()
    holder.kill()
    holder.wait()
    claim.take()
    claim.release()


@pytest.mark.parametrize(
    "holding", ["subnet:x", "subnet6:", "ports:1", "ports:a-b", "ports:1-2-3", "subnet:1.2.3.4/99"]
)
def test_a_name_that_no_cell_has_claims_nothing(holding: str) -> None:
    """Any program of the host can bind a name like those of a cell: it does not end the start of one."""
    assert listed(f"0000: 00000002 00000000 00000000 0002 01 9 @diego-cell-network:7:{holding}") == []
