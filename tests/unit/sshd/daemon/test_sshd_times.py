"""Timeouts of the daemon. The tests move the event loop's clock instead of waiting."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sshd.daemon.settings import Settings
from sshd.daemon.worker import Worker
from sshd.ssh.algorithms import Algorithms
from sshd.wire import string, text, uint32
from tests.support.ssh import global_request

pytestmark = pytest.mark.unit

IDLE_S, KEEPALIVE_S, LOGIN_S, LINGER_S = 300.0, 15.0, 120.0, 10.0


@asynccontextmanager
async def worker(keys: Any) -> AsyncIterator[Any]:
    """A worker in this process: its port and the task that ends when it does."""
    settings = Settings(
        host_key=keys.host["rsa"],
        authorized_key=base64.b64decode(keys.authorized.split()[1]),
        allow_unauthenticated=False,
        inherit_environment=False,
        algorithms=Algorithms(),
        idle_seconds=IDLE_S,
        keepalive_seconds=KEEPALIVE_S,
        login_seconds=LOGIN_S,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
            task = group.create_task(Worker(settings).serve(listening, LINGER_S))
            yield listening.getsockname()[1], task
            task.cancel()


async def on_terminal(client: Any, command: str) -> Any:
    recorder = await client.open()
    size = uint32(80) + uint32(24) + uint32(0) * 2
    assert await recorder.channel.request("pty-req", text("vt100") + size + string(b""), True)
    assert await recorder.channel.request("exec", text(command), True)
    return recorder


async def is_alive(client: Any) -> bool:
    """Whether its connection answers; asking is traffic."""
    answer: tuple[bool, bytes] = await global_request(client.link.mux, "keepalive@openssh.com", b"", True)
    return answer == (False, b"") and not client.link.lost()


async def test_a_silent_connection_is_dropped_and_traffic_keeps_it(
    keys: Any, connect_to: Any, clock: Any
) -> None:
    async with worker(keys) as (port, _):
        client = await connect_to(port)
        recorder = await client.open()
        assert await recorder.channel.request("exec", text("sleep 60"), True)
        for _ in range(3):
            clock.advance(IDLE_S * 0.9)
            assert await is_alive(client)
        clock.advance(IDLE_S)
        await client.visitor.ended.wait()


async def test_a_client_that_does_not_authenticate_in_time_is_dropped(keys: Any, clock: Any) -> None:
    """Although it is not silent."""
    async with worker(keys) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readline() == b"SSH-2.0-diego-sshd\r\n"
        clock.advance(LOGIN_S * 0.9)
        writer.write(b"SSH-2.0-slow\r\n")
        assert await reader.readexactly(5)  # the offer: it is still connected
        clock.advance(LOGIN_S * 0.1)
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_an_authenticated_client_has_all_the_time(keys: Any, connect_to: Any, clock: Any) -> None:
    async with worker(keys) as (port, _):
        client = await connect_to(port)
        clock.advance(LOGIN_S * 2)
        assert await is_alive(client)


async def test_terminals_are_kept_alive(keys: Any, connect_to: Any, clock: Any) -> None:
    """Each keepalive is traffic, so that the idle limit does not end them."""
    async with worker(keys) as (port, _):
        client = await connect_to(port)
        recorder = await on_terminal(client, "cat")
        for count in range(1, 2 + int(IDLE_S / KEEPALIVE_S)):
            clock.advance(KEEPALIVE_S)
            await recorder.until(
                lambda seen, count=count: (
                    [name for name, _ in seen.requests] == ["keepalive@cloudfoundry.org"] * count
                )
            )
        recorder.channel.send(b"\x04")
        await recorder.over.wait()
    assert recorder.seen.requests[-1] == ("exit-status", uint32(0))


async def test_an_abandoned_terminal_hangs_up(keys: Any, connect_to: Any, tmp_path: Any) -> None:
    async with worker(keys) as (port, _):
        client = await connect_to(port)
        bystander = await connect_to(port)
        mark = tmp_path / "hung-up"
        recorder = await on_terminal(
            client, f"trap 'echo > {mark}; exit' HUP; echo ready; while :; do sleep 0.05; done"
        )
        await recorder.until(lambda seen: b"ready" in seen.output)
        client.link.abort()
        watching = await bystander.open()
        command = f"while ! [ -e {mark} ]; do sleep 0.05; done"
        assert await watching.channel.request("exec", text(command), True)
        await watching.over.wait()


async def test_the_worker_ends_when_nobody_is_left(keys: Any, connect_to: Any, clock: Any) -> None:
    async with worker(keys) as (port, task):
        client = await connect_to(port)
        clock.advance(LINGER_S * 2)
        assert await is_alive(client)
        client.link.abort()
        while not task.done():
            await asyncio.sleep(0)
            clock.advance(LINGER_S / 10)
        await task
