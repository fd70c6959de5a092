"""Network of a cell in a container: name server of its apps, and what apps must not reach."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Interface, IPv4Network
from typing import Final

import psutil

from cell.container.settings import APP_SUBNET, NAME_SERVER, ROUTER_PORT
from cell.errors import CommandError

FIRST_APP_PORT: Final = 61001
"""First host port of apps, of all cells."""


def own_networks() -> list[IPv4Network]:
    """The networks of this container, without loopback."""
    links = [each for every in psutil.net_if_addrs().values() for each in every]
    interfaces = [IPv4Interface(f"{each.address}/{each.netmask}") for each in links if "." in each.address]
    return [each.network for each in interfaces if not each.is_loopback]


def guard(networks: list[IPv4Network]) -> str:
    """Packet table: apps reach no service of these networks, only the router and the ports of apps. Pure.

    The egress rules of a pushed app allow all addresses. The file server and the REST API have no TLS.
    """
    listed = ", ".join(map(str, networks))
    return f"""table inet diego_cell_guard
delete table inet diego_cell_guard
table inet diego_cell_guard {{
  chain forward {{
    type filter hook forward priority filter - 20; policy accept;
    ip saddr {APP_SUBNET} ip daddr {{ {listed} }} ct state new jump services
  }}
  chain services {{
    tcp dport {{ {ROUTER_PORT}, {FIRST_APP_PORT}-65535 }} return
    reject
  }}
}}
"""


def apply_guard() -> None:
    """Raises CommandError."""
    networks = own_networks()
    if networks:
        _run(["nft", "-f", "-"], guard(networks))


def name_server_command() -> list[str]:
    """Make the address of the name server; returns the command that serves it. Raises CommandError.

    The engine's own name server listens on this container's loopback, which apps cannot reach.
    """
    _run(["ip", "address", "replace", f"{NAME_SERVER}/32", "dev", "lo"])
    return [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--cache-size=1000"),
        *(f"--listen-address={NAME_SERVER}", "--bind-interfaces", "--pid-file", "--log-facility=-"),
    ]


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: {done.stderr.strip()}")
