"""The network of a cell: addresses, links, host ports, and the packet table that joins them.

The engine starts containers with a loopback interface and nothing else. Its own networks were left because
of what they cost and lose: each endpoint is several more firewall rules, written one process at a time (a
start was 10 % and a removal 50 % cheaper without, 8 at a time on 2 cores), and under concurrent removals
it forgot to count endpoints down, after which a network could never be removed ("has active endpoints").
Doing it here costs about 10 ms a container, makes the address known before the container exists, and
leaves one place that says what a container can reach.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import AddressValueError, IPv4Address
from typing import ParamSpec

import tenacity

from executor.engine.api import EngineContainer
from executor.errors import NetworkError
from executor.network.address import detect_external_ip
from executor.network.addresses import AddressPool
from executor.network.config import NetworkConfig
from executor.network.firewall import EngineFirewall
from executor.network.links import Links
from executor.network.nft import Nft
from executor.network.ports import PortPool
from executor.network.rules import Target, Wiring, add_targets, delete_targets, remove_table, whole_table

logger = logging.getLogger(__name__)

P = ParamSpec("P")

_LINGER_LIMIT_S = 5.0
_LINGER_PAUSE_S = 0.02


class CellNetwork:
    """Implements :class:`executor.engine.api.Network`. Make it inside a running event loop."""

    def __init__(self, config: NetworkConfig) -> None:
        """Raises NetworkError for an impossible port range."""
        self._config = config
        self._host_ports = PortPool(config.port_start, config.port_count)
        self._addresses = AddressPool(config.network)
        self._firewall = EngineFirewall(config.port_prefix)
        self._nft = Nft()
        self._links = Links(config)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="links")
        self._wiring = Wiring(
            table=config.table, ports=config.port_prefix, subnet=config.network, gateway=config.gateway
        )
        self._targets: dict[str, dict[int, Target]] = {}
        self._started = False
        self._external_ip = config.external_ip

    @property
    def external_ip(self) -> str:
        """The host's address that routers and other cells reach."""
        if not self._external_ip:
            self._external_ip = detect_external_ip()
        return self._external_ip

    async def start(self) -> None:
        """Make interface and table. What an earlier life mapped is gone until it is attached again."""
        await self._on_thread(self._links.ensure_gateway)
        await self._firewall.open()
        self._started = True
        await self._rebuild()

    async def stop(self) -> None:
        """Remove table, links and interface. Raises NetworkError while containers are linked."""
        await self._nft.apply(remove_table(self._config.table))
        await self._firewall.close()
        self._targets.clear()
        try:
            await self._links_are_gone()
            await self._on_thread(self._links.remove_gateway)
        finally:
            await self._on_thread(self._links.close)

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Take ``count`` host ports, ascending. Raises NoFreePorts."""
        return self._host_ports.reserve(guid, count)

    def address(self, guid: str) -> str:
        """The container's address, from before it exists until it is detached. Raises NoFreeAddresses."""
        return str(self._addresses.lease(guid))

    async def attach(self, container: EngineContainer, ports: Mapping[int, int]) -> None:
        """Link the container and map host ports (keys) to its ports (values). Raises NetworkError.

        Address and ports need not be taken before: a container found again after a restart brings its own,
        and its link. Attaching again replaces the container's mappings.
        """
        guid = container.guid
        try:
            address = IPv4Address(container.address)
        except AddressValueError as error:
            raise NetworkError(f"container {guid}: {container.address!r} is no IPv4 address") from error
        self._addresses.claim(guid, address)
        self._host_ports.claim(guid, ports)
        old = self._targets.get(guid, {})
        new = {host_port: Target(address, port) for host_port, port in ports.items()}
        self._targets[guid] = new
        table = self._config.table
        results = await asyncio.gather(
            self._on_thread(self._links.connect, container.init_pid, address),
            self._change([*delete_targets(table, old), *add_targets(table, new)]),
            return_exceptions=True,
        )
        for failure in results:
            if failure is not None:
                raise failure

    async def detach(self, guid: str) -> None:
        """Drop the container's mappings and link, put ports and address back; unknown guids are fine.

        The kernel would take the link down with the container's namespace, but in its own time.
        """
        old = self._targets.pop(guid, {})
        address = self._addresses.of(guid)
        try:
            await self._change(delete_targets(self._config.table, old))
            if address is not None:
                await self._on_thread(self._links.disconnect, address)
        finally:
            self._host_ports.release(guid)
            self._addresses.release(guid)

    async def _change(self, statements: list[str]) -> None:
        if not statements:
            return
        try:
            await self._nft.apply(statements)
        except NetworkError as error:
            # Somebody may have flushed our table: what is in memory is what should be there.
            logger.warning("rebuilding-packet-table", extra={"data": {"error": str(error)}})
            await self._rebuild()

    async def _rebuild(self) -> None:
        if not self._started:
            raise NetworkError("the cell's network was not started")
        everything = {port: target for mine in self._targets.values() for port, target in mine.items()}
        await self._nft.apply(whole_table(self._wiring, everything))

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(NetworkError),
        wait=tenacity.wait_fixed(_LINGER_PAUSE_S),
        stop=tenacity.stop_after_delay(_LINGER_LIMIT_S),
        reraise=True,
    )
    async def _links_are_gone(self) -> None:
        """The kernel takes the namespace of a removed container down a little later than the engine answers.

        Raises NetworkError.
        """
        if names := self._links.port_names():
            raise NetworkError(f"containers are still linked: {', '.join(sorted(names))}")

    async def _on_thread(self, job: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """A job that began is waited for, whoever is cancelled: the next one must not race with it."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, lambda: job(*args, **kwargs))
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise
