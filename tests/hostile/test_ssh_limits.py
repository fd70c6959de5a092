"""Hostile clients of ssh: how many there are, and how much they may hold, beside a well-behaved tenant."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from sshd.daemon.worker import MAX_UNAUTHENTICATED
from sshd.proxy.limits import ConnectionLimits
from sshd.proxy.realms import Instance
from sshd.ssh import messages as m
from sshd.ssh.client import Credentials
from sshd.ssh.server import MAX_SERVICE_REQUESTS
from sshd.ssh.transport import PACKETS_BEFORE_AUTHENTICATION
from sshd.wire import boolean, string, text, uint32
from tests.support.ssh import global_request, is_usable
from tests.unit.sshd.conftest import children, rss_kb
from tests.unit.sshd.conftest import clock as clock
from tests.unit.sshd.conftest import connect_to as connect_to
from tests.unit.sshd.conftest import daemon as daemon
from tests.unit.sshd.conftest import daemons as daemons
from tests.unit.sshd.conftest import keys as keys
from tests.unit.sshd.conftest import probe as probe
from tests.unit.sshd.conftest import recorder as recorder
from tests.unit.sshd.conftest import ssh as ssh
from tests.unit.sshd.proxy.conftest import USER
from tests.unit.sshd.proxy.conftest import far_end as far_end
from tests.unit.sshd.proxy.conftest import instance as instance
from tests.unit.sshd.proxy.conftest import open_proxy as open_proxy
from tests.unit.sshd.proxy.conftest import password as password
from tests.unit.sshd.proxy.conftest import process as process
from tests.unit.sshd.proxy.conftest import setting as setting
from tests.unit.sshd.proxy.conftest import spliced as spliced
from tests.unit.sshd.proxy.conftest import stock as stock
from tests.unit.sshd.proxy.whole import Whole
from tests.unit.sshd.proxy.whole import many_descriptors as many_descriptors
from tests.unit.sshd.proxy.whole import whole as whole

pytestmark = pytest.mark.unit

MEGABYTE = 1024 * 1024
MEGABYTE_KB = 1024
STRANGERS = 1000
FEW_DESCRIPTORS = 80
"""Of a daemon; its strangers may not take all of them."""
LARGEST_WINDOWS = m.ALL_WINDOWS + m.MAX_CHANNELS * m.LEAST_WINDOW


async def come_to_rest(measure: Callable[[], int]) -> int:
    """The value when many turns of the loop have not changed it."""
    seen = list(range(-30, 0))
    while len(set(seen)) > 1:
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, turn.set_result, None)
        await turn
        seen = [*seen[1:], measure()]
    return seen[-1]


# -- before authentication --------------------------------------------------------------------------


async def test_repeated_service_requests_end_the_connection(
    setting: Any, probe: Any, connect_to: Any, password: Any
) -> None:
    """A second one is answered, a third is one too many."""
    tenant = await connect_to(setting.port, password)
    link = await probe(setting.port)
    for _ in range(MAX_SERVICE_REQUESTS):
        link.send_packet(m.SERVICE_REQUEST, string(b"ssh-userauth"))
    assert (await link.answers.get())[0] == "disconnect"
    assert await is_usable(tenant)


async def test_a_flood_before_authentication_ends_the_connection(
    daemon: Any, probe: Any, connect_to: Any
) -> None:
    """Messages without meaning are answered one by one, up to a number."""
    tenant = await connect_to(daemon.port)
    link = await probe(daemon.port)
    link._packets_before = -PACKETS_BEFORE_AUTHENTICATION  # it is bounded like the daemon
    for _ in range(PACKETS_BEFORE_AUTHENTICATION):
        link.send_packet(19)
    assert (await link.answers.get())[0] == "disconnect"
    assert await is_usable(tenant)


class Hangs:
    """A realm that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def instance(self, user: str, password: str) -> Instance | None:
        self.asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.set()
        return None


async def test_packets_while_a_password_is_checked_are_bounded_too(
    open_proxy: Any, daemon: Any, probe: Any
) -> None:
    """The connection ends, and the check with it."""
    realm = Hangs()
    async with open_proxy(daemon.port, realms=[realm]) as running:
        link = await probe(running.port)
        link.attempt("password", boolean(False), text("x"))
        await realm.asked.wait()
        for _ in range(PACKETS_BEFORE_AUTHENTICATION):
            link.send_packet(m.IGNORE, string(b""))
        assert (await link.answers.get())[0] == "disconnect"
        await realm.cancelled.wait()


