"""Clients and instances that flood or stall: the memory for them is bounded."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from sshd.proxy.backend import VERSION
from sshd.proxy.realms import Instance
from sshd.ssh import messages as m
from sshd.ssh.library import asyncssh
from sshd.ssh.link import MAX_UNSENT, WRITE_BUFFER, MuxLink
from sshd.ssh.messages import OpenRefused
from sshd.ssh.mux import MAX_PENDING_OPENS
from sshd.ssh.transport import PACKETS_PER_TURN
from sshd.wire import boolean, text
from tests.support.ssh import global_request
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

PIECE = bytes(30_000)
FLOOD = 48 * 1024 * 1024 // len(PIECE)
"""Requests that are more than may wait, in the proxy and in the kernel's buffers."""


async def soon(seconds: float = 0.01) -> None:
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, turn.set_result, None)
    await turn


async def at_rest(measure: Callable[[], int]) -> int:
    """The value when it does not change any more."""
    seen = list(range(-20, 0))
    while len(set(seen)) > 1:
        await soon()
        seen = [*seen[1:], measure()]
    return seen[-1]


class Waiting:
    """The most that ever waited in a buffer of the proxy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0
        written = MuxLink.output_written

        def noted(link: MuxLink, transport: asyncio.Transport) -> None:
            if link._version == VERSION.encode():
                self.most = max(self.most, transport.get_write_buffer_size())
            written(link, transport)

        monkeypatch.setattr(MuxLink, "output_written", noted)

    @property
    def is_bounded(self) -> bool:
        """By the limit, and what arrives in the turn in which it is reached."""
        return WRITE_BUFFER < self.most < MAX_UNSENT + PACKETS_PER_TURN * 2 * len(PIECE)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return Waiting(monkeypatch)


async def test_requests_for_an_instance_that_does_not_read(spliced: Any, waiting: Waiting) -> None:
    """The client is held up before the proxy's memory is full; nothing is lost."""
    spliced.far.link.hold("test")
    link = spliced.client.link
    for _ in range(FLOOD):
        global_request(link.mux, "flood", PIECE, False)
    await at_rest(link._transport.get_write_buffer_size)
    assert waiting.is_bounded
    spliced.far.link.release("test")
    for _ in range(FLOOD):
        name, payload, _ = await spliced.far.requests.get()
        assert (name, len(payload)) == ("flood", len(PIECE))


async def test_requests_for_a_client_that_does_not_read(spliced: Any, waiting: Waiting) -> None:
    near, far = await spliced.channel()
    spliced.client.link.hold("test")
    for _ in range(FLOOD):
        far.channel.request("flood", PIECE)
    await at_rest(spliced.far.link._transport.get_write_buffer_size)
    assert waiting.is_bounded
    spliced.client.link.release("test")
    far.channel.close()
    await near.over.wait()
    assert len(near.seen.requests) == FLOOD


async def test_a_key_exchange_that_never_ends(spliced: Any) -> None:
    """What waits for its end is bounded, and so is the patience."""
    link = spliced.client.link
    link.hold("test")
    link._send_kexinit()
    link._kex_complete = True  # the client continues as if it had requested none
    for _ in range(3000):
        global_request(link.mux, "flood", b"", True)
    await spliced.far.ended.wait()


async def test_a_flood_of_channels(spliced: Any, connect_to: Any, password: Any) -> None:
    for _ in range(m.MAX_CHANNELS):
        await spliced.client.open()
    with pytest.raises(OpenRefused) as refusal:
        await spliced.client.open()
    assert refusal.value.reason == m.OPEN_RESOURCE_SHORTAGE
    bystander = await connect_to(spliced.setting.port, password)
    assert bystander.link.mux is not None


