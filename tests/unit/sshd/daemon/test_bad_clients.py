"""Clients that flood, stall or send invalid data: the daemon stays small and serves others."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sshd.ssh import messages as m
from sshd.ssh.link import MAX_DEFERRED
from sshd.ssh.messages import OpenRefused
from sshd.wire import string, text, uint32
from tests.support.ssh import global_request
from tests.unit.sshd.conftest import children, rss_kb

pytestmark = pytest.mark.unit

MEGABYTE_KB = 1024


async def test_a_flood_of_channels(daemons: Any, connect_to: Any, tmp_path: Path) -> None:
    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        client = await connect_to(daemon.port)
        for _ in range(m.MAX_CHANNELS):
            await client.open()
        with pytest.raises(OpenRefused) as refusal:
            await client.open()
        assert refusal.value.reason == m.OPEN_RESOURCE_SHORTAGE
        (worker,) = children(daemon.pid)
        assert rss_kb(worker) < 100 * MEGABYTE_KB
        other = await connect_to(daemon.port)
        assert await (await other.open()).channel.request("exec", text("true"), True)


@pytest.mark.parametrize(
    "packet",
    [
        (m.CHANNEL_DATA, uint32(77) + string(b"x")),
        (m.CHANNEL_CLOSE, uint32(77)),
        (m.CHANNEL_DATA, b"\0"),
        (m.CHANNEL_OPEN, b"\0"),
        (m.REQUEST_SUCCESS, b""),
        (m.CHANNEL_OPEN_CONFIRMATION, uint32(1) * 4),
    ],
)
async def test_broken_packets_end_their_connection_only(
    packet: tuple[int, bytes], daemon: Any, connect_to: Any
) -> None:
    bystander = await connect_to(daemon.port)
    client = await connect_to(daemon.port)
    client.link.send_packet(*packet)
    await client.visitor.ended.wait()
    assert await (await bystander.open()).channel.request("exec", text("true"), True)


async def test_more_data_than_the_window_ends_the_connection(daemon: Any, connect_to: Any) -> None:
    client = await connect_to(daemon.port)
    recorder = await client.open()
    assert await recorder.channel.request("exec", text("sleep 30"), True)
    piece = os.urandom(m.MAX_PACKET)
    for _ in range(m.WINDOW // m.MAX_PACKET + 3):  # a pipe's worth may have been taken
        client.link.send_packet(m.CHANNEL_DATA, uint32(0), string(piece))
    await client.visitor.ended.wait()


async def test_a_key_exchange_that_never_ends(daemon: Any, connect_to: Any) -> None:
    """What waits for its end is bounded, and so is the patience."""
    client = await connect_to(daemon.port)
    client.link.hold("test")  # it reads nothing, so its side of the exchange does not go on
    client.link._send_kexinit()
    client.link._kex_complete = True
    for _ in range(MAX_DEFERRED + 1):
        global_request(client.link.mux, "flood", b"", True)
    client.link.release("test")
    await client.visitor.ended.wait()


async def test_a_terminal_type_without_end(daemon: Any, connect_to: Any) -> None:
    recorder = await (await connect_to(daemon.port)).open()
    ask = recorder.channel.request
    rest = uint32(80) + uint32(24) + uint32(0) * 2 + string(b"")
    assert await ask("pty-req", text("x" * 1024) + rest, True) is True
    assert await ask("pty-req", text("x" * 100_000) + rest, True) is False


async def test_variables_without_end(daemons: Any, connect_to: Any, tmp_path: Path) -> None:
    """More than a program could be started with is refused, however many sessions it is spread over."""
    with daemons.run(tmp_path, "-logLevel=fatal") as daemon:
        client = await connect_to(daemon.port)
        first = await client.open()
        value = string(bytes(30_000))
        taken = 0
        for number in range(600):
            recorder = first if number % 3 else await client.open()
            taken += await recorder.channel.request("env", text(f"V{number}") + value, True)
        assert 100 < taken < 400
        (worker,) = children(daemon.pid)
        assert rss_kb(worker) < 100 * MEGABYTE_KB


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 10000, b"SSH-1.5-old\r\n"])
def test_those_who_speak_no_ssh_are_dropped(greeting: bytes, daemon: Any) -> None:
    with socket.create_connection(("127.0.0.1", daemon.port), 10) as end:
        end.sendall(greeting)
        received = b""
        try:
            while data := end.recv(4096):
                received += data
        except ConnectionResetError:
            pass
        assert received in (b"", b"SSH-2.0-diego-sshd\r\n")


async def test_what_is_refused(daemon: Any, connect_to: Any) -> None:
    client = await connect_to(daemon.port)
    for kind, extra, reason, message in (
        ("x11", b"", m.OPEN_UNKNOWN_CHANNEL_TYPE, "x11"),
        ("direct-tcpip", b"\0", m.OPEN_CONNECT_FAILED, "Failed to parse open channel message"),
        (
            "direct-tcpip",
            text("127.0.0.1") + uint32(70000) + text("") + uint32(0),
            m.OPEN_CONNECT_FAILED,
            "dial tcp: address 70000: invalid port",
        ),
    ):
        with pytest.raises(OpenRefused, match=f"^{message}$") as refusal:
            await client.open(kind, extra)
        assert refusal.value.reason == reason


async def test_global_requests(daemon: Any, connect_to: Any) -> None:
    client = await connect_to(daemon.port)
    ask = partial(global_request, client.link.mux)
    assert await ask("keepalive@openssh.com", b"", True) == (False, b"")
    assert await ask("tcpip-forward", b"\0", True) == (False, b"")
    assert await ask("tcpip-forward", text("127.0.0.1") + uint32(70000), True) == (False, b"")
    for host in ("localhost", "0.0.0.0", "", "127.0.0.1"):
        success, port = await ask("tcpip-forward", text(host) + uint32(0), True)
        assert success
        named = text(host) + port
        assert await ask("cancel-tcpip-forward", named, True) == (True, b"")
        assert await ask("cancel-tcpip-forward", named, True) == (False, b"")
