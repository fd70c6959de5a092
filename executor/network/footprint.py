"""The footprint of a cell's network on the host, in the form that is kept across restarts. Pure.

Names and subnets are settings. Once one has changed, nothing else leads to the old interface, links and
packet table. So a cell records what its network has on the host before it makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from executor.errors import NetworkError
from executor.network.config import NO_IPV6, NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a network has on the host. name: of its interface. table: of its packet rules. Subnets: CIDR;
    subnet_ipv6 is NO_IPV6 without IPv6.
    """

    name: str
    table: str
    subnet: str
    subnet_ipv6: str

    @classmethod
    def of(cls, config: NetworkConfig) -> Footprint:
        """Raises NetworkError."""
        ipv6 = config.network_ipv6
        return cls(
            name=config.name,
            table=config.table,
            subnet=str(config.network),
            subnet_ipv6=NO_IPV6 if ipv6 is None else str(ipv6),
        )

    def config(self) -> NetworkConfig:
        """The settings of such a network. Raises NetworkError."""
        return NetworkConfig(
            name=self.name,
            table=self.table,
            subnet=self.subnet,
            subnet_ipv6=self.subnet_ipv6,
            port_count=0,
        )


def encode(footprints: Iterable[Footprint]) -> bytes:
    """The form that is kept in the journal."""
    return json.dumps([asdict(each) for each in dict.fromkeys(footprints)]).encode()


def decode(data: bytes) -> tuple[Footprint, ...]:
    """The footprints in this form; none for data that is not in it."""
    try:
        footprints = tuple(Footprint(**each) for each in json.loads(data))
        for each in footprints:
            each.config()
    except (ValueError, TypeError, NetworkError):
        return ()
    return footprints
