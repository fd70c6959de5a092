"""Hostile clients and instances of ssh: their packets, keys and copies.

The daemon is a process, the proxy listens in this one, so that a test can see what a turn of its loop does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sshd.scp.peer import MAX_DEPTH
from sshd.ssh import messages as m
from sshd.ssh.channel import PACKETS_PER_TURN
from sshd.ssh.messages import OpenRefused
from sshd.ssh.mux import Mux
from sshd.ssh.transport import PACKETS_PER_TURN as RECEIVED_PER_TURN
from sshd.wire import Reader, boolean, string, text, uint32
from tests.support.ssh import global_request, is_usable
from tests.support.thorough import sampled
from tests.unit.sshd.conftest import clock as clock
from tests.unit.sshd.conftest import connect_to as connect_to
from tests.unit.sshd.conftest import daemon as daemon
from tests.unit.sshd.conftest import daemons as daemons
from tests.unit.sshd.conftest import keys as keys
from tests.unit.sshd.conftest import probe as probe
from tests.unit.sshd.conftest import recorder as recorder
from tests.unit.sshd.conftest import ssh as ssh
from tests.unit.sshd.proxy.conftest import PASSWORD
from tests.unit.sshd.proxy.conftest import far_end as far_end
from tests.unit.sshd.proxy.conftest import instance as instance
from tests.unit.sshd.proxy.conftest import open_proxy as open_proxy
from tests.unit.sshd.proxy.conftest import password as password
from tests.unit.sshd.proxy.conftest import process as process
from tests.unit.sshd.proxy.conftest import setting as setting
from tests.unit.sshd.proxy.conftest import spliced as spliced
from tests.unit.sshd.proxy.conftest import stock as stock
from tests.unit.sshd.proxy.whole import many_descriptors as many_descriptors
from tests.unit.sshd.proxy.whole import whole as whole

pytestmark = pytest.mark.unit


class Turns:
    """Counts what happens within one turn of the event loop."""

    def __init__(self) -> None:
        self._turn = 0
        self._counts: Counter[tuple[int, int]] = Counter()
        self._handle: asyncio.Handle | None = None
        self._next()

    def _next(self) -> None:
        self._turn += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def count(self, what: object) -> None:
        self._counts[self._turn, id(what)] += 1

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    @property
    def most(self) -> int:
        return max(self._counts.values(), default=0)

    @property
    def all(self) -> int:
        return self._counts.total()


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    made = Turns()
    yield made
    made.stop()


# -- tiny packets -----------------------------------------------------------------------------------


def open_with(client: Any, max_packet: int, window: int = m.WINDOW) -> asyncio.Queue[tuple[int, bytes]]:
    """Ask for a session by hand; what comes back on the connection is in the queue."""
    came: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    client.link.packet_arrived = lambda kind, payload: came.put_nowait((kind, payload))
    client.link.send_packet(
        m.CHANNEL_OPEN, text("session"), uint32(0), uint32(window), uint32(max_packet), b""
    )
    return came


@pytest.mark.parametrize("max_packet", sampled([8, 1, 0], 1))
@pytest.mark.parametrize("by_way_of_the_proxy", [True, False], ids=["proxy", "daemon"])
async def test_a_maximum_packet_size_that_is_tiny_is_refused(
    max_packet: int, by_way_of_the_proxy: bool, setting: Any, daemon: Any, connect_to: Any, password: Any
) -> None:
    way = (setting.port, password) if by_way_of_the_proxy else (daemon.port,)
    tenant, attacker = await connect_to(*way), await connect_to(*way)
    kind, payload = await open_with(attacker, max_packet).get()
    assert kind == m.CHANNEL_OPEN_FAILURE
    assert Reader(payload, 5).uint32() == m.OPEN_CONNECT_FAILED
    assert await is_usable(tenant)


async def test_an_instance_with_a_tiny_maximum_packet_size_loses_its_connection(
    spliced: Any, connect_to: Any
) -> None:
    spliced.far.accepts = False
    opening = asyncio.ensure_future(spliced.client.open())
    request = await spliced.far.opens.get()
    remote = request._remote
    spliced.far.link.send_packet(
        m.CHANNEL_OPEN_CONFIRMATION, uint32(remote), uint32(0), uint32(m.WINDOW), uint32(1), b""
    )
    with pytest.raises((OpenRefused, ConnectionResetError)):
        await opening
    await spliced.client.visitor.ended.wait()


async def test_smallest_packets_are_sent_a_few_per_turn(
    setting: Any, connect_to: Any, password: Any, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte in packets of nine bytes: the loop is never busy with it for more than a few packets."""
    tenant = await connect_to(setting.port, password)
    attacker = await connect_to(setting.port, password)
    came = open_with(attacker, m.LEAST_MAX_PACKET)
    kind, payload = await came.get()
    assert kind == m.CHANNEL_OPEN_CONFIRMATION
    real = attacker.link.__class__.__mro__[1].send_packet  # the one that all links share

    def counted(self: Any, pkttype: int, *args: bytes, **more: Any) -> None:
        if pkttype == m.CHANNEL_DATA and len(args[-1]) <= m.LEAST_MAX_PACKET:
            turns.count(self)
        real(self, pkttype, *args, **more)

    monkeypatch.setattr(attacker.link.__class__.__mro__[1], "send_packet", counted)
    channel = uint32(Reader(payload, 5).uint32())
    attacker.link.send_packet(
        m.CHANNEL_REQUEST, channel, text("exec"), boolean(False), text("head -c 100000 /dev/zero")
    )
    received = 0
    while received < 100_000:
        kind, payload = await came.get()
        if kind == m.CHANNEL_DATA:
            received += len(payload) - 9
        if received and received % 9000 == 0:
            assert await is_usable(tenant)
    assert turns.all >= 100_000 // m.LEAST_MAX_PACKET
    assert turns.most <= PACKETS_PER_TURN


