"""Budgets of the control plane for connections, bodies, descriptors and events: no client blocks others."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity, IdentityFiles
from bbs.client.locket import LocketClient, channel_credentials
from bbs.embedded.events import hub
from bbs.embedded.plane import ControlPlane, PlaneConfig
from bbs.models.common import EnvironmentVariable
from bbs.models.desired_lrp import DesiredLRPUpdate
from bbs.models.events import DesiredLRPChangedEvent, DesiredLRPCreatedEvent
from bbs.models.locket import TypeCode
from bbs.serving import connections, events
from bbs.serving.listener import Listener, serving
from cell.development.certs import Authority
from tests.support.planes import EVERYWHERE, LRP

pytestmark = pytest.mark.unit

REQUEST = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
FEW = 4
"""Connections of a small listener."""


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> IdentityFiles:
    return Authority.create("ca").issue(tmp_path_factory.mktemp("tls"), "plane")


async def quick(request: web.Request) -> web.Response:
    return web.Response(text="here")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@asynccontextmanager
async def small(tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[int]:
    """A listener of few connections; its port."""
    application = web.Application()
    application.router.add_get("/quick", quick)
    application.router.add_post("/echo", echo)
    limits = {"max_connections": FEW, **limits}
    async with serving(application, ("127.0.0.1", 0), tls, **limits) as listener:
        yield port_of(listener)


def port_of(listener: Listener) -> int:
    port: int = listener.sockets[0].getsockname()[1]
    return port


async def ask(port: int, tls: ssl.SSLContext | None = None) -> bytes:
    """One request, and all of its answer."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        try:
            return await reader.read()
        finally:
            writer.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the listener's log has no event
            await asyncio.sleep(0.01)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    async with asyncio.timeout(10):
        with suppress(ConnectionError, ssl.SSLError):
            return await reader.read()
        return b""


async def test_a_client_without_certificate_is_cut_before_it_asks(identity: IdentityFiles) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    async with small(Identity(identity).server_context()) as port:
        answer = b""
        with suppress(ConnectionError, ssl.SSLError):
            answer = await ask(port, nobody)
        assert answer == b""


@pytest.fixture(params=["plain", "tls"])
def both_ends(
    request: pytest.FixtureRequest, identity: IdentityFiles
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """TLS of the server and of its client."""
    if request.param == "plain":
        return None, None
    both = Identity(identity)
    return both.server_context(), both.client_context(check_hostname=False)


async def test_silent_connections_keep_nobody_out(
    both_ends: tuple[ssl.SSLContext | None, ssl.SSLContext | None],
) -> None:
    """More silent TCP connections than the limit: the longest silent ones are closed for new requests."""
    server_tls, client_tls = both_ends
    async with small(server_tls, head_timeout_s=60.0) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * FEW)]
        for _ in range(3):
            assert (await ask(port, client_tls)).endswith(b"here")
        assert await ended(silent[0][0]) == b""
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("mutual", [False, True])
async def test_silent_connections_do_not_keep_clients_out_of_locket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: IdentityFiles, mutual: bool
) -> None:
    """gRPC bounds its connections and cuts those that say nothing."""
    monkeypatch.setattr(connections, "connection_limit", lambda: FEW)
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    tls = identity if mutual else None
    credentials = channel_credentials(tls.ca_file, tls.cert_file, tls.key_file) if tls else None
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=tls)
    async with asyncio.timeout(30), ControlPlane(config) as running_plane:
        at = running_plane.addresses.locket
        before = len(os.listdir("/proc/self/fd"))
        silent = [await asyncio.open_connection(at.host, at.port) for _ in range(4 * FEW)]
        async with LocketClient(str(at), credentials) as locket:
            await locket.ready(20.0)
            assert len(await locket.fetch_all(TypeCode.LOCK)) == 2
        assert len(os.listdir("/proc/self/fd")) < before + len(silent) + 2 * FEW
        for _, writer in silent:
            writer.close()


async def test_connections_that_idle_between_requests_keep_nobody_out() -> None:
    async with small() as port:
        idle = []
        for _ in range(FEW):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await reader.readuntil(b"here")
            idle.append(writer)
        assert (await ask(port)).endswith(b"here")
        for writer in idle:
            writer.close()


