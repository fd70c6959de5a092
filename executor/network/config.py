"""What a cell's network is told, and the names and addresses that follow from it. Pure.

A container's IPv6 address is its IPv4 address in other clothes: the same offset in the other subnet. So there
is one pool and one thing to remember of a container that an earlier life has made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from executor.errors import NetworkError
from executor.network.ports import PORT_COUNT, PORT_START

NAME_LENGTH = 15
"""Longest name of an interface that the kernel takes."""

SUBNET = "10.255.0.0/16"

CONNECTION_LIMIT = 2000
"""Connections of one container: far more than a usual app has open, and so few that a hundred hostile ones do
not fill the kernel's table of 262,144. Connections that are closed and only remembered do not count."""
_LARGEST_CONNECTION_LIMIT = (1 << 32) - 1

NO_IPV6 = "none"
"""The subnet of containers that are to have no IPv6."""

IPV6_MTU = 1280
"""Smallest packet size that links with IPv6 may have."""

_SMALLEST_PREFIX, _LARGEST_PREFIX = 8, 29
_LARGEST_IPV6_PREFIX = 104
"""Room for as many addresses as the largest subnet of IPv4 has."""
_ALL_IPV6 = IPv6Network("::/0")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """name: of the interface that has the gateway's address, unique on the host, at most 15 characters.
    table: of the packet rules (family inet), unique on the host.

    subnet: of the containers (CIDR, /8 to /29). subnet_ipv6: the same for IPv6 (up to /104); empty makes one
    up of the others, a /64 of unique local addresses; NO_IPV6 is for none. mtu: 0 takes that of the
    interface of the default route. external_ip: empty looks for it. denied_networks: what containers reach
    only by a rule of their own, all of IPv6 too where they name none of its networks: whoever wrote them
    knew nothing of it; allowed_networks: exceptions for all of them. dns_servers: empty takes the host's.
    bandwidth_in, _out: bytes/s of each container, 0 for no limit. connection_limit: connections that each
    container may have at a time, 0 for no limit. Raises NetworkError for what cannot be.
    """

    name: str
    table: str
    subnet: str = SUBNET
    subnet_ipv6: str = ""
    mtu: int = 0
    external_ip: str = ""
    denied_networks: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    bandwidth_in: int = 0
    bandwidth_out: int = 0
    connection_limit: int = CONNECTION_LIMIT
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
        if not 0 <= self.connection_limit <= _LARGEST_CONNECTION_LIMIT:
            raise NetworkError(
                f"a container's connection limit is 0 to {_LARGEST_CONNECTION_LIMIT}, "
                f"not {self.connection_limit}"
            )
        if (network := self.network_ipv6) and network.prefixlen > _LARGEST_IPV6_PREFIX:
            raise NetworkError(
                f"subnet {self.subnet_ipv6}: expected a prefix of up to /{_LARGEST_IPV6_PREFIX}"
            )
        _ = self.denied, self.allowed

    @property
    def network(self) -> IPv4Network:
        """Raises NetworkError."""
        network = _network(self.subnet)
        if not isinstance(network, IPv4Network):
            raise NetworkError(f"subnet {self.subnet}: expected one of IPv4")
        return network

    @property
    def network_ipv6(self) -> IPv6Network | None:
        """None for none, also where packets are too small for IPv6. Raises NetworkError."""
        if self.subnet_ipv6 == NO_IPV6 or 0 < self.mtu < IPV6_MTU:
            return None
        network = _network(self.subnet_ipv6 or self._unique_local)
        if not isinstance(network, IPv6Network):
            raise NetworkError(f"subnet {self.subnet_ipv6}: expected one of IPv6, or {NO_IPV6!r}")
        return network

    @property
    def denied(self) -> tuple[Network, ...]:
        """Raises NetworkError."""
        named = tuple(map(_network, self.denied_networks))
        unaware = named and not any(network.version == 6 for network in named)
        return (*named, _ALL_IPV6) if unaware and self.network_ipv6 else named

    @property
    def allowed(self) -> tuple[Network, ...]:
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
    def gateway_ipv6(self) -> IPv6Address | None:
        """The same in IPv6."""
        return self.ipv6_of(self.gateway)

    def ipv6_of(self, address: IPv4Address) -> IPv6Address | None:
        """The IPv6 address that goes with one of the subnet; None without IPv6."""
        network = self.network_ipv6
        return network[self._offset(address)] if network else None

    def ipv4_of(self, address: Address) -> IPv4Address | None:
        """The address of the subnet that one of either version goes with; None for none."""
        if isinstance(address, IPv4Address):
            return address
        network = self.network_ipv6
        offset = int(address) - int(network[0]) if network else -1
        return self.network[offset] if 0 <= offset < self.network.num_addresses else None

    @property
    def port_prefix(self) -> str:
        """Start of the names of the host's ends of the containers' links; ends in a dash."""
        return f"cf{self._digest}-"

    def port_name(self, address: IPv4Address) -> str:
        """Name of the host's end of the link of the container with this address."""
        return f"{self.port_prefix}{self._offset(address):x}"

    def _offset(self, address: IPv4Address) -> int:
        return int(address) - int(self.network[0])

    @property
    def _unique_local(self) -> str:
        """Its 56 bits behind ``fd`` follow from name and subnet: the same in every life of the cell."""
        digest = hashlib.sha256(f"{self.name} {self.subnet}".encode()).digest()
        return f"{IPv6Address(bytes((0xFD, *digest[:7])) + bytes(8))}/64"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()[:6]


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise NetworkError(f"network {text!r}: {error}") from error
