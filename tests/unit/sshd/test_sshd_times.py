"""What the daemon does as time passes, with short times; and the platform's word on users, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sshd.daemon.settings import Settings
from sshd.daemon.worker import Worker
from sshd.proxy.platform import Platform, PlatformURLs, token_user
from sshd.proxy.realms import CloudFoundryRealm, Denied, Instance
from sshd.records import FATAL, Records
from sshd.ssh.algorithms import Algorithms
from sshd.wire import string, text, uint32

pytestmark = pytest.mark.unit

GUID = "11111111-2222-3333-4444-555555555555"


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


Answer = Callable[[web.Request], web.Response]


@asynccontextmanager
async def platform(token: Answer, access: Answer) -> AsyncIterator[tuple[CloudFoundryRealm, list[Any]]]:
    seen: list[Any] = []

    async def give_token(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], await request.text()))
        return token(request)

    async def tell_access(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], request.path))
        return access(request)

    app = web.Application()
    app.router.add_post("/oauth/token", give_token)
    app.router.add_get("/internal/apps/{guid}/ssh_access/{index}", tell_access)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        urls = PlatformURLs(
            str(server.make_url("/oauth/token")), "ssh-proxy", "pw", str(server.make_url("/"))
        )
        records = Records("ssh-proxy", FATAL, False)
        yield CloudFoundryRealm(Platform(urls, session, records, uaa_tls=True, cc_tls=True)), seen


def good_token(_: web.Request) -> web.Response:
    return web.json_response({"access_token": "tok", "token_type": "bearer"})


def good_access(_: web.Request) -> web.Response:
    return web.json_response({"process_guid": "process"})


async def test_a_user_of_an_app() -> None:
    async with platform(good_token, good_access) as (realm, seen):
        assert await realm.instance(f"cf:{GUID}/3", "code") == Instance("process", 3)
        assert await realm.instance("diego:x/3", "code") is None
    basic = "Basic " + base64.b64encode(b"ssh-proxy:pw").decode()
    assert seen == [
        (basic, "grant_type=authorization_code&code=code"),
        ("bearer tok", f"/internal/apps/{GUID}/ssh_access/3"),
    ]


@pytest.mark.parametrize(
    ("token", "access", "text"),
    [
        (lambda _: web.Response(status=401), good_access, "Authentication failed"),
        (lambda _: web.Response(text="{"), good_access, "Authentication failed"),
        (good_token, lambda _: web.Response(status=403), "Fetching application data failed"),
        (good_token, lambda _: web.Response(text="?"), "Invalid response from Cloud Controller"),
    ],
)
async def test_users_of_apps_that_are_refused(token: Answer, access: Answer, text: str) -> None:
    async with platform(token, access) as (realm, _):
        with pytest.raises(Denied, match=text):
            await realm.instance(f"cf:{GUID}/0", "code")


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.!!!.c"])
def test_tokens_that_say_nothing(token: str) -> None:
    assert token_user(token) == ("unknown", "unknown")


def test_a_token_that_names_its_user() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"user_name": "me", "user_id": "1"}).encode()).decode()
    assert token_user(f"x.{claims.rstrip('=')}.y") == ("me", "1")