async def test_who_comes_while_all_are_being_served_waits_for_room(caplog: pytest.LogCaptureFixture) -> None:
    """Requests being answered are not cut for others; the next client waits in the kernel's queue."""
    go_on, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def held(request: web.Request) -> web.Response:
        begun.release()
        await go_on.wait()
        return web.Response(text="here")

    application = web.Application()
    application.router.add_get("/quick", held)
    async with (
        serving(application, ("127.0.0.1", 0), max_connections=FEW) as listener,
        asyncio.TaskGroup() as group,
    ):
        asked = [group.create_task(ask(port_of(listener))) for _ in range(FEW)]
        for _ in range(FEW):
            await begun.acquire()
        asked.append(group.create_task(ask(port_of(listener))))
        await until(lambda: [record.message for record in caplog.records] == ["listener-full"])
        go_on.set()
    assert all(task.result().endswith(b"here") for task in asked)


async def test_bodies_that_trickle_keep_nobody_out() -> None:
    """1,500 slow bodies: at the limit one of them makes room after its first slow tick."""
    async with small(body_tick_s=0.5) as port:
        slow = []
        for _ in range(FEW):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na")
            slow.append(writer)
        assert (await ask(port)).endswith(b"here")
        for writer in slow:
            writer.close()


async def test_a_body_that_trickles_is_cut() -> None:
    """Slow bodies hold connections for ever; a slow handler is not taken for a slow client."""
    async with small(body_tick_s=0.1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na")
        assert await ended(reader) == b""
        writer.close()


async def test_readers_of_events_that_never_read_are_ended_and_the_others_read_on(
    running_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """30 subscribers that never read cost 224 MB: each may have some bytes waiting, then its stream ends."""
    monkeypatch.setattr(hub, "BUFFER_BYTES", 1 << 20)
    monkeypatch.setattr(events, "SEND_TIMEOUT_S", 0.5)
    caplog.set_level("INFO")
    address, idle = running_plane.addresses.bbs, 5
    request = b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    large = replace(LRP, environment_variables=(EnvironmentVariable(name="A", value="x" * 200_000),))
    changed = 0
    with ExitStack() as sockets:
        for _ in range(idle):
            client = sockets.enter_context(socket.create_connection((address.host, address.port)))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(request)
        async with (
            asyncio.timeout(60),
            HTTPBBSClient(running_plane.bbs_url) as bbs,
            bbs.lrp_instance_events() as heard,
        ):
            await bbs.desire_lrp(large)
            async for event in heard:
                if isinstance(event, DesiredLRPCreatedEvent | DesiredLRPChangedEvent):
                    await bbs.update_desired_lrp("web", DesiredLRPUpdate(annotation=str(changed)))
                    changed += 1
                messages = [record.message for record in caplog.records]
                if (
                    messages.count("dropping-slow-subscriber") + messages.count("event-stream-not-read")
                    >= idle
                ):
                    break
    assert changed > 2


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[], ExitStack]]:
    """Takes all descriptors this process may have; closing the stack gives them back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = ExitStack()

    def take() -> ExitStack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
        with suppress(OSError):
            while True:
                held.callback(os.close, os.dup(0))
        return held

    yield take
    held.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_listener_without_descriptors_goes_on(
    no_descriptors: Callable[[], ExitStack], caplog: pytest.LogCaptureFixture
) -> None:
    """EMFILE in accept: one line in the log and no trace; the client is served once there is a descriptor."""
    loop = asyncio.get_running_loop()
    async with small() as port, asyncio.timeout(20):
        with socket.socket() as client:
            client.setblocking(False)
            held = no_descriptors()
            await loop.sock_connect(client, ("127.0.0.1", port))
            await until(lambda: bool(caplog.records))
            held.close()
            await loop.sock_sendall(client, REQUEST)
            answer = b""
            while not answer.endswith(b"here"):
                answer += await loop.sock_recv(client, 1000)
    assert {record.message for record in caplog.records} == {"accept-failed"}
    assert not any(record.exc_info for record in caplog.records)
