"""Authentication by the platform over HTTP: a token for a code, and access with the token."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509

from cell.development.certs import Authority
from sshd.proxy.platform import (
    MAX_ANSWER,
    CloudFoundryRealm,
    Platform,
    PlatformURLs,
    open_session,
    token_user,
)
from sshd.proxy.realms import Denied, Instance
from sshd.records import FATAL, Records

pytestmark = pytest.mark.unit

GUID = "11111111-2222-3333-4444-555555555555"

Answer = Callable[[web.Request], web.Response | Awaitable[web.Response]]


async def of(answer: Answer, request: web.Request) -> web.Response:
    made = answer(request)
    return made if isinstance(made, web.Response) else await made


def good_token(_: web.Request) -> web.Response:
    return web.json_response({"access_token": "tok", "token_type": "bearer"})


def good_access(_: web.Request) -> web.Response:
    return web.json_response({"process_guid": "process"})


def platform_app(
    token: Answer = good_token, access: Answer = good_access
) -> tuple[web.Application, list[Any]]:
    """A platform that answers so, and what it was asked."""
    seen: list[Any] = []

    async def give_token(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], await request.text()))
        return await of(token, request)

    async def tell_access(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], request.path))
        return await of(access, request)

    app = web.Application()
    app.router.add_post("/oauth/token", give_token)
    app.router.add_get("/internal/apps/{guid}/ssh_access/{index}", tell_access)
    return app, seen


@asynccontextmanager
async def platform(
    token: Answer, access: Answer, *, timeout_s: float = 60
) -> AsyncIterator[tuple[CloudFoundryRealm, list[Any]]]:
    app, seen = platform_app(token, access)
    async with (
        TestServer(app, host="127.0.0.1") as server,
        open_session(timeout_s) as session,
    ):
        urls = PlatformURLs(
            str(server.make_url("/oauth/token")), "ssh-proxy", "pw", str(server.make_url("/"))
        )
        records = Records("ssh-proxy", FATAL, False)
        yield CloudFoundryRealm(Platform(urls, session, records, uaa_tls=True, cc_tls=True)), seen


async def test_a_user_of_an_app() -> None:
    async with platform(good_token, good_access) as (realm, seen):
        assert await realm.instance(f"cf:{GUID}/3", "code") == Instance("process", 3)
        assert await realm.instance("diego:x/3", "code") is None
    basic = "Basic " + base64.b64encode(b"ssh-proxy:pw").decode()
    assert seen == [
        (basic, "grant_type=authorization_code&code=code"),
        ("bearer tok", f"/internal/apps/{GUID}/ssh_access/3"),
    ]


async def test_cookies_of_one_user_are_not_sent_for_another() -> None:
    """The login server's session cookie of one code exchange is in no request of the next one."""
    cookies: list[str | None] = []

    def give_cookie(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        answer = good_token(request)
        answer.set_cookie("JSESSIONID", f"of-user-{len(cookies)}")
        return answer

    async with platform(give_cookie, good_access) as (realm, _):
        for code in ("one", "two"):
            await realm.instance(f"cf:{GUID}/0", code)
    assert cookies == [None, None]


async def test_the_user_of_a_token_is_known_by_id() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"user_id": "u-1"}).encode()).decode()
    async with platform(token_of(f"x.{claims}.y"), good_access) as (realm, _):
        assert await realm.instance(f"cf:{GUID}/3", "code") == Instance("process", 3, "u-1")


def text(content: str, status: int = 200) -> Answer:
    return lambda _: web.Response(text=content, status=status)


def token_of(token: object, kind: object = "bearer") -> Answer:
    return lambda _: web.json_response({"access_token": token, "token_type": kind})


async def cut_off(request: web.Request) -> web.Response:
    """More was announced than comes."""
    answer = web.Response(text="{", headers={"Content-Length": "100"})
    await answer.prepare(request)
    assert request.transport is not None
    request.transport.close()
    return answer


async def hang(request: web.Request) -> web.Response:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends this")


NO_TOKEN = "Authentication failed"
NO_DATA = "Fetching application data failed"
NO_SENSE = "Invalid response from Cloud Controller"


