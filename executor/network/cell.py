"""The network of a cell: addresses, links, host ports, and the packet table that connects them.

The engine starts containers with a loopback interface only. We do not use Docker's networks, for two
reasons. They are slow: each endpoint adds several firewall rules, written one process at a time (without
them a start was 10 % and a removal 50 % faster, 8 at a time on 2 cores). They leak endpoints: after
concurrent removals the endpoint count stayed too high, and the network could never be removed ("has active
endpoints"). Our network costs about 10 ms per container, gives the address before the container exists,
and keeps all reachability rules in one place.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from typing import ParamSpec, TypeVar

import tenacity

from bbs.models.workload import SecurityGroupRule
from common.failpoints import failpoint
from common.shielded import finish
from executor.engine.api import EngineContainer
from executor.errors import NetworkError
from executor.network.address import detect_external_ip
from executor.network.addresses import AddressPool
from executor.network.api import Lease
from executor.network.claim import Claim
from executor.network.config import NO_IPV6, Address, NetworkConfig
from executor.network.connectionlog import ConnectionLog
from executor.network.conntrack import forget_connections
from executor.network.desiredtable import Member
from executor.network.egress import RuleSet
from executor.network.firewall import EngineFirewall
from executor.network.footprint import Footprint
from executor.network.former import FormerNetworks
from executor.network.ipv6 import host_has_ipv6
from executor.network.linkkeeper import LinkKeeper
from executor.network.links import Links
from executor.network.packettable import PacketTable
from executor.network.ports import PortPool, refuse_overlap
from executor.network.rules import Target
from executor.network.spaces import Spaces, open_space
from executor.network.sysctl import outgoing_ports

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DOES_NOT_FIT = "its network does not fit the network settings of the cell"
"""Failure reason of a container of a previous agent process."""

_LINGER_LIMIT_S = 5.0
_LINGER_PAUSE_S = 0.02


class CellNetwork:
    """Implements :class:`executor.network.api.Network`. Create it inside a running event loop."""

    def __init__(self, config: NetworkConfig) -> None:
        """Raises NetworkError for an invalid port range."""
        if not host_has_ipv6():
            config = replace(config, subnet_ipv6=NO_IPV6)
        self._config = config
        self._host_ports = PortPool(config.port_start, config.port_count)
        self._addresses = AddressPool(config.network)
        self._firewall = EngineFirewall(config.port_prefix, ipv6=config.network_ipv6 is not None)
        self._links = Links(config)
        self._spaces = Spaces()
        self._keeper = LinkKeeper(config, self._links, self._spaces)
        self._table = PacketTable(config)
        self._log = ConnectionLog(
            config.log_group, self._guid_of, config.connection_limit, self._at_connection_limit
        )
        self._on_message: Callable[[str, str], None] = lambda guid, text: None
        self._on_unreachable: Callable[[str, str], None] = self._on_message
        self._claim = Claim(config)
        self._to_forget: set[Address] = set()
        self._forgetting = asyncio.Lock()
        self._started = False
        self._former = FormerNetworks((), config)
        self._external_ip = config.external_ip

    @property
    def external_ip(self) -> str:
        """The host address that routers and other cells use."""
        if not self._external_ip:
            self._external_ip = detect_external_ip()
        return self._external_ip

    async def start(
        self, leases: Sequence[Lease] = (), previous: Sequence[Footprint] = ()
    ) -> Mapping[str, str]:
        """Create the interface and the table, with the containers of the leases in the same transaction.

        previous: networks of previous processes, which are removed if they are others than this one.

        Returns the reasons why a lease cannot continue, by guid. Raises NetworkError, for example when a
        running cell uses one of the names, addresses or ports.
        """
        config = self._config
        await self._keeper.run(self._claim.take)
        try:
            refuse_overlap(config.port_start, config.port_count, *await asyncio.to_thread(outgoing_ports))
            self._former = FormerNetworks(previous, config)
            await self._former.remove_links(self._keeper.run)
            await self._keeper.run(self._links.ensure_gateway)
            await self._firewall.open()
            refused = await self._take_over(leases)
            self._started = True
            await self._table.open()
            await self._former.remove_tables(self._table.nft)
            self._log.open()
            self._keeper.open()
            refused |= await self._link_all()
            await self._forget(self._addresses_without_member())
            return refused
        except BaseException:
            await self.close()
            raise

    @property
    def footprints(self) -> Sequence[Footprint]:
        """This network, and former ones that could not be removed at the start."""
        return (Footprint.of(self._config), *self._former.left)

    async def _take_over(self, leases: Sequence[Lease]) -> dict[str, str]:
        """Claim what the leases name, and add their containers to the desired table."""
        refused = {}
        for lease in leases:
            try:
                address = self._claim_of(lease)
                if lease.container is not None:
                    rules = await self._table.compiled(lease.egress)
                    self._spaces.hold(lease.guid, open_space(lease.container.init_pid, lease.container.id))
                    targets = {host: Target(address, port) for host, port in lease.ports.items()}
                    self._table.expect(lease.guid, self._member(address, targets, rules))
            except (NetworkError, AddressValueError) as error:
                data = {"guid": lease.guid, "address": lease.address, "error": str(error)}
                logger.error("container-leaves-the-network", extra={"data": data})
                refused[lease.guid] = DOES_NOT_FIT
        return refused

    async def _link_all(self) -> dict[str, str]:
        """Keep the links of all containers in repair; the reasons for those that cannot be linked."""
        refused = {}
        for guid, member in list(self._table.members.items()):
            try:
                await self._keeper.connect(guid, member.address)
            except NetworkError as error:
                logger.error(
                    "container-cannot-be-linked", extra={"data": {"guid": guid, "error": str(error)}}
                )
                refused[guid] = DOES_NOT_FIT
        return refused

    def _claim_of(self, lease: Lease) -> IPv4Address:
        """Claim the address and the ports of a lease. Raises NetworkError, AddressValueError."""
        address = IPv4Address(lease.address)
        if outside := [port for port in lease.ports if not self._host_ports.has(port)]:
            raise NetworkError(f"host ports {outside} of {lease.guid} are not in the pool of the cell")
        self._addresses.claim(lease.guid, address)
        self._host_ports.claim(lease.guid, lease.ports)
        return address

    def _addresses_without_member(self) -> list[Address]:
        """Addresses of containers that ended while no agent ran; their connections are to be forgotten."""
        members = self._table.members
        gone = (address for guid, address in self._addresses.leased.items() if guid not in members)
        return [each for address in gone for each in self._member(address, {}, None).addresses]

    async def stop(self) -> None:
        """Remove table, links and interface.

        Raises NetworkError while containers are linked. The rules then stay in force, so that no container
        runs without them, and the next process removes them.
        """
        self._spaces.close()  # an open descriptor keeps the namespace and its link
        try:
            await self._links_are_gone()
            self._stop_listening()
            await self._table.delete()
            await self._firewall.close()
            await self._keeper.run(self._links.remove_gateway)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close sockets and leave the rules in force for containers that keep running. Closing twice is
        allowed. Containers can no longer be detached.
        """
        self._started = False
        self._former.close()
        self._stop_listening()
        self._spaces.close()
        await self._table.close()
        self._claim.release()

    def _stop_listening(self) -> None:
        self._log.close()
        self._keeper.close()

    async def sweep(self) -> None:
        """Remove the links of containers that are not attached: links of a previous process with an open
        namespace.

        Raises NetworkError.
        """
        kept = {self._config.port_name(member.address) for member in self._table.members.values()}
        if stale := self._links.port_names() - kept:
            logger.warning("removing-links-of-an-earlier-life", extra={"data": {"links": sorted(stale)}})
            for name in stale:
                address = self._config.network[int(name.removeprefix(self._config.port_prefix), 16)]
                await self._keeper.run(self._links.disconnect, address)

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Reserve ``count`` host ports, in ascending order. Raises NoFreePorts."""
        return self._host_ports.reserve(guid, count)

    def address(self, guid: str) -> str:
        """The container's address, reserved before it exists and until it is detached. Raises
        NoFreeAddresses.
        """
        return str(self._addresses.lease(guid))

    async def attach(
        self,
        container: EngineContainer,
        ports: Mapping[int, int],
        egress: Sequence[SecurityGroupRule] = (),
    ) -> None:
        """Link the container, map host ports (keys) to its ports (values), apply its rules.

        Address and ports need no reservation: a container adopted after a restart brings its own, and its
        link. Attaching again replaces the container's mappings and rules. Raises NetworkError with a text
        for the app's owner.
        """
        guid = container.guid
        try:
            address = IPv4Address(container.address)
        except AddressValueError as error:
            raise NetworkError(f"container {guid}: {container.address!r} is no IPv4 address") from error
        rules = await self._table.compiled(egress)
        self._addresses.claim(guid, address)
        self._host_ports.claim(guid, ports)
        targets = {host_port: Target(address, port) for host_port, port in ports.items()}
        try:
            self._spaces.hold(guid, open_space(container.init_pid, container.id))
            # Rules first: the container is never reachable without them.
            await self._table.put(guid, self._member(address, targets, rules))
            failpoint("network.attach.ruled")
            await self._keeper.connect(guid, address)
            failpoint("network.attach.linked")
        except NetworkError as error:
            # The app's owner gets the error's text, without the kernel's message and the host's names.
            logger.error("failed-to-attach-container", extra={"data": {"guid": guid, "error": str(error)}})
            raise NetworkError("its network could not be set up") from error

    async def detach(self, guid: str) -> None:
        """Remove the container's mappings, rules and link; release ports and address. Unknown guids are
        allowed.

        Cancellation waits for the end, because a partial detach cannot be completed later. Raises
        NetworkError.
        """
        if self._started:
            await finish(self._detach(guid))

    async def _detach(self, guid: str) -> None:
        """Removes the link itself: the kernel removes it with the container's namespace, but later."""
        member = self._table.members.get(guid)
        self._keeper.release(guid)
        try:
            await self._table.remove(guid)
            failpoint("network.detach.unruled")
            if member is not None:
                await self._keeper.run(self._links.disconnect, member.address)
                await self._forget(member.addresses)
            failpoint("network.detach.done")
        finally:
            self._spaces.release(guid)
            self._host_ports.release(guid)
            self._addresses.release(guid)

    async def open_socket(self, guid: str, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking TCP socket in the network of an attached container. Raises NetworkError."""
        return await self._spaces.open_socket(guid, family)

    async def watch(
        self, on_message: Callable[[str, str], None], on_unreachable: Callable[[str, str], None]
    ) -> None:
        """Repair container links as soon as they are removed or taken down, until cancelled.

        on_message: called with a guid and a text for that instance's owner. on_unreachable: called with guid
        and reason for an instance that stays unreachable.
        """
        self._on_message, self._on_unreachable = on_message, on_unreachable
        await self._keeper.watch(on_unreachable)

    async def verify(self) -> None:
        """Repair and log changes by other programs, for example a flush of all packet rules.

        Raises NetworkError.
        """
        if not self._started:
            return
        repaired = []
        if not self._links.gateway_exists():
            repaired.append("interface")
        await self._keeper.run(self._links.ensure_gateway)
        if repaired:
            addresses = [member.address for member in self._table.members.values()]
            await self._keeper.run(self._links.reroute, addresses)
        repaired += [f"link of {guid}" for guid in await self._keeper.repair(self._on_unreachable)]
        if await self._firewall.open():
            repaired.append("rules in the engine's firewall")
        if wrong := await self._table.differences():
            repaired += wrong
            await self._table.rebuild()
        if repaired:
            data = {"table": self._config.table, "repaired": repaired}
            logger.error("network-was-changed-by-others", extra={"data": data})

    async def _forget(self, addresses: Iterable[Address]) -> None:
        """Delete the connections of these addresses. Waiting calls share one walk through the
        kernel's table.
        """
        self._to_forget.update(addresses)
        async with self._forgetting:
            if batch := self._to_forget:
                self._to_forget = set()
                try:
                    await self._keeper.run(forget_connections, batch)
                except NetworkError:
                    self._to_forget |= batch
                    raise

    def _member(self, address: IPv4Address, targets: Mapping[int, Target], rules: RuleSet | None) -> Member:
        return Member(address, targets, rules, self._config.ipv6_of(address))

    def _guid_of(self, address: Address) -> str | None:
        known = self._config.ipv4_of(address)
        return self._addresses.owner(known) if known else None

    def _at_connection_limit(self, guid: str) -> None:
        limit = self._config.connection_limit
        self._on_message(guid, f"Connection limit {limit} reached: new connections are refused")

    async def _links_are_gone(self) -> None:
        """The kernel removes a container's namespace a little after the engine reports the removal.

        Raises NetworkError.
        """
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NetworkError),
            wait=tenacity.wait_fixed(_LINGER_PAUSE_S),
            stop=tenacity.stop_after_delay(_LINGER_LIMIT_S),
            reraise=True,
        ):
            with attempt:
                if names := self._links.port_names():
                    raise NetworkError(f"containers are still linked: {', '.join(sorted(names))}")
