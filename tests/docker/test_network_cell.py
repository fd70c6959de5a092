"""Mapped ports as clients see them: from the host, from elsewhere, from a neighbour; nothing stays behind."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from docker import APIClient

from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.errors import NetworkError
from executor.network.cell import CellNetwork, NetworkConfig

pytestmark = pytest.mark.docker

PORT = 8080


@pytest.fixture
def config(unique: str) -> NetworkConfig:
    start = 20000 + int(unique[1:], 16) % 12000
    return NetworkConfig(name=unique, cell_id=unique, port_start=start, port_count=8)


@pytest.fixture
async def network(config: NetworkConfig) -> AsyncIterator[CellNetwork]:
    made = CellNetwork(config)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def room(
    docker_client: APIClient, network: CellNetwork, unique: str, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    made = DockerEngine(
        EngineConfig(
            state_dir=tmp_path, owner=unique, cell_id=unique, network=unique, name_prefix=f"{unique}-"
        )
    )
    yield made
    for guid in await made.list_guids():
        await made.destroy(guid)
    await made.close()


async def serve(room: DockerEngine, image: str, guid: str) -> EngineContainer:
    """A container that answers every connection on PORT with its own guid."""
    container = await room.create(ContainerSpec(guid=guid, root_fs=image))
    script = f"echo up; exec nc -ll -p {PORT} -e /bin/echo {guid}"
    up = asyncio.Event()
    await room.start_process(
        container,
        ProcessSpec(path="/bin/sh", args=("-c", script)),
        lambda _: up.set(),
        lambda _: None,
    )
    async with asyncio.timeout(20):
        await up.wait()
        while True:  # until it listens
            try:
                await ask(container.address, PORT)
            except ConnectionRefusedError:
                continue
            return container


async def ask(host: str, port: int) -> str:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, port)
        with closing(writer):
            return (await reader.read()).decode().strip()


async def output_of(room: DockerEngine, container: EngineContainer, *command: str) -> str:
    told = bytearray()
    process = await room.start_process(
        container, ProcessSpec(path=command[0], args=command[1:]), told.extend, told.extend
    )
    async with asyncio.timeout(20):
        await process.wait()
    return told.decode().strip()


@pytest.fixture
def remote(unique: str) -> Iterator[tuple[str, str]]:
    """A machine of its own, as far as packets go: its namespace, and the address it reaches the host at."""
    space, here, there = f"ns-{unique}", f"v{unique}a", f"v{unique}b"
    third = int(unique[1:3], 16)
    fourth = int(unique[3:5], 16) & 0xFC
    host, peer = f"10.213.{third}.{fourth + 1}", f"10.213.{third}.{fourth + 2}"
    ip("netns", "add", space)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
        ip("addr", "add", f"{host}/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", space, "addr", "add", f"{peer}/30", "dev", there)
        ip("-n", space, "link", "set", there, "up")
        ip("-n", space, "route", "add", "default", "via", host)
        yield space, host
    finally:
        ip("netns", "del", space)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


async def test_clients_of_all_kinds_reach_the_container(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, remote: tuple[str, str]
) -> None:
    space, host = remote
    container, neighbour = await asyncio.gather(
        serve(room, rootfs_image, "g1"), serve(room, rootfs_image, "g2")
    )
    (port,) = network.reserve("g1", 1)
    await network.attach("g1", container.address, {port: PORT})

    assert await ask("127.0.0.1", port) == "g1"
    assert await ask(network.external_ip, port) == "g1"
    assert await output_of(room, neighbour, "/bin/nc", network.external_ip, str(port)) == "g1"
    assert await output_of(room, container, "/bin/nc", network.external_ip, str(port)) == "g1"
    far = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", space, "/bin/busybox", "nc", "-w", "5", host, str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        assert (await far.communicate())[0].decode().strip() == "g1"

    await network.detach("g1")
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        await ask(network.external_ip, port)


async def test_containers_do_not_reach_the_hosts_loopback(
    network: CellNetwork, room: DockerEngine, rootfs_image: str
) -> None:
    container = await room.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    heard = asyncio.Event()

    async def on_client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        writer.close()

    server = await asyncio.start_server(on_client, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        gateway = container.address.rpartition(".")[0] + ".1"
        script = f"ip route add 127.0.0.1 via {gateway} table local; nc -w 1 127.0.0.1 {port}"
        await output_of(room, container, "/bin/sh", "-c", script)
    assert not heard.is_set()


async def test_attaching_again_replaces_and_a_flushed_table_is_repaired(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    first, second = await asyncio.gather(serve(room, rootfs_image, "g1"), serve(room, rootfs_image, "g2"))
    (one,) = network.reserve("g1", 1)
    (two,) = network.reserve("g2", 1)
    await network.attach("g1", first.address, {one: PORT})
    await network.attach("g1", second.address, {one: PORT})
    assert await ask("127.0.0.1", one) == "g2"

    await run("nft", "delete", "table", "inet", config.table)
    await network.attach("g2", first.address, {two: PORT})
    assert await ask("127.0.0.1", one) == "g2"
    assert await ask("127.0.0.1", two) == "g1"


async def test_a_later_life_starts_clean_and_keeps_connected_containers(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await serve(room, rootfs_image, "g1")
    (port,) = network.reserve("g1", 1)
    await network.attach("g1", container.address, {port: PORT})

    later = CellNetwork(config)
    await later.start()
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", port)
    await later.attach("g1", container.address, {port: PORT})
    assert await ask("127.0.0.1", port) == "g1"
    assert port not in later.reserve("g2", 7)
    with pytest.raises(NetworkError, match="active endpoints"):
        await later.stop()


async def test_nothing_is_left_after_stop(
    docker_client: APIClient, config: NetworkConfig, rootfs_image: str
) -> None:
    network = CellNetwork(config)
    await network.start()
    await network.attach("g1", "172.31.255.254", {network.reserve("g1", 1)[0]: PORT})
    everything = await run("nft", "list", "ruleset")
    assert config.table in everything
    assert config.interface in everything
    await network.stop()
    everything = await run("nft", "list", "ruleset")
    assert config.table not in everything
    assert config.interface not in everything
    assert config.interface not in await run("iptables", "-S")
    assert docker_client.networks(names=[config.name]) == []


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    return told.decode()