@pytest.mark.parametrize(
    ("token", "access", "why"),
    [
        (text("", 401), good_access, NO_TOKEN),
        (text("", 500), good_access, NO_TOKEN),
        (text('{"access_token":"a","token_type":"b"}', 201), good_access, NO_TOKEN),
        (text("{"), good_access, NO_TOKEN),
        (text("[1]"), good_access, NO_TOKEN),
        (text("[" * 100_000), good_access, NO_TOKEN),
        (text("x" * (MAX_ANSWER + 1)), good_access, NO_TOKEN),
        (token_of(7), good_access, NO_TOKEN),
        (token_of("a", None), good_access, NO_TOKEN),
        (cut_off, good_access, NO_TOKEN),
        (hang, good_access, NO_TOKEN),
        (good_token, text("", 403), NO_DATA),
        (good_token, text("", 404), NO_DATA),
        (good_token, text("", 500), NO_DATA),
        (good_token, hang, NO_DATA),
        (good_token, cut_off, NO_DATA),
        (token_of("no\r\nHeader: of its own"), good_access, NO_DATA),
        (good_token, text("?"), NO_SENSE),
        (good_token, text("{}"), NO_SENSE),
        (good_token, text('{"process_guid":7}'), NO_SENSE),
    ],
)
async def test_users_of_apps_that_are_refused(token: Answer, access: Answer, why: str) -> None:
    async with platform(token, access, timeout_s=1) as (realm, _):
        with pytest.raises(Denied, match=f"^{why}$"):
            await realm.instance(f"cf:{GUID}/0", "code")


@pytest.mark.parametrize(
    ("token_url", "cc_url", "why"),
    [
        ("http://127.0.0.1:1/", "http://127.0.0.1:1", NO_TOKEN),
        ("ftp://127.0.0.1/", "http://127.0.0.1:1", NO_TOKEN),
        ("nowhere", "http://127.0.0.1:1", NO_TOKEN),
        (None, "http://127.0.0.1:1", NO_DATA),
        (None, "http://[::1", "CloudController URL Invalid"),
        (None, ":", "CloudController URL Invalid"),
    ],
)
async def test_platforms_that_are_not_there(token_url: str | None, cc_url: str, why: str) -> None:
    app, _ = platform_app()
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        urls = PlatformURLs(token_url or str(server.make_url("/oauth/token")), "u", "p", cc_url)
        there = Platform(urls, session, Records("ssh-proxy", FATAL, False), uaa_tls=True, cc_tls=True)
        with pytest.raises(Denied, match=f"^{why}$"):
            await there.instance(GUID, 0, "code")


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_of_the_platform(trusted: bool, tmp_path: Path) -> None:
    """Its certificate has to be of the authority in the configuration."""
    app, _ = platform_app()
    authority = Authority.create("platform")
    files = authority.issue(tmp_path / "uaa", "uaa", names=[x509.DNSName("localhost")])
    other = Authority.create("other").issue(tmp_path / "other", "other")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(files.cert_file, files.key_file)
    client_tls = ssl.create_default_context(cafile=str((files if trusted else other).ca_file))
    async with aiohttp.ClientSession() as session:
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", 0, ssl_context=server_tls)
        await site.start()
        port = runner.addresses[0][1]
        urls = PlatformURLs(f"https://localhost:{port}/oauth/token", "u", "p", f"https://localhost:{port}")
        records = Records("ssh-proxy", FATAL, False)
        there = Platform(urls, session, records, uaa_tls=client_tls, cc_tls=client_tls)
        try:
            if trusted:
                assert await there.instance(GUID, 0, "code") == Instance("process", 0)
            else:
                with pytest.raises(Denied, match=NO_TOKEN):
                    await there.instance(GUID, 0, "code")
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.!!!.c"])
def test_tokens_that_say_nothing(token: str) -> None:
    assert token_user(token) == ("unknown", "unknown")


def test_a_token_that_names_its_user() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"user_name": "me", "user_id": "1"}).encode()).decode()
    assert token_user(f"x.{claims.rstrip('=')}.y") == ("me", "1")
