"""Mapped ports seen by clients on the host, elsewhere and in other containers; removal of all traces."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from docker import APIClient

from bbs.models.workload import SecurityGroupRule
from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine, EngineConfig
from executor.errors import NetworkError
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig
from tests.support.cell import host_port_start

pytestmark = pytest.mark.docker

PORT = 8080

ANYWHERE = (SecurityGroupRule(protocol="all", destinations=("0.0.0.0/0",)),)


@pytest.fixture
def config(unique: str) -> NetworkConfig:
    start = host_port_start(unique)
    second, third = 64 + int(unique[1:3], 16) % 64, int(unique[3:5], 16)
    return NetworkConfig(
        name=unique, table=unique, subnet=f"10.{second}.{third}.0/24", port_start=start, port_count=8
    )


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
        EngineConfig(state_dir=tmp_path, owner=unique, cell_id=unique, name_prefix=f"{unique}-")
    )
    yield made
    for guid in await made.list_guids():
        await made.destroy(guid)
    await made.close()


async def linked(
    network: CellNetwork, room: DockerEngine, image: str, guid: str, ports: Mapping[int, int] | None = None
) -> EngineContainer:
    """A container with its link, and its ports if any."""
    spec = ContainerSpec(guid=guid, root_fs=image, address=network.address(guid))
    container = await room.create(spec)
    await network.attach(container, ports or {}, ANYWHERE)
    return container


async def serve(
    network: CellNetwork, room: DockerEngine, image: str, guid: str, ports: Mapping[int, int] | None = None
) -> EngineContainer:
    """A container that answers every connection on PORT with its own guid."""
    container = await linked(network, room, image, guid, ports)
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
    (port,) = network.reserve("g1", 1)
    container, neighbour = await asyncio.gather(
        serve(network, room, rootfs_image, "g1", {port: PORT}), serve(network, room, rootfs_image, "g2")
    )

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


async def test_a_container_of_the_engine_has_ipv6_too(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    (port,) = network.reserve("g1", 1)
    container = await linked(network, room, rootfs_image, "g1", {port: PORT})
    script = f"echo up; exec nc -ll -p {PORT} -e /bin/echo six"
    up = asyncio.Event()
    listener = ProcessSpec(path="/bin/sh", args=("-c", script))
    await room.start_process(container, listener, lambda _: up.set(), lambda _: None)
    async with asyncio.timeout(20):
        await up.wait()
        while True:  # until it listens
            try:
                answer = await ask(str(config.gateway_ipv6), port)
            except ConnectionRefusedError:
                continue
            break
    assert answer == "six"
    address = config.ipv6_of(IPv4Address(container.address))
    assert await ask(str(address), PORT) == "six"
    assert await output_of(room, container, "/bin/nc", "::1", str(PORT)) == "six"
    route = await output_of(room, container, "/bin/ip", "-6", "route", "get", "2001:db8::1")
    assert "via fe80::1 dev eth0" in route


async def test_neighbours_do_not_reach_each_other_but_through_the_host(
    network: CellNetwork, room: DockerEngine, rootfs_image: str
) -> None:
    container, neighbour = await asyncio.gather(
        serve(network, room, rootfs_image, "g1"), serve(network, room, rootfs_image, "g2")
    )
    said = await output_of(room, neighbour, "/bin/nc", container.address, str(PORT))
    assert "Connection refused" in said
    assert await ask(container.address, PORT) == "g1"


async def test_a_container_knows_itself_and_its_way_out(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await linked(network, room, rootfs_image, "instance-guid")
    assert container.address == str(config.network[2])
    hosts = await output_of(room, container, "/bin/cat", "/etc/hosts")
    assert [container.address, "instance-guid"] in [line.split() for line in hosts.splitlines()]
    assert await output_of(room, container, "/bin/hostname", "-i") == container.address
    route = await output_of(room, container, "/bin/ip", "route", "get", "192.0.2.1")
    assert f"via {config.gateway} dev eth0" in route


async def test_containers_do_not_reach_the_hosts_loopback(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    container = await linked(network, room, rootfs_image, "g1")
    heard = asyncio.Event()

    async def on_client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        writer.close()

    server = await asyncio.start_server(on_client, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        script = f"ip route add 127.0.0.1 via {config.gateway} table local; nc -w 1 127.0.0.1 {port}"
        await output_of(room, container, "/bin/sh", "-c", script)
    assert not heard.is_set()


async def test_attaching_again_replaces_and_a_flushed_table_is_repaired(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    one, other = network.reserve("g1", 2)
    (two,) = network.reserve("g2", 1)
    first, second = await asyncio.gather(
        serve(network, room, rootfs_image, "g1", {one: PORT}), serve(network, room, rootfs_image, "g2")
    )
    await network.attach(first, {other: PORT})
    assert await ask("127.0.0.1", other) == "g1"
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", one)
    await network.attach(first, {one: PORT})

    await run("nft", "delete", "table", "inet", config.table)
    await network.attach(second, {two: PORT})
    assert await ask("127.0.0.1", one) == "g1"
    assert await ask("127.0.0.1", two) == "g2"


async def test_a_later_life_starts_clean_and_keeps_linked_containers(
    network: CellNetwork, room: DockerEngine, rootfs_image: str, config: NetworkConfig
) -> None:
    (port,) = network.reserve("g1", 1)
    container = await serve(network, room, rootfs_image, "g1", {port: PORT})
    await network.close()

    later = CellNetwork(config)
    await later.start()
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", port)
    await later.attach(container, {port: PORT})
    assert await ask("127.0.0.1", port) == "g1"
    assert port not in later.reserve("g2", 7)
    assert later.address("g2") != container.address
    with pytest.raises(NetworkError, match="still linked"):
        await later.stop()


async def test_nothing_is_left_after_stop(
    config: NetworkConfig, room: DockerEngine, network: CellNetwork, rootfs_image: str
) -> None:
    await linked(network, room, rootfs_image, "g1", {network.reserve("g1", 1)[0]: PORT})
    traces = (config.table, config.name, config.port_prefix, config.subnet, str(config.network_ipv6))
    before = await everything()
    assert all(trace in before for trace in traces)
    await room.destroy("g1")
    await network.detach("g1")
    await network.stop()
    after = await everything()
    assert not [trace for trace in traces if trace in after]


async def everything() -> str:
    """Packet rules of all kinds, interfaces and routes of the host."""
    commands = (
        ("nft", "list", "ruleset"),
        ("iptables", "-S"),
        ("ip6tables", "-S"),
        ("ip", "link"),
        ("ip", "route"),
        ("ip", "-6", "route"),
    )
    return "\n".join([await run(*command) for command in commands])


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    return told.decode()
