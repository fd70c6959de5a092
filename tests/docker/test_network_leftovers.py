"""Containers that cannot be removed at the end: reported, still restricted, removed by the next process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

import pytest

from executor.engine.api import ContainerSpec, EngineContainer
from executor.engine.docker import DockerEngine
from executor.errors import NetworkError
from executor.network import cell as cell_module
from executor.network.api import Lease
from executor.network.cell import DOES_NOT_FIT, CellNetwork
from executor.network.config import NetworkConfig
from executor.network.footprint import Footprint
from tests.support.cell import network_config
from tests.support.waiting import until

pytestmark = pytest.mark.docker


@pytest.fixture
def config(unique: str) -> NetworkConfig:
    return network_config(unique)


@pytest.fixture
async def network(config: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CellNetwork]:
    """A network that does not wait long for the kernel."""
    monkeypatch.setattr(cell_module, "_LINGER_LIMIT_S", 0.1)
    made = CellNetwork(config)
    await made.start()
    yield made
    await made.close()
    # The next process removes the links itself: the kernel of a busy machine takes seconds for it.
    later = CellNetwork(config)
    await later.start()
    await later.sweep()
    await later.stop()


async def linked(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, guid: str = "g1"
) -> EngineContainer:
    spec = ContainerSpec(guid=guid, root_fs=rootfs_image, address=network.address(guid))
    container = await room.create(spec)
    await network.attach(container, {}, ())
    return container


def links_of(config: NetworkConfig) -> set[str]:
    return {name for _, name in socket.if_nameindex() if name.startswith(config.port_prefix)}


async def has_table(config: NetworkConfig) -> bool:
    listing = await asyncio.create_subprocess_exec(
        "nft", "list", "table", "inet", config.table, stdout=asyncio.subprocess.DEVNULL
    )
    return await listing.wait() == 0


async def test_a_container_that_stays_keeps_its_rules(
    network: CellNetwork, engine: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await linked(network, engine, rootfs_image)
    name = config.port_name(IPv4Address(container.address))
    with pytest.raises(NetworkError, match=f"containers are still linked: {name}"):
        await network.stop()
    assert await has_table(config)
    assert links_of(config) == {name}
    await engine.destroy("g1")


async def test_the_next_life_removes_what_a_namespace_that_somebody_holds_kept(
    network: CellNetwork,
    engine: DockerEngine,
    rootfs_image: str,
    config: NetworkConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    container = await linked(network, engine, rootfs_image)
    held = os.open(f"/proc/{container.init_pid}/ns/net", os.O_RDONLY)
    try:
        await engine.destroy("g1")
        with pytest.raises(NetworkError, match="still linked"):
            await network.stop()
        later = CellNetwork(config)
        await later.start()
        with caplog.at_level(logging.WARNING):
            await later.sweep()
        assert "removing-links-of-an-earlier-life" in caplog.messages
        assert links_of(config) == set()
        await later.stop()
        assert not await has_table(config)
        assert config.name not in {name for _, name in socket.if_nameindex()}
    finally:
        os.close(held)


async def table_of(config: NetworkConfig) -> str:
    listing = await asyncio.create_subprocess_exec(
        "nft", "list", "table", "inet", config.table, stdout=asyncio.subprocess.PIPE
    )
    return (await listing.communicate())[0].decode()


async def test_a_later_network_starts_with_its_containers_and_never_without_their_ports(
    network: CellNetwork, engine: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await linked(network, engine, rootfs_image)
    (port,) = network.reserve("g1", 1)
    await network.attach(container, {port: 8080}, ())
    mapping = f"{container.address} . 8080"
    await network.close()
    await network.detach("g1")  # without effect: the container belongs to the next process
    listings = []

    async def list_table() -> None:
        while True:
            listings.append(await table_of(config))

    listing = asyncio.create_task(list_table())
    later = CellNetwork(config)
    leases = [
        Lease(guid="g1", address=container.address, container=container, ports={port: 8080}),
        Lease(guid="gone", address=str(config.network[9]), ports={port + 1: 8080}),
        Lease(guid="foreign", address="192.0.2.1", container=container),
        Lease(guid="port", address=str(config.network[10]), ports={1: 8080}),
    ]
    assert await later.start(leases) == dict.fromkeys(("foreign", "port"), DOES_NOT_FIT)
    await later.sweep()
    await until(lambda: len(listings) > 2)
    listing.cancel()
    await asyncio.wait({listing})
    assert all(mapping in each for each in [*listings, await table_of(config)])
    assert links_of(config) == {config.port_name(IPv4Address(container.address))}
    assert later.address("gone") == str(config.network[9])
    assert set(later.reserve("new", 2)).isdisjoint({port, port + 1})
    await later.verify()
    await engine.destroy("g1")
    for guid in ("g1", "gone"):
        await later.detach(guid)
    assert mapping not in await table_of(config)
    assert later.address("next") != str(config.network[9])
    await later.stop()


async def test_containers_of_this_life_keep_their_links(
    network: CellNetwork, engine: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await linked(network, engine, rootfs_image)
    await network.sweep()
    assert links_of(config) == {config.port_name(IPv4Address(container.address))}
    await engine.destroy("g1")
    await network.detach("g1")


async def ip(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *words)
    assert await process.wait() == 0


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


async def test_a_network_with_other_names_takes_over_and_removes_the_former_one(
    network: CellNetwork, engine: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    """Names are settings. What had the old ones stayed for ever, and took the subnet of the new ones."""
    container = await linked(network, engine, rootfs_image)
    await network.close()
    renamed = replace(config, name=f"{config.name}n", table=f"{config.table}_n")
    later = CellNetwork(renamed)
    lease = Lease(guid="g1", address=container.address, container=container)
    assert await later.start([lease], network.footprints) == {}
    assert later.footprints == (Footprint.of(renamed),)
    assert links_of(config) == set()
    assert config.name not in interfaces()
    assert not await has_table(config)
    assert links_of(renamed) == {renamed.port_name(IPv4Address(container.address))}
    await engine.destroy("g1")
    await later.detach("g1")
    await later.stop()
    assert renamed.name not in interfaces()


async def test_another_ipv6_subnet_leaves_the_links_as_they_are(
    network: CellNetwork, engine: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await linked(network, engine, rootfs_image)
    link = socket.if_nametoindex(config.port_name(IPv4Address(container.address)))
    await network.close()
    later = CellNetwork(replace(config, subnet_ipv6="fd12:3456:789a:1::/64"))
    lease = Lease(guid="g1", address=container.address, container=container)
    assert await later.start([lease], network.footprints) == {}
    assert socket.if_nametoindex(config.port_name(IPv4Address(container.address))) == link
    (former,) = network.footprints
    routes = Path("/proc/net/ipv6_route").read_text()
    if former.subnet_ipv6 != "none":
        assert f"{int(IPv6Network(former.subnet_ipv6)[0]):032x} 40" not in routes
    await engine.destroy("g1")
    await later.detach("g1")
    await later.stop()


async def test_a_former_network_that_another_cell_uses_meanwhile_stays(
    network: CellNetwork, config: NetworkConfig
) -> None:
    elsewhere = replace(
        config, name=f"{config.name}o", table=f"{config.table}_o", subnet="10.63.7.0/24", port_count=0
    )
    other = CellNetwork(elsewhere)
    await other.start((), network.footprints)
    assert other.footprints == (Footprint.of(elsewhere),)
    assert config.name in interfaces()
    assert await has_table(config)
    await other.stop()


async def test_an_interface_of_that_name_that_is_not_ours_stays(
    network: CellNetwork, config: NetworkConfig
) -> None:
    await network.stop()
    await ip("link", "add", config.name, "type", "bridge")
    try:
        later = CellNetwork(replace(config, name=f"{config.name}n"))
        await later.start((), network.footprints)
        assert config.name in interfaces()
        await later.stop()
    finally:
        await ip("link", "del", config.name)
