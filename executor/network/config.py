"""What a cell's network is told, and the names and addresses that follow from it. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from executor.errors import NetworkError
from executor.network.ports import PORT_COUNT, PORT_START

NAME_LENGTH = 15
"""Longest name of an interface that the kernel takes."""

SUBNET = "10.255.0.0/16"

_SMALLEST_PREFIX, _LARGEST_PREFIX = 8, 29


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """name: of the interface that has the gateway's address, unique on the host, at most 15 characters.
    table: of the packet rules (family inet), unique on the host.

    subnet: of the containers (CIDR, /8 to /29). mtu: 0 takes that of the interface of the default route.
    external_ip: empty looks for it. Raises NetworkError for what cannot be.
    """

    name: str
    table: str
    subnet: str = SUBNET
    mtu: int = 0
    external_ip: str = ""
    port_start: int = PORT_START
    port_count: int = PORT_COUNT

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= NAME_LENGTH or "/" in self.name or not self.name.isascii():
            raise NetworkError(
                f"{self.name!r} is no name for an interface: 1 to {NAME_LENGTH} characters, no slash"
            )
        if not self.table.isidentifier() or not self.table.isascii():
            raise NetworkError(f"{self.table!r} is no name for a packet table: letters, digits, underscores")
        if not _SMALLEST_PREFIX <= self.network.prefixlen <= _LARGEST_PREFIX:
            raise NetworkError(f"subnet {self.subnet}: expected a prefix of /8 to /29")

    @property
    def network(self) -> IPv4Network:
        """Raises NetworkError."""
        try:
            return IPv4Network(self.subnet)
        except ValueError as error:
            raise NetworkError(f"subnet {self.subnet!r}: {error}") from error

    @property
    def gateway(self) -> IPv4Address:
        """The host's address towards the containers: the first of the subnet."""
        return self.network[1]

    @property
    def port_prefix(self) -> str:
        """Start of the names of the host's ends of the containers' links; ends in a dash."""
        return f"cf{hashlib.sha256(self.name.encode()).hexdigest()[:6]}-"

    def port_name(self, address: IPv4Address) -> str:
        """Name of the host's end of the link of the container with this address."""
        return f"{self.port_prefix}{int(address) - int(self.network[0]):x}"
