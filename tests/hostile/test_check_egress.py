"""A container's network: its rules apply to checks, and its packets harm neither host nor neighbours."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from bbs.models.workload import Check, CheckDefinition, HTTPCheck, TCPCheck
from executor.engine.api import ContainerSpec, EngineContainer
from executor.engine.docker import DockerEngine
from executor.errors import NetworkError
from executor.model import ContainerState, EventKind
from executor.network import linkkeeper
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig
from executor.network.nft import Statements
from tests.docker.network_lab import (
    HERE,
    NO_ENGINE,
    OK,
    PROBE,
    REFUSED,
    Box,
    Heard,
    OpenBox,
    Outside,
    ask,
    box_in,
    ip,
    network_of,
    output,
    rule,
    started,
)
from tests.docker.network_lab import box as box
from tests.docker.network_lab import config as config
from tests.docker.network_lab import heard as heard
from tests.docker.network_lab import network as network
from tests.docker.network_lab import outside as outside
from tests.support.cell import OpenCell, network_config

pytestmark = pytest.mark.docker

ANYWHERE = (rule("all", "0.0.0.0/0", "::/0"),)
PATIENCE_S = 30.0


def redirecting(location: str) -> str:
    """An app that answers /cgi-bin/to with a redirect, and has a page of its own on its loopback
    interface."""
    answer = f"HTTP/1.1 302 Found\\r\\nLocation: {location}\\r\\nContent-Length: 0\\r\\n\\r\\n"
    return f"""
mkdir -p /tmp/web/cgi-bin
echo own >/tmp/web/index.html
cat >/tmp/web/cgi-bin/to <<'END'
#!/bin/sh
echo "asked by $REMOTE_ADDR" >/tmp/said
printf '{answer}'
END
chmod +x /tmp/web/cgi-bin/to
mkfifo /tmp/said
cat <>/tmp/said &
httpd -p 127.0.0.1:9090 -h /tmp/web
exec httpd -f -p 8080 -h /tmp/web
"""


@dataclass
class Listener:
    """A server of the host that checks must not reach. heads: of the requests that it received."""

    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def listening(address: str, port: int = 0) -> AsyncIterator[tuple[Listener, int]]:
    listener = Listener()
    async with await asyncio.start_server(listener.serve, address, port) as server:
        yield listener, server.sockets[0].getsockname()[1]


def http_check(path: str) -> CheckDefinition:
    return CheckDefinition(checks=(Check(http_check=HTTPCheck(port=8080, path=path)),), log_source="HEALTH")


async def test_a_check_comes_from_the_containers_own_network(open_cell: OpenCell) -> None:
    """The check came from the host, past all egress rules."""
    async with open_cell() as cell:
        await cell.start(
            redirecting("http://localhost:9090/"), check_definition=http_check("/cgi-bin/to"), ports=(8080,)
        )
        running = await cell.until(EventKind.RUNNING)  # by way of the app's own loopback interface
        assert running.internal_ip in await cell.log.until("asked by")


async def test_a_check_does_not_follow_an_app_to_other_hosts(open_cell: OpenCell, outside: Outside) -> None:
    """The check fetched ``/secret?delete=all`` from a host that the app named, from the host's network."""
    async with listening(outside.host) as (host, port), open_cell() as cell:
        await cell.start(
            redirecting(f"http://{outside.host}:{port}/secret?delete=all"),
            check_definition=http_check("/cgi-bin/to"),
            start_timeout_ms=6000,  # the app of a busy machine needs seconds to listen
            ports=(8080,),
        )
        complete = await cell.until(EventKind.COMPLETE)
        assert "received status code 302" in complete.run_result.failure_reason
        assert host.heads == []
        await cell.executor.delete(complete.guid)


async def test_what_an_app_calls_localhost_is_not_the_hosts(open_cell: OpenCell) -> None:
    async with listening("127.0.0.1") as (host, port), open_cell() as cell:
        await cell.start(
            redirecting(f"http://127.0.0.1:{port}/"),
            check_definition=http_check("/cgi-bin/to"),
            start_timeout_ms=1000,
            ports=(8080,),
        )
        complete = await cell.until(EventKind.COMPLETE)
        assert "connection refused" in complete.run_result.failure_reason
        assert host.heads == []
        await cell.executor.delete(complete.guid)