async def test_packets_that_arrive_are_handled_a_few_per_turn(
    spliced: Any, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = await spliced.channel()
    real = Mux.packet_received

    def counted(self: Mux, kind: int, payload: bytes) -> None:
        turns.count(self)
        real(self, kind, payload)

    monkeypatch.setattr(Mux, "packet_received", counted)
    for _ in range(3000):
        near.channel.send(b"x")
    await far.until(lambda seen: len(seen.output) == 3000)
    assert turns.all >= 3000
    assert turns.most <= RECEIVED_PER_TURN


# -- new keys ---------------------------------------------------------------------------------------


async def test_a_wrong_guess_in_a_later_key_exchange_is_passed_over(daemon: Any, connect_to: Any) -> None:
    """After an offer with a guess that is not what was agreed on, the first packet is of another method."""
    client = await connect_to(daemon.port)
    link = client.link
    real = link.send_packet

    def guessing(pkttype: int, *args: bytes, **more: Any) -> None:
        if pkttype != m.KEXINIT:
            real(pkttype, *args, **more)
            return
        cookie, rest = args[0][:16], Reader(args[0], 16)
        methods = b"guess@test," + rest.string()
        payload = cookie + string(methods) + rest.rest()[:-5] + boolean(True) + uint32(0)
        link._client_kexinit = bytes((m.KEXINIT,)) + payload
        real(m.KEXINIT, payload)
        real(m.KEX_FIRST, string(b"a guess of another method"))

    link.send_packet = guessing
    link._send_kexinit()
    link._kexinit_sent = True
    assert await is_usable(client)


async def test_new_keys_are_made_after_an_hour_too(spliced: Any) -> None:
    """Although few bytes were sent: the time is looked at with each packet."""
    near, far = await spliced.channel()
    link = spliced.far.link
    link._rekey_time = 0.0
    session_keys = link._send_encryption
    far.channel.send(b"after an hour")
    await near.until(lambda seen: seen.output == b"after an hour")
    assert link._send_encryption is not session_keys


async def test_key_exchanges_without_end_leave_the_others_usable(daemon: Any, connect_to: Any) -> None:
    tenant, attacker = await connect_to(daemon.port), await connect_to(daemon.port)
    for _ in range(20):
        attacker.link._send_kexinit()
        attacker.link._kexinit_sent = True
        assert await is_usable(tenant)
        assert await global_request(attacker.link.mux, "x", b"", True) == (False, b"")


# -- transfers --------------------------------------------------------------------------------------


async def copy(client: Any, command: str, stdin: bytes) -> Any:
    session = await client.open()
    assert await session.channel.request("exec", text(command), True)
    session.channel.send(stdin)
    await asyncio.wait_for(session.over.wait(), 60)
    return session.seen


async def test_a_copy_of_links_to_directories_above_ends(
    daemons: Any, connect_to: Any, tmp_path: Path
) -> None:
    """Two links make a tree without end of one directory."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).symlink_to(".")
    (tree / "file").write_text("x")
    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        client = await connect_to(daemon.port)
        seen = await copy(client, "scp -r -f tree", b"\0" * 1000)
        assert await is_usable(client)
    assert seen.requests == [("exit-status", uint32(0))]
    assert seen.output.count(b"D0755") == 1
    assert seen.output.count(b"a link to a directory above it") == 2
    assert b"C0644 1 file\nx\0" in seen.output


async def test_a_copy_does_not_wait_for_a_fifo(daemons: Any, connect_to: Any, tmp_path: Path) -> None:
    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        client = await connect_to(daemon.port)
        session = await client.open()
        assert await session.channel.request("exec", text("mkdir tree; mkfifo tree/fifo"), True)
        await session.over.wait()
        seen = await copy(client, "scp -r -f tree", b"\0" * 100)
    assert b"\1scp: fifo: not a regular file\n" in seen.output
    assert seen.requests == [("exit-status", uint32(0))]


async def test_directories_inside_each_other_are_bounded(
    daemons: Any, connect_to: Any, tmp_path: Path
) -> None:
    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        client = await connect_to(daemon.port)
        seen = await copy(client, "scp -r -t .", b"D0755 0 d\n" * (MAX_DEPTH + 1))
        assert seen.requests == [("exit-status", uint32(1))]
        assert seen.output.endswith(b"directories inside each other\n")
        back = await copy(client, "scp -r -f d", b"\0" * 10_000)
        assert back.output.count(b"D0755 0 d\n") == MAX_DEPTH
        session = await client.open()
        deeper = f"cd $(printf 'd/%.0s' $(seq {MAX_DEPTH})) && mkdir d"
        assert await session.channel.request("exec", text(deeper), True)
        await session.over.wait()
        back = await copy(client, "scp -r -f d", b"\0" * 10_000)
        assert back.output.count(b"D0755 0 d\n") == MAX_DEPTH
        assert b"directories inside each other" in back.output


# -- the log ----------------------------------------------------------------------------------------


async def test_an_attempt_with_a_name_of_any_bytes_is_in_the_log(setting: Any, probe: Any) -> None:
    """With the client's address."""
    link = await probe(setting.port)
    host, port = link.get_extra_info("sockname")
    link.send_packet(
        m.USERAUTH_REQUEST,
        string(b"diego:\xff\xfe/0"),
        string(b"ssh-connection"),
        string(b"password"),
        boolean(False),
        string(PASSWORD.encode()),
    )
    assert (await link.answers.get())[0] == "failure"
    assert setting.log.errors("authentication-failed") == ["Invalid credentials"]
    assert setting.log.data[-1] == {
        "error": "Invalid credentials",
        "user": "diego:\udcff\udcfe/0",
        "client": f"{host}:{port}",
    }
