"""What the daemon does as time passes, with short times."""

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

pytestmark = pytest.mark.unit


@asynccontextmanager
async def worker(keys: Any, *, idle: float, keepalive: float, linger: float = 60) -> AsyncIterator[Any]:
    """A worker in this process: its port and the task that ends when it does."""
    settings = Settings(
        host_key=keys.host["rsa"],
        authorized_key=base64.b64decode(keys.authorized.split()[1]),
        allow_unauthenticated=False,
        inherit_environment=False,
        algorithms=Algorithms(),
        idle_seconds=idle,
        keepalive_seconds=keepalive,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(Worker(settings).serve(listening, linger))
            yield listening.getsockname()[1], task
            task.cancel()


async def test_a_silent_connection_is_dropped(keys: Any, connect_to: Any) -> None:
    async with worker(keys, idle=0.3, keepalive=60) as (port, _):
        client = await connect_to(port)
        recorder = await client.open()
        assert await recorder.channel.request("exec", text("sleep 60"), True)
        await client.visitor.ended.wait()


async def test_a_silent_client_that_never_authenticates_is_dropped(keys: Any) -> None:
    async with worker(keys, idle=0.3, keepalive=60) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"SSH-2.0-diego-sshd\r\n"
        writer.close()
        await writer.wait_closed()


async def test_terminals_are_kept_alive(keys: Any, connect_to: Any) -> None:
    async with worker(keys, idle=0.6, keepalive=0.1) as (port, _):
        client = await connect_to(port)
        recorder = await client.open()
        size = uint32(80) + uint32(24) + uint32(0) * 2
        assert await recorder.channel.request("pty-req", text("vt100") + size + string(b""), True)
        assert await recorder.channel.request("exec", text("sleep 1.2"), True)
        await recorder.over.wait()
    names = [name for name, _ in recorder.seen.requests]
    assert names.count("keepalive@cloudfoundry.org") > 5
    assert recorder.seen.requests[-1] == ("exit-status", uint32(0))


async def test_an_abandoned_terminal_hangs_up(keys: Any, connect_to: Any, tmp_path: Any) -> None:
    async with worker(keys, idle=60, keepalive=60) as (port, _):
        client = await connect_to(port)
        recorder = await client.open()
        size = uint32(80) + uint32(24) + uint32(0) * 2
        assert await recorder.channel.request("pty-req", text("vt100") + size + string(b""), True)
        mark = tmp_path / "hung-up"
        command = f"trap 'echo > {mark}; exit' HUP; echo ready; while :; do sleep 0.05; done"
        assert await recorder.channel.request("exec", text(command), True)
        watching = asyncio.get_running_loop()
        while b"ready" not in recorder.seen.output:
            await asyncio.wait_for(_soon(watching), 10)
        client.link.abort()
        while not mark.exists():
            await asyncio.wait_for(_soon(watching), 10)


async def _soon(loop: asyncio.AbstractEventLoop) -> None:
    """After whatever else is ready now."""
    turn = loop.create_future()
    loop.call_later(0.01, turn.set_result, None)
    await turn


async def test_the_worker_ends_when_nobody_is_left(keys: Any, connect_to: Any) -> None:
    async with worker(keys, idle=60, keepalive=60, linger=0.2) as (port, task):
        client = await connect_to(port)
        client.link.abort()
        await task