async def test_sockets_of_checks_obey_the_containers_rules(
    box: OpenBox, network: CellNetwork, outside: Outside
) -> None:
    async def connected(port: int) -> str:
        with await network.open_socket("g1", socket.AF_INET) as sock:
            try:
                await asyncio.get_running_loop().sock_connect(sock, (outside.address, port))
            except ConnectionRefusedError:
                return REFUSED
            return str(sock.getsockname()[0])

    assert await ask(HERE, "tcp", outside.address, 81) == OK  # the host itself may
    async with box("g1", [rule("tcp", outside.address, ports=(80,)), rule("tcp", "10.0.0.0/24")]) as one:
        before = threading.active_count()
        assert await connected(80) == one.container.address
        assert await connected(81) == REFUSED
        await asyncio.gather(*(connected(80) for _ in range(50)))
        assert threading.active_count() <= before + 1
    with pytest.raises(NetworkError, match="container g1 is not attached"):
        await connected(80)


async def test_groups_of_hosts_are_not_for_containers(box: OpenBox, outside: Outside, unique: str) -> None:
    """Datagrams to 255.255.255.255 and 224.0.0.1 reached listeners of the host."""
    send = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
        "s.sendto(sys.argv[3].encode(), socket.getaddrinfo(sys.argv[1], int(sys.argv[2]))[0][4])\n"
    )
    lan = str(IPv4Address(outside.address) + 1)  # the broadcast address of a network of the host
    groups = {4: ("255.255.255.255", "224.0.0.1", "224.0.0.251", "239.1.2.3", lan), 6: ("ff02::1%eth0",)}
    async with box("g1", ANYWHERE) as one:
        for version, host in ((4, outside.host), (6, outside.host_ipv6)):
            with listening_to_groups(version) as receiver:
                port = receiver.getsockname()[1]
                for group in groups[version]:
                    await output(*one.enter, sys.executable, "-c", send, group, str(port), group)
                assert await output(*one.enter, sys.executable, "-c", send, host, str(port), "one") == (0, "")
                async with asyncio.timeout(PATIENCE_S):
                    assert await asyncio.get_running_loop().sock_recv(receiver, 100) == b"one"


def listening_to_groups(version: int) -> socket.socket:
    """Of the host, on all its addresses and interfaces."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    receiver = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    receiver.bind(("", 0))
    if version == 4:
        for index, _ in socket.if_nameindex():
            for group in ("224.0.0.251", "239.1.2.3"):
                member = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, sys.byteorder)
                with suppress(OSError):
                    receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    return receiver


HOLD = """
import socket, sys
held = []
for line in sys.stdin:
    try:
        held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5))
        print("held", flush=True)
    except OSError as error:
        print(error.strerror or error, flush=True)
"""
"""Opens a connection for each line, keeps it, and says what came of it."""


@asynccontextmanager
async def holding(box: Box, address: str, port: int) -> AsyncIterator[Any]:
    pipe = asyncio.subprocess.PIPE
    command = (*box.enter, sys.executable, "-c", HOLD, address, str(port))
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None

    async def one_more() -> str:
        process.stdin.write(b"\n")
        async with asyncio.timeout(PATIENCE_S):
            return (await process.stdout.readline()).decode().strip()

    try:
        yield one_more
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("version", [4, 6])
async def test_a_containers_connections_are_limited(
    version: int, config: NetworkConfig, outside: Outside, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """6,000 connections of one app had no bound in the host's table."""
    address = outside.address if version == 4 else outside.ipv6
    limited = replace(config, connection_limit=5)
    async with (
        network_of(limited) as network,
        box_in(network, limited, "greedy", ANYWHERE) as one,
        box_in(network, limited, "neighbour", ANYWHERE) as two,
    ):
        told: dict[str, str] = {}
        watching = asyncio.create_task(network.watch(told.__setitem__, ignore))
        async with holding(one, address, 80) as one_more:
            assert [await one_more() for _ in range(8)] == ["held"] * 5 + [REFUSED] * 3
            assert await two.ask("tcp", address, 80) == OK
            async with asyncio.timeout(PATIENCE_S):
                await heard.any.wait()
            await network.verify()
        await until_reached(one, address)  # those that are closed do not count
        watching.cancel()
        await asyncio.wait({watching})
    assert told == {"greedy": "Connection limit 5 reached: new connections are refused"}
    (record,) = heard.records
    assert record.message == "container-has-too-many-connections"
    assert vars(record)["data"]["guid"] == "greedy"
    assert vars(record)["data"]["connection_limit"] == 5
    assert "network-was-changed-by-others" not in caplog.messages


