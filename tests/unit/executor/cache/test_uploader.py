"""Uploads over HTTP: answers, retries and failure texts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import tracemalloc

import aiohttp
import pytest
from aiohttp import web

from bbs.backoff import Backoff
from executor.cache.api import UploadError
from executor.cache.session import AssetTLS, asset_session, tls_context
from executor.cache.transport import InvalidURL, check_url
from executor.cache.uploader import Uploader
from tests.support.certificates import self_signed

pytestmark = pytest.mark.unit

AT_ONCE = Backoff(first_s=0)


@pytest.fixture
def payload(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(b"content" * 1000)
    return path


async def test_a_post_with_length_and_digests(session, site, payload):
    site.answer(status=399)
    assert await Uploader(session, backoff=AT_ONCE).upload(payload, site.url) == 7000
    data = payload.read_bytes()
    assert site.bodies == [data]
    headers = site.requests[0]
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Length"] == "7000"
    assert headers["Content-MD5"] == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert (
        headers["Content-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
    )


async def test_the_third_attempt_counts(session, site, payload):
    site.answer(status=500)
    site.answer(status=400)
    site.answer()
    assert await Uploader(session, backoff=AT_ONCE).upload(payload, site.url) == 7000
    assert site.bodies == [payload.read_bytes()] * 3


async def test_three_attempts_and_the_last_status(session, site, payload):
    site.answer(status=503)
    site.answer(status=503)
    site.answer(status=500)
    site.answer()
    with pytest.raises(UploadError) as caught:
        await Uploader(session, backoff=AT_ONCE).upload(payload, site.url)
    assert str(caught.value) == "Upload failed: Status code 500"
    assert len(site.requests) == 3


async def test_nobody_listens(session, payload, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}/p"
    with pytest.raises(UploadError) as caught:
        await Uploader(session, backoff=AT_ONCE).upload(payload, url)
    assert str(caught.value) == (
        f'Post "{url}": dial tcp 127.0.0.1:{unused_tcp_port}: connect: connection refused'
    )


async def test_the_secrets_of_a_url_are_in_no_reason(session, payload, unused_tcp_port):
    """The reason goes to the control plane and to logs."""
    url = f"http://user:secret@127.0.0.1:{unused_tcp_port}/p?upload-uri=https://u:secret@cc"
    with pytest.raises(UploadError, match=rf'^Post "http://127.0.0.1:{unused_tcp_port}/p": ') as caught:
        await Uploader(session, backoff=AT_ONCE).upload(payload, url)
    assert "secret" not in str(caught.value)


async def test_a_server_that_takes_too_long(session, site, payload):
    let_go = asyncio.Event()

    async def stall(request):
        await let_go.wait()
        return web.Response()

    site.replies.append(stall)
    uploader = Uploader(session, timeout=aiohttp.ClientTimeout(total=0.05))
    with pytest.raises(UploadError, match=r'^Post ".*": context deadline exceeded'):
        await uploader.upload(payload, site.url)
    assert len(site.requests) == 3
    let_go.set()


async def test_memory_stays_flat(session, tmp_path):
    size = 48 << 20
    payload = tmp_path / "big"
    with payload.open("wb") as file:
        file.truncate(size)

    async def take(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d" % size in head
        left = size
        while left:
            left -= len(await reader.read(1 << 16))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        tracemalloc.start()
        try:
            assert await Uploader(session, backoff=AT_ONCE).upload(payload, f"http://{host}:{port}/") == size
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < size / 4


async def test_proxy_variables_are_honoured(site, payload, monkeypatch):
    site.answer()
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    async with asset_session(AssetTLS()) as session:
        assert await Uploader(session, backoff=AT_ONCE).upload(payload, "http://cc.invalid/up") == 7000
    assert site.requests[0]["Host"] == "cc.invalid"


async def test_no_such_host(session, payload):
    with pytest.raises(UploadError, match=r"dial tcp: lookup nowhere\.invalid: no such host$"):
        await Uploader(session, backoff=AT_ONCE).upload(payload, "http://nowhere.invalid/p")


async def test_a_payload_that_is_gone(session, tmp_path):
    with pytest.raises(UploadError, match=r"^Upload failed: no such file or directory$"):
        await Uploader(session, backoff=AT_ONCE).upload(tmp_path / "gone", "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h/a b", None),
        ("http://h:80/?%zz", None),
        ("http://u:p%40@[::1]:80/x", None),
        ("http://h/%zz", 'parse "http://h/%zz": invalid URL escape "%zz"'),
        ("http://h/%4", 'parse "http://h/%4": invalid URL escape "%4"'),
        ("http://h:x/", 'parse "http://h:x/": invalid port ":x" after host'),
        (":x", 'parse ":x": missing protocol scheme'),
        ("//h/x", 'parse "//h/x": missing protocol scheme'),
        ("http://h/\x07", r'parse "http://h/\a": net/url: invalid control character in URL'),
    ],
)
def test_which_addresses_are_none(url, problem):
    if problem is None:
        check_url(url)
    else:
        with pytest.raises(InvalidURL) as caught:
            check_url(url)
        assert str(caught.value) == problem


def test_half_an_identity_is_refused():
    with pytest.raises(ValueError, match=r"^The TLS certificate or key is missing$"):
        tls_context(AssetTLS(cert="/c"))


def test_identity_and_trust(tmp_path):
    files = self_signed(tmp_path, "cell")
    crt = str(files.cert_file)
    context = tls_context(AssetTLS(cert=crt, key=str(files.key_file), ca_files=("", crt)))
    trusted = [ca for ca in context.get_ca_certs() if ca["subject"] == ((("commonName", "cell"),),)]
    assert len(trusted) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match="No such file"):
        tls_context(AssetTLS(ca_files=("/missing",)))


async def test_the_session_for_assets_reuses_no_connection(site):
    site.answer(b"x")
    async with asset_session(AssetTLS(skip_cert_verify=True)) as session:
        async with session.get(site.url) as response:
            assert await response.read() == b"x"
        assert session.connector.force_close
        assert session.trust_env