async def test_a_client_whose_password_is_checked_does_not_make_way_for_idle_ones(
    open_proxy: Any, daemon: Any, probe: Any
) -> None:
    realm = Hangs()
    async with open_proxy(daemon.port, realms=[realm], max_unauthenticated=2) as running:
        link = await probe(running.port)
        link.attempt("password", boolean(False), text("x"))
        await realm.asked.wait()
        for _ in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            assert await reader.readline()
            writer.close()
        assert not realm.cancelled.is_set()


@contextmanager
def sockets(count: int, port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(count)]


def test_a_thousand_connections_that_never_authenticate(
    many_descriptors: None, daemons: Any, ssh: Any, tmp_path: Path
) -> None:
    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        ends = [socket.create_connection(("127.0.0.1", daemon.port), 30) for _ in range(STRANGERS)]
        for end in ends:
            assert end.recv(64).startswith(b"SSH-2.0-diego-sshd")
        (worker,) = children(daemon.pid)
        assert rss_kb(worker) < 70 * MEGABYTE_KB
        assert ssh(daemon, command="echo in").stdout == "in\n"
        for end in ends:
            end.close()
        assert ssh(daemon, command="echo still").stdout == "still\n"


def test_more_strangers_than_there_are_descriptors(daemons: Any, ssh: Any, tmp_path: Path) -> None:
    """Strangers make way, so that a client with a key gets in, at once and with its commands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, hard))  # what the daemon inherits
    try:
        stack = ExitStack()
        daemon = stack.enter_context(daemons.run(tmp_path, "-logLevel=fatal"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with stack:
        ends = [socket.create_connection(("127.0.0.1", daemon.port), 30) for _ in range(200)]
        assert ends[-1].recv(64).startswith(b"SSH-2.0-diego-sshd")
        assert ssh(daemon, command="echo in").stdout == "in\n"
        (worker,) = children(daemon.pid)
        connected = psutil.Process(worker).net_connections(kind="tcp")
        strangers = sum(each.status == psutil.CONN_ESTABLISHED for each in connected)
        assert strangers <= MAX_UNAUTHENTICATED + 1  # the client that was in may be leaving
        for end in ends:
            end.close()


async def test_a_thousand_clients_that_never_authenticate(whole: Whole, stock: Any) -> None:
    """They block no other client of the proxy, their memory is bounded, and they leave nothing behind."""
    ends = []
    try:
        for _ in range(STRANGERS + 100):
            reader, writer = await asyncio.open_connection("127.0.0.1", whole.port)
            ends.append((reader, writer))
            assert (await reader.readline()).startswith(b"SSH-2.0-diego-ssh-proxy")
        assert rss_kb(whole.process.pid) < 400 * MEGABYTE_KB
        assert (await stock.run(*stock.ssh(whole), "exit 5")).status == 5
        assert len(clients_of(whole)) <= STRANGERS + 1  # the last one may be leaving
    finally:
        for _, writer in ends:
            writer.transport.abort()
    assert (await stock.run(*stock.ssh(whole), "exit 5")).status == 5
    async with asyncio.timeout(60):
        while clients_of(whole):
            await asyncio.to_thread(time.sleep, 0.02)


def clients_of(whole: Whole) -> list[Any]:
    """Open connections of the program's clients; it has others, to the BBS and the log agent."""
    return [
        each
        for each in psutil.Process(whole.process.pid).net_connections(kind="tcp")
        if each.laddr.port == whole.port and each.raddr
    ]


# -- after authentication ---------------------------------------------------------------------------


async def test_a_client_that_takes_nothing_is_sent_little(spliced: Any) -> None:
    """Sixty channels of an instance that sends all it can: windows bound what is kept."""
    channels = [await spliced.channel() for _ in range(60)]
    spliced.client.link.hold("test")
    sent = 0
    for _, far in channels:
        far.writable = lambda far=far: fill(far)

    def fill(far: Any) -> None:
        nonlocal sent
        while room := far.channel.room():
            far.channel.send(bytes(room))
            sent += room

    for _, far in channels:
        fill(far)
    await come_to_rest(lambda: sent)
    assert sent < 16 * MEGABYTE


async def test_windows_of_all_channels_are_bounded(spliced: Any) -> None:
    granted = [(await spliced.channel())[0].channel.room() for _ in range(m.MAX_CHANNELS - 1)]
    assert sum(granted) <= LARGEST_WINDOWS


