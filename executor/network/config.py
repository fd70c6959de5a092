"""Configuration of a cell's network, and the names and addresses derived from it. Pure.

A container's IPv6 address has the offset of its IPv4 address in the IPv6 subnet. So one pool serves both,
and the address of an adopted container gives the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from executor.errors import NetworkError
from executor.network.ports import PORT_COUNT, PORT_START

NAME_LENGTH = 15
"""Maximum length of an interface name in the kernel."""

SUBNET = "10.255.0.0/16"

CONNECTION_LIMIT = 2000
"""Connections of one container. Usual apps have far fewer open, and a hundred hostile ones do not fill the
kernel's table of 262,144 entries. Closed connections that are still in the table do not count.
"""
_LARGEST_CONNECTION_LIMIT = (1 << 32) - 1

NO_IPV6 = "none"
"""Value of subnet_ipv6 for containers without IPv6."""

IPV6_MTU = 1280
"""Minimum MTU of links with IPv6."""

_SMALLEST_PREFIX, _LARGEST_PREFIX = 8, 29
_LARGEST_IPV6_PREFIX = 104
"""As many addresses as the largest IPv4 subnet has."""
_ALL_IPV6 = IPv6Network("::/0")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Settings of the network. Raises NetworkError for invalid ones.

    name: interface with the gateway's address, unique on the host, at most 15 characters.
    table: packet table (family inet), unique on the host.
    subnet: of the containers (CIDR, /8 to /29).
    subnet_ipv6: the same for IPv6 (up to /104); empty derives a /64 of unique local addresses; NO_IPV6
        disables IPv6.
    mtu: 0 takes the MTU of the default route's interface.
    external_ip: empty detects it.
    denied_networks: networks that containers reach only by a rule of their own. A non-empty list without
        IPv6 networks also denies all of IPv6: it was written without IPv6 in mind.
    allowed_networks: exceptions for all containers.
    dns_servers: empty takes the host's.
    bandwidth_in, bandwidth_out: bytes/s of each container, 0 for no limit.
    connection_limit: concurrent connections of each container, 0 for no limit.
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
        """None without IPv6, also if the MTU is too small for it. Raises NetworkError."""
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
        """The cell's netfilter log group."""
        return 1 + int(self._digest, 16) % 65535

    @property
    def gateway(self) -> IPv4Address:
        """The host's address on the containers' side: the first of the subnet."""
        return self.network[1]

    @property
    def gateway_ipv6(self) -> IPv6Address | None:
        """The gateway's IPv6 address."""
        return self.ipv6_of(self.gateway)

    def ipv6_of(self, address: IPv4Address) -> IPv6Address | None:
        """The IPv6 address for an IPv4 address of the subnet; None without IPv6."""
        network = self.network_ipv6
        return network[self._offset(address)] if network else None

    def ipv4_of(self, address: Address) -> IPv4Address | None:
        """The subnet's IPv4 address for a container's IPv4 or IPv6 address; None for an unknown one."""
        if isinstance(address, IPv4Address):
            return address
        network = self.network_ipv6
        offset = int(address) - int(network[0]) if network else -1
        return self.network[offset] if 0 <= offset < self.network.num_addresses else None

    @property
    def port_prefix(self) -> str:
        """Name prefix of the links' host ends; ends in a dash."""
        return f"cf{self._digest}-"

    def port_name(self, address: IPv4Address) -> str:
        """Name of the host end of the link of the container with this address."""
        return f"{self.port_prefix}{self._offset(address):x}"

    def _offset(self, address: IPv4Address) -> int:
        return int(address) - int(self.network[0])

    @property
    def _unique_local(self) -> str:
        """A prefix whose 56 bits after ``fd`` derive from name and subnet, so it survives restarts."""
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
