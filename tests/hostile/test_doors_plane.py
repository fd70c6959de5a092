"""The doors of the control plane, on real sockets: strangers are refused, and nobody keeps others out."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity, IdentityFiles
from bbs.client.locket import LocketClient, TypeCode, channel_credentials
from bbs.embedded import hub
from bbs.embedded.destinations import Destinations
from bbs.embedded.outgoing import HTTPCallbacks
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.embedded.statefolder import private_folder
from bbs.models.actions import RunAction
from bbs.models.common import EnvironmentVariable, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.events import DesiredLRPChangedEvent, DesiredLRPCreatedEvent
from bbs.serving import connections, events
from bbs.serving.address import Address
from bbs.serving.listener import Listener, serving
from cell.certs import Authority

pytestmark = pytest.mark.unit

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)
LRP = DesiredLRP(
    process_guid="web",
    domain="d",
    root_fs="docker:///x",
    action=RunAction(path="/x", user="u"),
    metric_tags={"source_id": MetricTagValue(static="web")},
)
TASK = b'{"task_guid":"t","domain":"d","rootfs":"docker:///x","action":{"run":{"path":"/x","user":"u"}}}'
REQUEST = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"
FEW = 4
"""Connections of a small listener."""


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(PlaneConfig(state_dir=tmp_path / "state", addresses=EVERYWHERE)) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


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
        while not holds():  # noqa: ASYNC110 - it is the listener's log, which notifies nobody
            await asyncio.sleep(0.01)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    async with asyncio.timeout(10):
        with suppress(ConnectionError, ssl.SSLError):
            return await reader.read()
        return b""


# -- strangers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:62501"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
    ids=str,
)
async def test_a_web_page_cannot_have_tasks_run(
    plane: ControlPlane, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    """A page of another site posts a Task as text/plain: no container is made for it."""
    url = plane.addresses.receptor.url() + "/v1/tasks"
    async with http.post(url, data=TASK, headers={"Content-Type": "text/plain", **headers}) as answer:
        assert answer.status == 403
    async with http.get(url) as answer:
        assert await answer.json() == []


@pytest.mark.parametrize("part", ["bbs", "auctioneer", "receptor", "fileserver"])
async def test_every_plain_listener_refuses_other_sites(
    plane: ControlPlane, http: aiohttp.ClientSession, part: str
) -> None:
    address: Address = getattr(plane.addresses, part)
    async with http.post(address.url() + "/v1/lrps", headers={"Origin": "http://evil.example"}) as answer:
        assert (answer.status, "Origin" in await answer.text()) == (403, True)
    async with http.post(address.url() + "/v1/lrps", headers={"Host": "rebound.example"}) as answer:
        assert (answer.status, "Host" in await answer.text()) == (403, True)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_curl_is_served_by_address_and_as_localhost(
    plane: ControlPlane, http: aiohttp.ClientSession, name: str
) -> None:
    url = f"http://127.0.0.1:{plane.addresses.receptor.port}/v1/tasks"
    host = f"{name}:{plane.addresses.receptor.port}"
    async with http.post(url, data=TASK, headers={"Host": host}) as answer:
        assert answer.status == 201


async def test_an_operator_may_allow_a_host(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, allowed_hosts=("plane.internal",))
    async with ControlPlane(config) as plane:
        headers = {"Host": "plane.internal", "Origin": "https://plane.internal"}
        async with http.get(plane.addresses.receptor.url() + "/v1/tasks", headers=headers) as answer:
            assert answer.status == 200


async def test_a_client_without_certificate_is_cut_before_it_asks(identity: IdentityFiles) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    async with small(Identity(identity).server_context()) as port:
        answer = b""
        with suppress(ConnectionError, ssl.SSLError):
            answer = await ask(port, nobody)
        assert answer == b""


async def test_the_state_folder_of_a_running_plane_is_its_owners_alone(tmp_path: Path) -> None:
    """Another user of the machine reads no key and no password out of the state, nor out of an older one."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "bbs.db").touch(0o644)
    async with ControlPlane(PlaneConfig(state_dir=folder, addresses=EVERYWHERE)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [each for each in folder.iterdir() if each.is_file()]
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert "bbs.db-wal" in {each.name for each in files}


def test_a_folder_that_is_shared_on_purpose_stays_shared(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    private_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


# -- requests that the plane makes for others ------------------------------------------------------------


@asynccontextmanager
async def other_service() -> AsyncIterator[tuple[str, list[str]]]:
    """A service on loopback that is no part of the plane: its URL, and the paths that were asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="the secret")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with serving(application, ("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{port_of(listener)}", asked


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/droplet/d", "cc-droplet-upload-uri"),
        ("/v1/build_artifacts/d", "cc-build-artifacts-upload-uri"),
    ],
)
async def test_the_uploader_is_no_proxy(
    plane: ControlPlane, http: aiohttp.ClientSession, path: str, parameter: str
) -> None:
    """Uploads go to the file server's own receiving addresses: to no other service, and in no circle."""
    own = plane.addresses.fileserver.url()
    async with other_service() as (other, asked):
        for target in (
            f"{other}/x",
            f"{plane.addresses.receptor.url()}/v1/tasks",
            f"{own}/v1/droplet/d?cc-droplet-upload-uri=x",
            f"{own}/internal/v4/../../v1/droplet/d",
            own.replace("127.0.0.1", "127.0.0.2") + "/internal/v4/droplets/d/upload",
        ):
            url = f"{own}{path}?{parameter}={quote(target, safe='')}"
            async with http.post(url, data=b"body") as answer:
                assert (answer.status, "secret" in await answer.text()) == (403, False), target
        assert asked == []


async def test_an_upload_to_the_file_server_itself_is_taken(
    plane: ControlPlane, http: aiohttp.ClientSession
) -> None:
    own = plane.addresses.fileserver.url()
    for host in ("127.0.0.1", "localhost"):
        target = own.replace("127.0.0.1", host) + "/internal/v4/droplets/d1/upload"
        url = f"{own}/v1/droplet/d?cc-droplet-upload-uri={quote(target, safe='')}"
        async with http.post(url, data=b"droplet") as answer:
            assert answer.status == 201
    async with http.get(f"{own}/v1/static/droplets/d1.tgz") as answer:
        assert await answer.read() == b"droplet"


async def test_a_callback_reaches_a_service_on_loopback_and_no_listener_of_the_plane(
    plane: ControlPlane,
) -> None:
    async with (
        other_service() as (other, asked),
        HTTPCallbacks(destinations=plane._destinations()) as callbacks,
    ):
        assert await callbacks.deliver(f"{other}/done", "{}")
        for part in ("bbs", "receptor", "auctioneer", "fileserver"):
            address: Address = getattr(plane.addresses, part)
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"):
                assert not await callbacks.deliver(f"http://{host}:{address.port}/v1/x", "{}"), (part, host)
        for bad in (
            "http://[::1",
            "ftp://x",
            "x",
            "http://169.254.169.254/",
            "http://\udc80/",
            "http://h:99999/",
        ):
            assert not await callbacks.deliver(bad, "{}"), bad
    assert asked == ["/done"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("10.0.0.1", True),
        ("8.8.8.8", True),
        ("fd00::1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("::", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("ff02::1", False),
    ],
)
def test_where_callbacks_may_go(host: str, allowed: bool) -> None:
    assert (Destinations().refusal(host, 80) == "") == allowed


def test_an_operator_may_name_the_networks_of_callbacks() -> None:
    only = Destinations(networks=[ip_network("10.1.0.0/16")], closed=[Address("10.1.0.1", 80)])
    assert [only.refusal(*to) == "" for to in (("10.1.2.3", 80), ("127.0.0.1", 80), ("10.1.0.1", 80))] == [
        True,
        False,
        False,
    ]


# -- those who keep others out ---------------------------------------------------------------------------


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
    """More silent TCP connections than a listener takes: those longest silent are cut for those who ask."""
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
    async with asyncio.timeout(30), ControlPlane(config) as plane:
        at = plane.addresses.locket
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


async def test_a_body_that_trickles_is_cut() -> None:
    """Slow bodies hold connections for ever; a slow handler is not taken for a slow client."""
    async with small(body_tick_s=0.1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\na")
        assert await ended(reader) == b""
        writer.close()


async def test_readers_of_events_that_never_read_are_ended_and_the_others_read_on(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """30 subscribers that never read cost 224 MB: each may have some bytes waiting, then its stream ends."""
    monkeypatch.setattr(hub, "BUFFER_BYTES", 1 << 20)
    monkeypatch.setattr(events, "PATIENCE_S", 0.5)
    caplog.set_level("INFO")
    address, idle = plane.addresses.bbs, 5
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
            HTTPBBSClient(plane.bbs_url) as bbs,
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
