"""A lab for packet rules: containers are processes in network namespaces, beside an outside machine.

Tests import its fixtures by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from bbs.models.workload import SecurityGroupRule
from executor.engine.api import EngineContainer
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig
from executor.network.spaces import inside
from tests.support.cell import host_port_start

PROBE = Path(__file__).with_name("network_probe.py")
OK, REFUSED = "answered", "Connection refused"
HERE = "/proc/self/ns/net"
"""The network namespace of this process."""
ANSWER_LIMIT_S = 3.0

NO_ENGINE = "/"
"""The engine's id of a box, in the place of one that its control group names."""


@dataclass(frozen=True)
class Outside:
    """A machine that is not this one: its namespace, its address, and ours as it sees it."""

    space: str
    address: str
    host: str
    ipv6: str
    host_ipv6: str


@dataclass(frozen=True)
class Box:
    """What a container is to the network. ipv6: its address there."""

    container: EngineContainer
    ipv6: str

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.container.init_pid), "-n")

    async def ask(self, protocol: str, address: str, port: int) -> str:
        """OK, or what went wrong."""
        return await ask(f"/proc/{self.container.init_pid}/ns/net", protocol, address, port)

    async def ping(self, address: str) -> bool:
        program = "ping6" if ":" in address else "ping"
        status, _ = await output(*self.enter, "/bin/busybox", program, "-c", "1", "-W", "1", address)
        return status == 0


OpenBox = Callable[..., AbstractAsyncContextManager[Box]]


@pytest.fixture
def config(unique: str) -> NetworkConfig:
    number = int(unique[1:], 16)
    second, third = 64 + number % 64, number // 64 % 256
    return NetworkConfig(
        name=unique,
        table=unique,
        subnet=f"10.{second}.{third}.0/24",
        denied_networks=("10.0.0.0/8",),
        dns_servers=("192.0.2.53",),
        port_start=host_port_start(unique),
        port_count=8,
    )


@pytest.fixture
async def network(config: NetworkConfig) -> AsyncIterator[CellNetwork]:
    async with network_of(config) as made:
        yield made


@asynccontextmanager
async def network_of(config: NetworkConfig) -> AsyncIterator[CellNetwork]:
    made = CellNetwork(config)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def box_in(
    network: CellNetwork,
    config: NetworkConfig,
    guid: str,
    rules: Sequence[SecurityGroupRule] = (),
    ports: dict[int, int] | None = None,
) -> AsyncIterator[Box]:
    address = network.address(guid)
    async with started("unshare", "-n", "sh", "-c", "echo ready; exec sleep 1000") as process:
        container = EngineContainer(guid=guid, id=NO_ENGINE, init_pid=process.pid, address=address)
        await network.attach(container, ports or {}, rules)
        try:
            yield Box(container, str(config.ipv6_of(IPv4Address(address))))
        finally:
            await network.detach(guid)


@pytest.fixture
def box(network: CellNetwork, config: NetworkConfig) -> OpenBox:
    return functools.partial(box_in, network, config)


@pytest.fixture
async def outside(unique: str) -> AsyncIterator[Outside]:
    number = int(unique[1:], 16)
    host = f"10.213.{number % 256}.{(number >> 8) % 64 * 4 + 1}"
    peer = f"{host.rpartition('.')[0]}.{int(host.rpartition('.')[2]) + 1}"
    host_ipv6 = str(IPv6Address(f"fd5e:{unique[1:5]}:{unique[5:9]}::1"))
    peer_ipv6 = str(IPv6Address(host_ipv6) + 1)
    with machine(f"ns-{unique}", f"v{unique}", host, peer, host_ipv6, peer_ipv6):
        places = ("tcp:80", "tcp:81", "tcp:8080", "udp:53", "udp:54")
        command = ("ip", "netns", "exec", f"ns-{unique}", sys.executable, str(PROBE), "serve", *places)
        async with started(*command):
            yield Outside(f"ns-{unique}", peer, host, peer_ipv6, host_ipv6)


@contextlib.contextmanager
def machine(space: str, link: str, host: str, peer: str, host_ipv6: str, peer_ipv6: str) -> Iterator[None]:
    here, there = f"{link}a", f"{link}b"
    ip("netns", "add", space)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
        ip("addr", "add", f"{host}/30", "dev", here)
        ip("addr", "add", f"{host_ipv6}/64", "dev", here, "nodad")
        ip("link", "set", here, "up")
        ip("-n", space, "addr", "add", f"{peer}/30", "dev", there)
        ip("-n", space, "addr", "add", f"{peer_ipv6}/64", "dev", there, "nodad")
        ip("-n", space, "link", "set", there, "up")
        ip("-n", space, "link", "set", "lo", "up")
        yield
    finally:
        ip("netns", "del", space)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@asynccontextmanager
async def started(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that has said a first line, until the end of the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        await process.communicate()


async def output(*command: str, said: str = "") -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(20):
        text, _ = await process.communicate(said.encode())
    return process.returncode, text.decode().strip()


async def ask(namespace: str, protocol: str, address: str, port: int) -> str:
    """OK, or what went wrong, for a client in a network namespace."""
    return await asyncio.to_thread(_ask, namespace, protocol, address, port)


def _ask(namespace: str, protocol: str, address: str, port: int) -> str:
    """This thread is in the namespace meanwhile."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    space = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with inside(space), socket.socket(family, kind) as connection:
            connection.settimeout(ANSWER_LIMIT_S)
            connection.connect(socket.getaddrinfo(address, port, type=kind)[0][4])
            connection.send(b"hello\n")
            text = connection.recv(4096).decode().strip()
    except TimeoutError:
        return "silence"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(space)
    return OK if text.endswith("hello") else text


def rule(protocol: str, *destinations: str, **more: Any) -> SecurityGroupRule:
    return SecurityGroupRule(protocol=protocol, destinations=destinations, **more)


class Heard(logging.Handler):
    """Log records, and whether there are any."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []
        self.any = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.any.set()


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[Heard]:
    name = "executor.network.connectionlog"
    with caplog.at_level(logging.INFO, name):
        handler = Heard()
        logging.getLogger(name).addHandler(handler)
        yield handler
        logging.getLogger(name).removeHandler(handler)
