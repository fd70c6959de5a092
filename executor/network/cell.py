"""The network of a cell: its own bridge, the pool of host ports, and the map from them to containers."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from executor.engine.client import EngineClient
from executor.errors import NetworkError
from executor.network.address import detect_external_ip
from executor.network.bridge import Bridge, BridgeConfig
from executor.network.nft import Nft
from executor.network.ports import PORT_COUNT, PORT_START, PortPool
from executor.network.rules import Target, Wiring, add_targets, delete_targets, remove_table, whole_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """name: of the engine's network, unique per cell; bridge interface and packet table are named after it.

    subnet: of the containers (CIDR), None leaves the choice to the engine. external_ip: empty looks for it.
    """

    name: str
    cell_id: str
    subnet: str | None = None
    external_ip: str = ""
    port_start: int = PORT_START
    port_count: int = PORT_COUNT
    docker_host: str | None = None

    @property
    def interface(self) -> str:
        """Name of the bridge: short enough for the kernel, the same in every life."""
        return f"cf-{self._digest}"

    @property
    def table(self) -> str:
        """Name of the packet table (family inet)."""
        return f"cell_{self._digest}"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()[:10]


class CellNetwork:
    """Implements :class:`executor.engine.api.Network`. Make it inside a running event loop."""

    def __init__(self, config: NetworkConfig) -> None:
        """Raises NetworkError for an impossible port range."""
        self._config = config
        self._pool = PortPool(config.port_start, config.port_count)
        self._client = EngineClient(config.docker_host, workers=1)
        self._bridge = Bridge(
            self._client,
            BridgeConfig(
                name=config.name, interface=config.interface, cell_id=config.cell_id, subnet=config.subnet
            ),
        )
        self._nft = Nft()
        self._targets: dict[str, dict[int, Target]] = {}
        self._wiring: Wiring | None = None
        self._external_ip = config.external_ip

    @property
    def external_ip(self) -> str:
        """The host's address that routers and other cells reach."""
        if not self._external_ip:
            self._external_ip = detect_external_ip()
        return self._external_ip

    async def start(self) -> None:
        """Make network and table. What an earlier life mapped is gone until it is attached again."""
        subnet = await self._bridge.ensure()
        self._wiring = Wiring(table=self._config.table, bridge=self._config.interface, subnet=subnet)
        await self._rebuild()

    async def stop(self) -> None:
        """Remove table and network. Raises NetworkError while containers are connected."""
        await self._nft.apply(remove_table(self._config.table))
        self._targets.clear()
        try:
            await self._bridge.remove()
        finally:
            await asyncio.to_thread(self._client.close)

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Take ``count`` host ports, ascending. Raises NoFreePorts."""
        return self._pool.reserve(guid, count)

    async def attach(self, guid: str, address: str, ports: Mapping[int, int]) -> None:
        """Map host ports (keys) to container ports (values) of ``address``. Raises NetworkError.

        Ports need not be reserved before: a container found again after a restart brings its own. Attaching
        again replaces the container's mappings.
        """
        try:
            where = IPv4Address(address)
        except AddressValueError as error:
            raise NetworkError(f"container {guid}: {address!r} is no IPv4 address") from error
        self._pool.claim(guid, ports)
        old = self._targets.get(guid, {})
        new = {host_port: Target(where, port) for host_port, port in ports.items()}
        self._targets[guid] = new
        self._bridge.let_containers_reach_themselves()
        table = self._config.table
        await self._change([*delete_targets(table, old), *add_targets(table, new)])

    async def detach(self, guid: str) -> None:
        """Drop the container's mappings and put its ports back; unknown guids are fine."""
        old = self._targets.pop(guid, {})
        try:
            await self._change(delete_targets(self._config.table, old))
        finally:
            self._pool.release(guid)

    async def _change(self, statements: list[str]) -> None:
        if not statements:
            return
        try:
            await self._nft.apply(statements)
        except NetworkError as error:
            # Somebody may have flushed our table: what is in memory is what should be there.
            logger.warning("rebuilding-port-map", extra={"data": {"error": str(error)}})
            await self._rebuild()

    async def _rebuild(self) -> None:
        if self._wiring is None:
            raise NetworkError("the cell's network was not started")
        everything = {port: target for mine in self._targets.values() for port, target in mine.items()}
        await self._nft.apply(whole_table(self._wiring, everything))