async def test_messages_about_connections_have_a_rate(box: OpenBox, outside: Outside, heard: Heard) -> None:
    """An app that made connections all the time wrote the cell's log full."""
    flood = (
        "import socket\n"
        "for _ in range(1500):\n"
        "    with socket.socket(type=socket.SOCK_DGRAM) as one:\n"
        f"        one.sendto(b'', ('{outside.address}', 9))\n"
    )
    begun = time.monotonic()
    async with (
        box("loud", [rule("udp", outside.address, log=True, ports=(9,))]) as one,
        box("neighbour", [rule("tcp", outside.address, log=True, ports=(80,))]) as two,
    ):
        assert await output(*one.enter, sys.executable, "-c", flood) == (0, "")
        assert await two.ask("tcp", outside.address, 80) == OK
        async with asyncio.timeout(PATIENCE_S):
            while not any(vars(each)["data"]["guid"] == "neighbour" for each in heard.records):
                heard.any.clear()
                await heard.any.wait()
    loud = [each for each in heard.records if vars(each)["data"]["guid"] == "loud"]
    assert 0 < len(loud) <= 200 + 100 * (time.monotonic() - begun) + 1


def ignore(_guid: str, _text: str) -> None: ...


async def until(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Look again and again, for what has no event of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while await look() != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def until_reached(box: Box, address: str) -> None:
    await until(lambda: box.ask("tcp", address, 80), OK)


@pytest.mark.parametrize("change", [("del",), ("set", "down")])
async def test_a_link_that_somebody_removes_comes_back(
    change: tuple[str, ...],
    box: OpenBox,
    network: CellNetwork,
    config: NetworkConfig,
    outside: Outside,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A deleted link made an instance unreachable for ever, and nothing said so."""
    watching = asyncio.create_task(network.watch(ignore, ignore))
    rules = [rule("tcp", outside.address, outside.ipv6, ports=(80,))]
    async with box("g1", rules) as one, box("g2", rules) as two:
        link = config.port_name(IPv4Address(one.container.address))
        verb, *more = change
        ip("link", verb, "dev", link, *more)
        await until_reached(one, outside.address)
        await until_reached(one, outside.ipv6)
        assert await two.ask("tcp", outside.address, 80) == OK
        assert await one.ask("tcp", outside.address, 81) == REFUSED
    watching.cancel()
    await asyncio.wait({watching})
    mended = [one for one in caplog.records if one.message == "link-of-container-was-changed-by-others"]
    assert {vars(one)["data"]["guid"] for one in mended} == {"g1"}
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == [
        "link-of-container-was-changed-by-others"
    ] * len(mended)


async def test_a_route_that_somebody_removes_comes_back(
    box: OpenBox, network: CellNetwork, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    async with box("g1", [rule("tcp", outside.address, ports=(80,))]) as one:
        ip("route", "del", f"{one.container.address}/32")
        await network.verify()
        assert await one.ask("tcp", outside.address, 80) == OK
        assert "link-of-container-was-changed-by-others" in caplog.messages
        assert vars(caplog.records[-1])["data"]["repaired"] == ["link of g1"]


async def test_a_container_that_stays_out_of_reach_is_given_up(
    box: OpenBox, network: CellNetwork, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be mended is one container's end, and no one else's trouble."""
    monkeypatch.setattr(linkkeeper, "UNREACHABLE_MOST_S", 0.0)
    given_up: dict[str, str] = {}
    watching = asyncio.create_task(network.watch(ignore, given_up.__setitem__))
    async with (
        box("g1", ANYWHERE) as one,
        box("g2", [rule("tcp", outside.address, ports=(80,))]) as two,
    ):
        steps = ("set eth0 down", "set eth0 name old0", "add eth0 type bridge", "del old0")
        script = "; ".join(f"ip link {step}" for step in steps)
        await output(*one.enter, "sh", "-c", script)
        async with asyncio.timeout(PATIENCE_S):
            while not given_up:
                await network.verify()
        assert given_up == {"g1": linkkeeper.UNREACHABLE}
        assert await two.ask("tcp", outside.address, 80) == OK
    watching.cancel()
    await asyncio.wait({watching})


async def test_an_instance_whose_link_was_deleted_is_reached_again(open_cell: OpenCell) -> None:
    async with open_cell() as cell:
        check = CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080)),))
        await cell.start("exec nc -ll -p 8080 -e /bin/cat", check_definition=check, ports=(8080,))
        running = await cell.until(EventKind.RUNNING)
        address = IPv4Address(running.internal_ip)
        assert await ask(HERE, "tcp", "127.0.0.1", running.ports[0].host_port) == OK
        ip("link", "del", network_config(cell.name).port_name(address))
        await until(lambda: ask(HERE, "tcp", "127.0.0.1", running.ports[0].host_port), OK)
        assert cell.executor.container("ig").state is ContainerState.RUNNING