async def test_connections_of_one_user_are_limited(daemon: Any, open_proxy: Any, connect_to: Any) -> None:
    class Users:
        """Every client is accepted; the password names the user."""

        async def instance(self, user: str, password: str) -> Instance | None:
            return Instance("guid", 0, password)

    limits = ConnectionLimits(total=0, per_user=2, per_instance=0)
    async with open_proxy(daemon.port, realms=[Users()], limits=limits) as running:
        first = await connect_to(running.port, Credentials(USER, "one"))
        await connect_to(running.port, Credentials(USER, "one"))
        with pytest.raises(Exception, match="denied"):
            await connect_to(running.port, Credentials(USER, "one"))
        assert "the user has 2 connections, which is the limit" in running.log.errors("authentication-failed")
        assert await is_usable(await connect_to(running.port, Credentials(USER, "another")))
        first.link.abort()
        await running.told.until(lambda told: told.counts[-1] == 2)
        assert await is_usable(await connect_to(running.port, Credentials(USER, "one")))


async def test_connections_to_one_instance_are_limited(
    daemon: Any, open_proxy: Any, connect_to: Any, password: Any
) -> None:
    limits = ConnectionLimits(total=0, per_user=0, per_instance=1)
    async with open_proxy(daemon.port, limits=limits) as running:
        tenant = await connect_to(running.port, password)
        with pytest.raises(Exception, match="denied"):
            await connect_to(running.port, password)
        error = "the instance has 1 connections, which is the limit"
        assert error in running.log.errors("authentication-failed")
        assert await is_usable(tenant)


async def test_connections_in_all_are_limited(
    daemon: Any, open_proxy: Any, connect_to: Any, password: Any
) -> None:
    """One more waits to be accepted until another one ends."""
    async with open_proxy(daemon.port, limits=ConnectionLimits(total=2)) as running:
        tenant, other = await connect_to(running.port, password), await connect_to(running.port, password)
        waiting = asyncio.ensure_future(connect_to(running.port, password))
        assert await is_usable(tenant)
        assert running.told.counts[-1] == 2
        other.link.abort()
        assert await is_usable(await waiting)


# -- forwards ---------------------------------------------------------------------------------------


async def test_sockets_whose_channel_the_client_never_takes_are_closed_with_the_connection(
    daemon: Any, connect_to: Any
) -> None:
    """Fifty connections to a forward, whose client leaves without an answer: each of them ends."""
    tenant, attacker = await connect_to(daemon.port), await connect_to(daemon.port)
    opened = asyncio.Event()
    attacker.visitor.accept = lambda _: opened.set() if len(attacker.visitor.opened) == 50 else None
    asked, port = await global_request(
        attacker.link.mux, "tcpip-forward", text("127.0.0.1") + uint32(0), True
    )
    assert asked
    with sockets(50, int.from_bytes(port, "big")) as ends:
        await opened.wait()
        attacker.link.abort()
        for end in ends:
            try:
                assert await asyncio.to_thread(end.recv, 1) == b""
            except ConnectionResetError:
                continue
    assert await is_usable(tenant)


async def test_sockets_that_wait_for_a_channel_are_bounded(daemon: Any, connect_to: Any) -> None:
    attacker = await connect_to(daemon.port)
    attacker.visitor.accept = lambda _: None
    _, port = await global_request(attacker.link.mux, "tcpip-forward", text("127.0.0.1") + uint32(0), True)
    with sockets(m.MAX_CHANNELS + 1, int.from_bytes(port, "big")) as ends:
        loop = asyncio.get_running_loop()
        for end in ends:
            end.setblocking(False)
        reading = [asyncio.ensure_future(loop.sock_recv(end, 1)) for end in ends]
        await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        attacker.link.abort()
        await asyncio.wait(reading)
        for each in reading:
            each.exception()
    assert await is_usable(await connect_to(daemon.port))


async def test_forwards_of_a_client_that_takes_nothing_cost_little(
    daemons: Any, connect_to: Any, tmp_path: Path
) -> None:
    """A hundred sockets that send without end: the memory is the app's."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(MEGABYTE))
                await writer.drain()

    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
            tenant, client = await connect_to(daemon.port), await connect_to(daemon.port)
            extra = text("127.0.0.1") + uint32(server.sockets[0].getsockname()[1]) + text("") + uint32(0)
            (worker,) = children(daemon.pid)
            before = rss_kb(worker)
            for _ in range(100):
                (await client.open("direct-tcpip", extra)).fast()
            client.link.hold("test")
            await come_to_rest(lambda: rss_kb(worker))
            assert rss_kb(worker) - before < 4 * MEGABYTE_KB
            assert await is_usable(tenant)
            client.link.abort()