async def test_opens_that_nobody_answers(spliced: Any) -> None:
    spliced.far.accepts = False
    opening = [asyncio.ensure_future(spliced.client.open()) for _ in range(MAX_PENDING_OPENS + 1)]
    done, waiting = await asyncio.wait(opening, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    refusal = refused.exception()
    assert isinstance(refusal, OpenRefused)
    assert refusal.reason == m.OPEN_RESOURCE_SHORTAGE
    spliced.client.link.abort()
    await asyncio.wait(waiting)
    assert all(isinstance(each.exception(), ConnectionResetError) for each in waiting)


async def test_windows_shrink_as_channels_multiply(spliced: Any) -> None:
    """So what a connection can have the proxy hold does not grow with their number."""
    granted = 0
    for number in range(200):
        near, _ = await spliced.channel()
        window = near.channel.room()
        assert m.LEAST_WINDOW <= window <= m.WINDOW
        assert number or window == m.WINDOW
        granted += window
    assert granted <= m.ALL_WINDOWS + 200 * m.LEAST_WINDOW


IDLE_S = 300.0


async def test_a_silent_client_is_dropped_authenticated_or_not(
    daemon: Any, open_proxy: Any, connect_to: Any, password: Any, clock: Any
) -> None:
    async with open_proxy(daemon.port, idle_seconds=IDLE_S) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        assert await reader.readline() == b"SSH-2.0-diego-ssh-proxy\r\n"
        clock.advance(IDLE_S)
        assert await reader.read() == b""
        writer.close()
        client = await connect_to(running.port, password)
        recorder = await client.open()
        for _ in range(3):  # traffic keeps it longer than that
            clock.advance(IDLE_S * 0.9)
            assert await recorder.channel.request("env", b"\0\0\0\1a\0\0\0\1b", True)
        clock.advance(IDLE_S)
        await client.visitor.ended.wait()
        await running.told.until(lambda told: told.counts[-1] == 0)


async def test_without_limits_of_time_nobody_is_dropped(open_proxy: Any, daemon: Any, clock: Any) -> None:
    async with open_proxy(daemon.port, idle_seconds=0, login_seconds=0) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        await reader.readline()
        clock.advance(24 * 3600)
        writer.write(b"SSH-2.0-patient\r\n")
        assert await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()


async def test_strangers_make_way_for_newcomers_and_visitors_stay(
    daemon: Any, open_proxy: Any, connect_to: Any, password: Any
) -> None:
    async with asyncio.timeout(PATIENCE_S), open_proxy(daemon.port, max_unauthenticated=3) as running:
        visitor = await connect_to(running.port, password)
        ends = []
        for _ in range(6):
            ends.append(await asyncio.open_connection("127.0.0.1", running.port))
            assert await ends[-1][0].readline() == b"SSH-2.0-diego-ssh-proxy\r\n"
        ending = [asyncio.ensure_future(reader.read()) for reader, _ in ends]
        await until_done(ending, 3)
        assert not ending[-1].done()  # the newest is never the one that is dropped
        assert (await visitor.open()).channel.room()
        another = await connect_to(running.port, password)
        assert (await another.open()).channel.room()
        for _, writer in ends:
            writer.close()
        await asyncio.wait(ending)


async def until_done(tasks: list[asyncio.Future[bytes]], count: int) -> None:
    """Wait until that many of them are done."""
    while sum(task.done() for task in tasks) < count:
        await asyncio.wait([task for task in tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED)


async def test_clients_that_are_gone_before_they_are_noticed(
    daemon: Any, open_proxy: Any, connect_to: Any, password: Any
) -> None:
    async with asyncio.timeout(PATIENCE_S), open_proxy(daemon.port) as running:
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", running.port)) as end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        client = await connect_to(running.port, password)
        assert (await client.open()).channel.room()
        client.link.abort()
        await running.told.until(lambda told: told.counts[-1] == 0)


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 10_000, b"SSH-1.5-old\r\n"])
async def test_those_who_speak_no_ssh_are_dropped(greeting: bytes, setting: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    writer.write(greeting)
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionResetError):
            assert await reader.read() in (b"", b"SSH-2.0-diego-ssh-proxy\r\n")
    writer.close()


async def test_six_wrong_passwords_are_enough(setting: Any, stock: Any) -> None:
    stock.environment["SSH_ASKPASS"] = "/bin/true"
    command = [part.replace("Prompts=1", "Prompts=10") for part in stock.ssh(setting)]
    done = await stock.run(*command, "true")
    assert done.status == 255
    refused = setting.log.errors("authentication-failed")
    assert refused == ["ssh: no auth passed yet", *["Invalid credentials"] * 6]


class Hangs:
    """A realm that never answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def instance(self, user: str, password: str) -> Instance | None:
        self.asked.append(password)
        await asyncio.get_running_loop().create_future()
        return None


async def test_passwords_that_are_not_waited_for_count_too(open_proxy: Any, daemon: Any, probe: Any) -> None:
    """Else a client could have the platform asked without end."""
    realm = Hangs()
    async with asyncio.timeout(PATIENCE_S), open_proxy(daemon.port, realms=[realm]) as running:
        link = await probe(running.port)
        for number in range(20):
            link.attempt("password", boolean(False), text(str(number)))
        assert (await link.answers.get())[0] == "disconnect"
        await running.told.until(lambda told: told.counts[-1] == 0)
    assert len(realm.asked) <= 6


async def test_fingerprints_in_every_form(setting: Any, stock: Any, process: Any, keys: Any) -> None:
    blob = asyncssh.import_private_key(keys.host["rsa"]).public_data
    sha256 = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    right = [
        hashlib.md5(blob).digest().hex(":"),
        hashlib.sha1(blob).digest().hex(":"),
        sha256,
        sha256.rstrip("="),
        f"SHA256:{sha256.rstrip('=')}",
    ]
    for fingerprint in right:
        setting.table.desired = process(host_fingerprint=fingerprint)
        assert (await stock.run(*stock.ssh(setting), "exit 3")).status == 3, fingerprint
    for fingerprint in (right[0].upper(), right[1][:-1] + "g", sha256.swapcase(), "short"):
        setting.table.desired = process(host_fingerprint=fingerprint)
        assert (await stock.run(*stock.ssh(setting), "exit 3")).status == 255, fingerprint
    assert setting.log.errors("failed-to-reach-instance") == ["Host fingerprint mismatch"] * 4
