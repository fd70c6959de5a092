"""Interface of the network, as the executor uses it.

``executor.network.cell`` is the implementation. Calls raise :class:`executor.errors.NetworkError` or a
subclass of it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bbs.models.workload import SecurityGroupRule
from executor.engine.api import EngineContainer
from executor.network.footprint import Footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What a container of a previous agent process holds in the network.

    container: None if the engine no longer has it; its address and ports are then held until it is detached.
    ports: container ports by host port. egress: its rules.
    """

    guid: str
    address: str
    container: EngineContainer | None = None
    ports: Mapping[int, int] = field(default_factory=dict)
    egress: Sequence[SecurityGroupRule] = ()


class Network(Protocol):
    """Addresses, links, host ports and packet rules of containers."""

    @property
    def footprints(self) -> Sequence[Footprint]:
        """What a later process needs to remove this network if it has another one.

        After the start also the previous networks that could not be removed.
        """
        ...

    async def start(
        self, leases: Sequence[Lease] = (), previous: Sequence[Footprint] = ()
    ) -> Mapping[str, str]:
        """Create the shared parts, and the nftables table anew with the containers of the leases.

        previous: networks of previous processes; those with other names or subnets are removed.

        The table changes in one transaction, so their mapped ports are always in force. Returns the reasons,
        by guid, why a lease cannot continue.
        """
        ...

    async def stop(self) -> None:
        """Remove everything. Raises NetworkError, and leaves it in force, while containers use it."""
        ...

    async def sweep(self) -> None:
        """Remove the remains of a previous process's containers, once these are removed."""
        ...

    async def close(self) -> None:
        """Release resources, but leave the network in force for running containers.

        From now on :meth:`detach` has no effect.
        """
        ...

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Reserve ``count`` host ports, ascending if possible. Raises NoFreePorts."""
        ...

    def address(self, guid: str) -> str:
        """Reserve an address before the container exists; the same one until it is detached.

        Raises NetworkError if none is free.
        """
        ...

    async def attach(
        self,
        container: EngineContainer,
        ports: Mapping[int, int],
        egress: Sequence[SecurityGroupRule] = (),
    ) -> None:
        """Link the container, map host ports (keys) to its ports (values) and apply its egress rules.

        All in one transaction. Attaching again replaces everything.
        """
        ...

    async def open_socket(self, guid: str, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking TCP socket in the network of an attached container. Raises NetworkError."""
        ...

    async def watch(
        self, on_message: Callable[[str, str], None], on_unreachable: Callable[[str, str], None]
    ) -> None:
        """Repair container links as soon as they are lost, until cancelled.

        on_message: called with a guid and a text for that instance's owner. on_unreachable: called with guid
        and reason for an instance that stays unreachable.
        """
        ...

    async def verify(self) -> None:
        """Repair changes by other programs. Call it periodically."""
        ...

    async def detach(self, guid: str) -> None:
        """Remove the container's mappings, release address and host ports; unknown guids are allowed."""
        ...

    @property
    def external_ip(self) -> str:
        """The host address that routers and other cells use."""
        ...