async def test_a_second_cell_with_the_same_network_is_refused(
    box: OpenBox, network: CellNetwork, config: NetworkConfig, outside: Outside
) -> None:
    """A cell with another id and the same network made the first one's apps unreachable, silently."""
    (port,) = network.reserve("g1", 1)
    async with (
        box("g1", ANYWHERE, {port: 7000}) as one,
        started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"),
    ):
        for second in (
            config,
            replace(config, name="other", table="other"),
            replace(config, name="other", table="other", subnet="10.13.0.0/24", subnet_ipv6="none"),
        ):
            with pytest.raises(NetworkError, match=rf"another cell, process {os.getpid()}, uses the"):
                await CellNetwork(second).start()
        assert await ask(HERE, "tcp", "127.0.0.1", port) == OK
        assert await one.ask("tcp", outside.address, 80) == OK
        await network.verify()
        assert {"other"}.isdisjoint(name for _, name in socket.if_nameindex())


async def test_a_process_id_of_somebody_else_is_not_linked(
    network: CellNetwork, engine: DockerEngine, rootfs_image: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A process id that has another process by now led to that process' network, even to the host's."""
    address = network.address("g1")
    made = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image, address=address))
    gone = EngineContainer(guid="g1", id="0123456789abcdef", init_pid=made.init_pid, address=address)
    cases = {
        "does not belong to container 0123456789abcdef": gone,
        "it is the host's": replace(gone, id=NO_ENGINE, init_pid=os.getpid()),
    }
    for reason, other in cases.items():
        with pytest.raises(NetworkError, match=r"^its network could not be set up$") as failed:
            await network.attach(other, {})
        assert reason in str(failed.value.__cause__)
    assert caplog.messages == ["failed-to-attach-container"] * 2
    assert network.address("g1") == address
    await network.attach(made, {})
    await engine.destroy("g1")
    await network.detach("g1")


async def test_a_change_that_is_cancelled_in_the_queue_is_no_ones_trouble(
    network: CellNetwork,
    config: NetworkConfig,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The container was remembered without being in the table: its end then made the whole table anew."""
    asked, go = asyncio.Event(), asyncio.Event()
    apply = network._table.nft.apply

    async def held(statements: Statements) -> None:
        asked.set()
        await go.wait()
        await apply(statements)

    address = network.address("g1")
    async with started("unshare", "-n", "sh", "-c", "echo ready; exec sleep 1000") as process:
        container = EngineContainer(guid="g1", id=NO_ENGINE, init_pid=process.pid, address=address)
        monkeypatch.setattr(network._table.nft, "apply", held)
        attaching = asyncio.create_task(network.attach(container, {}, ANYWHERE))
        await asked.wait()
        for _ in range(2):
            attaching.cancel()
            await asyncio.sleep(0)
        go.set()
        await asyncio.wait({attaching})
        assert attaching.cancelled()
        await network.detach("g1")
    await network.verify()
    assert caplog.messages == []


async def test_attaching_and_detaching_leave_nothing_whenever_they_are_cancelled(
    network: CellNetwork, config: NetworkConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async def cycle(container: EngineContainer) -> None:
        await network.attach(container, {network.reserve("g1", 1)[0]: 7000}, ANYWHERE)
        await network.detach("g1")

    async def given_back() -> bool:
        return open_descriptors() <= descriptors  # a thread closes them

    async with started("unshare", "-n", "sh", "-c", "echo ready; exec sleep 1000") as process:
        make = partial(EngineContainer, guid="g1", id=NO_ENGINE, init_pid=process.pid)
        await cycle(make(address=network.address("g1")))
        descriptors, threads = open_descriptors(), threading.active_count()
        for number in range(40):
            task = asyncio.create_task(cycle(make(address=network.address("g1"))))
            await asyncio.wait({task}, timeout=number * 0.0005)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            await network.detach("g1")
            assert network._links.port_names() == set()
        await network.verify()
        await until(given_back, True)
        assert threading.active_count() <= threads
    assert caplog.messages == []
    free: tuple[int, ...] = network.reserve("other", config.port_count)
    assert len(free) == config.port_count


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
