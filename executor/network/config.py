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
    external_ip: empty looks for it. denied_networks: what containers reach only by a rule of their own;
    allowed_networks: exceptions for all of them. dns_servers: empty takes the host's. bandwidth_in, _out:
    bytes/s of each container, 0 for no limit. Raises NetworkError for what cannot be.
    """

    name: str
    table: str
    subnet: str = SUBNET
    mtu: int = 0
    external_ip: str = ""
    denied_networks: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    bandwidth_in: int = 0
    bandwidth_out: int = 0
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
        if self.bandwidth_in < 0 or self.bandwidth_out < 0:
            raise NetworkError("a container's bandwidth must not be negative")
        _ = self.denied, self.allowed

    @property
    def network(self) -> IPv4Network:
        """Raises NetworkError."""
        return _network(self.subnet)

    @property
    def denied(self) -> tuple[IPv4Network, ...]:
        """Raises NetworkError."""
        return tuple(map(_network, self.denied_networks))

    @property
    def allowed(self) -> tuple[IPv4Network, ...]:
        """Raises NetworkError."""
        return tuple(map(_network, self.allowed_networks))

    @property
    def log_group(self) -> int:
        """Netfilter's log group of this cell."""
        return 1 + int(self._digest, 16) % 65535

    @property
    def gateway(self) -> IPv4Address:
        """The host's address towards the containers: the first of the subnet."""
        return self.network[1]

    @property
    def port_prefix(self) -> str:
        """Start of the names of the host's ends of the containers' links; ends in a dash."""
        return f"cf{self._digest}-"

    def port_name(self, address: IPv4Address) -> str:
        """Name of the host's end of the link of the container with this address."""
        return f"{self.port_prefix}{int(address) - int(self.network[0]):x}"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()[:6]


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise NetworkError(f"network {text!r}: {error}") from error
