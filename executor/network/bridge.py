"""The containers' own network: a bridge of the engine, named by us, and the way in through its firewall."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity
from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from executor.engine.client import EngineClient
from executor.engine.faults import engine_text
from executor.errors import EngineError, NetworkError

logger = logging.getLogger(__name__)

LABEL_CELL = "org.cloudfoundry.diego.cell"

_CHAIN = "DOCKER-USER"

_LINGER_LIMIT_S = 5.0
_LINGER_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """name: of the engine's network. interface: of the bridge, at most 15 characters. subnet: None leaves the
    choice to the engine."""

    name: str
    interface: str
    cell_id: str
    subnet: str | None


class _EndpointsLinger(NetworkError):
    """The engine still counts endpoints of containers that are gone."""


class Bridge:
    """Makes and removes the network."""

    def __init__(self, client: EngineClient, config: BridgeConfig) -> None:
        self._client = client
        self._config = config
        self._reflecting: set[str] = set()

    async def ensure(self) -> str:
        """Make the network unless there is a proper one, let loopback clients in; returns its subnet (CIDR).

        Containers that survived an earlier life stay connected. Raises NetworkError.
        """
        config = self._config

        def job(api: APIClient) -> str:
            try:
                found = dict(api.inspect_network(config.name))
            except NotFound:
                found = {}
            if found and not _as_wanted(found, config):
                api.remove_network(config.name)
                found = {}
            if not found:
                _create(api, config)
                found = dict(api.inspect_network(config.name))
            return str(found["IPAM"]["Config"][0]["Subnet"])

        try:
            subnet = await self._client.call(f"set up network {config.name}", job)
        except EngineError as error:
            raise NetworkError(str(error)) from error
        self._let_loopback_in()
        await self._close_the_way_in()
        await self._open_the_way_in()
        return subnet

    async def remove(self) -> None:
        """Remove the network and its firewall rule. Raises NetworkError while containers are connected."""
        await self._close_the_way_in()
        try:
            await self._client.call(f"remove network {self._config.name}", self._remove)
        except EngineError as error:
            raise NetworkError(str(error)) from error

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(_EndpointsLinger),
        wait=tenacity.wait_fixed(_LINGER_PAUSE_S),
        stop=tenacity.stop_after_delay(_LINGER_LIMIT_S),
        reraise=True,
    )
    def _remove(self, api: APIClient) -> None:
        """A busy engine lets go of a removed container's endpoint a little later than of the container."""
        name = self._config.name
        try:
            api.remove_network(name)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 403:
                raise
            connected = _connected_containers(api, name)
            kind = NetworkError if connected else _EndpointsLinger
            raise kind(f"network {name}: {engine_text(error)}: {', '.join(connected)}") from error

    def let_containers_reach_themselves(self) -> None:
        """Let the bridge send a packet back where it came from: a container dials itself through the host.

        Where packet rules see bridged frames, such a packet is rewritten before it is routed, and a bridge
        drops it unless the port is in hairpin mode. Only ports that are new are written.
        """
        folder = Path(f"/sys/class/net/{self._config.interface}/brif")
        try:
            ports = set(os.listdir(folder))
        except OSError as error:
            raise NetworkError(f"{folder}: {error.strerror}") from error
        for port in ports - self._reflecting:
            with contextlib.suppress(FileNotFoundError):  # that container went meanwhile
                (folder / port / "hairpin_mode").write_text("1", encoding="ascii")
        self._reflecting = ports

    def _let_loopback_in(self) -> None:
        """Let packets of loopback clients be routed to this bridge; ends with the bridge."""
        switch = Path(f"/proc/sys/net/ipv4/conf/{self._config.interface}/route_localnet")
        try:
            switch.write_text("1", encoding="ascii")
        except OSError as error:
            raise NetworkError(f"{switch}: {error.strerror}") from error

    @property
    def _rule(self) -> list[str]:
        """The engine's firewall drops what it did not map itself; our mappings are its user's exception."""
        mapped = ["-m", "conntrack", "--ctstate", "DNAT"]
        named = ["-m", "comment", "--comment", self._config.name]
        return [_CHAIN, "-o", self._config.interface, *mapped, *named, "-j", "ACCEPT"]

    async def _open_the_way_in(self) -> None:
        if (await _iptables("-S", _CHAIN))[0]:
            logger.info("engine-keeps-no-firewall", extra={"data": {"chain": _CHAIN}})
            return
        status, text = await _iptables("-I", *self._rule)
        if status:
            raise NetworkError(f"iptables -I {shlex.join(self._rule)}: {text}")

    async def _close_the_way_in(self) -> None:
        while (await _iptables("-C", *self._rule))[0] == 0:
            status, text = await _iptables("-D", *self._rule)
            if status:
                raise NetworkError(f"iptables -D {shlex.join(self._rule)}: {text}")


def _connected_containers(api: APIClient, network: str) -> list[str]:
    """Names of the containers in the network that still exist."""
    names = []
    for identifier, endpoint in api.inspect_network(network)["Containers"].items():
        try:
            api.inspect_container(identifier)
        except NotFound:
            continue
        names.append(str(endpoint["Name"]))
    return names


def _as_wanted(found: dict[str, Any], config: BridgeConfig) -> bool:
    subnets = [pool["Subnet"] for pool in found["IPAM"]["Config"]]
    return (
        found["Driver"] == "bridge"
        and found["Options"].get("com.docker.network.bridge.name") == config.interface
        and (config.subnet is None or subnets == [config.subnet])
    )


def _create(api: APIClient, config: BridgeConfig) -> None:
    ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=config.subnet)]) if config.subnet else None
    api.create_network(
        config.name,
        driver="bridge",
        options={"com.docker.network.bridge.name": config.interface},
        ipam=ipam,
        check_duplicate=True,
        labels={LABEL_CELL: config.cell_id},
    )


async def _iptables(*arguments: str) -> tuple[int, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            "iptables",
            "-w",
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise NetworkError(f"iptables: {error.strerror}; install the Debian package iptables") from error
    _, complaint = await process.communicate()
    return process.returncode or 0, complaint.decode(errors="replace").strip()
