"""The file server over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from bbs.embedded.files.server import fileserver_app

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]
TEXT = b"0123456789"
TAG = f'"{hashlib.sha256(TEXT).hexdigest()}"'


@pytest.fixture
def static(tmp_path: Path) -> Path:
    directory = tmp_path / "static"
    (directory / "sub").mkdir(parents=True)
    (directory / "digits.txt").write_bytes(TEXT)
    (directory / "sub" / "index.html").write_text("<p>")
    (directory / "a..b").write_bytes(b"dots")
    (directory / "empty").write_bytes(b"")
    (directory / "name with space").write_bytes(b"space")
    (directory / "link").symlink_to(directory / "digits.txt")
    (tmp_path / "secret").write_text("secret")
    return directory


@pytest.fixture
async def client(static: Path) -> AsyncIterator[Client]:
    async with TestClient(TestServer(fileserver_app(static))) as test_client:
        yield test_client


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


async def ask(client: Client, target: str, method: str = "GET", **headers: str) -> Answer:
    """A request for a target exactly as written."""
    url = URL(f"{client.make_url('/')}".rstrip("/") + target, encoded=True)
    async with client.session.request(method, url, headers=headers, allow_redirects=False) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def test_a_file(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt")

    assert (answer.status, answer.body) == (200, TEXT)
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["ETag"] == TAG
    assert answer.headers["Last-Modified"].endswith(" GMT")


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/v1/static//digits.txt", TEXT),
        ("/v1/static/./digits.txt", TEXT),
        ("/v1/static/digits.txt/", TEXT),
        ("/v1/static/digits.txt?x=../y", TEXT),
        ("/v1/static/link", TEXT),
        ("/v1/static/sub/index.html", b"<p>"),
        ("/v1/static/a..b", b"dots"),
        ("/v1/static/name%20with%20space", b"space"),
        ("/v1/static/empty", b""),
    ],
)
async def test_paths_to_a_file(client: Client, target: str, body: bytes) -> None:
    answer = await ask(client, target)

    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    ("method", "target", "status", "text"),
    [
        ("GET", "/v1/static/nope.tgz", 404, "File not found: nope.tgz"),
        ("GET", "/v1/static/nope/deeper.tgz", 404, "File not found: deeper.tgz"),
        ("GET", "/v1/static/a%00b", 404, "File not found: a\0b"),
        ("GET", "/v1/static/", 401, "Unauthorized to list the directory"),
        ("GET", "/v1/static/sub", 401, "Unauthorized to list the directory"),
        ("GET", "/v1/static/%2e%2e/secret", 400, "invalid URL path"),
        ("GET", "/v1/static/..%2fsecret", 400, "invalid URL path"),
        ("GET", "/v1/static/sub/..%5c..%5csecret", 400, "invalid URL path"),
        ("GET", "/", 404, "404 page not found"),
        ("GET", "/v1/other", 404, "404 page not found"),
        ("GET", "/v1/staticx", 404, "404 page not found"),
        ("POST", "/v1/static/digits.txt", 405, "Method Not Allowed"),
        ("PUT", "/v1/static/digits.txt", 405, "Method Not Allowed"),
    ],
)
async def test_refusals(client: Client, method: str, target: str, status: int, text: str) -> None:
    answer = await ask(client, target, method)

    assert (answer.status, answer.text) == (status, f"{text}\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_dots_on_the_wire_are_refused(client: Client) -> None:
    """Clients clean such a path before they send it, so this one is sent by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /v1/static/../../secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"invalid URL path\n")


async def test_head_has_the_headers_of_get_and_no_body(client: Client) -> None:
    target = "/v1/static/digits.txt"
    head, get = await ask(client, target, "HEAD", Range="bytes=2-4"), await ask(client, target)

    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**get.headers, "Date": ""}
    assert (head.headers["Content-Length"], head.headers["ETag"]) == ("10", TAG)


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/v1/static/nope.tgz", {}, 404),
        ("/v1/static/sub", {}, 401),
        ("/v1/static/digits.txt", {"If-None-Match": TAG}, 304),
    ],
)
async def test_head_answers_as_get(client: Client, target: str, headers: dict[str, str], status: int) -> None:
    answer = await ask(client, target, "HEAD", **headers)

    assert (answer.status, answer.body) == (status, b"")


async def test_other_methods_are_told_the_allowed_ones(client: Client) -> None:
    assert (await ask(client, "/v1/static/digits.txt", "POST")).headers["Allow"] == "GET, HEAD"


async def test_the_root_gets_its_slash(client: Client) -> None:
    answer = await ask(client, "/v1/static")

    assert (answer.status, answer.headers["Location"]) == (301, "/v1/static/")


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("a.json", b"{}", "application/json"),
        ("a.html", b"", "text/html; charset=utf-8"),
        ("a.tgz", b"", "application/gzip"),
        ("gzipped", b"\x1f\x8b\x08\x00", "application/x-gzip"),
        ("zipped", b"PK\x03\x04", "application/zip"),
        ("text", b"hello\n", "text/plain; charset=utf-8"),
        ("elf", b"\x7fELF\x02\x01\x00", "application/octet-stream"),
    ],
)
async def test_content_types(
    client: Client, static: Path, name: str, content: bytes, content_type: str
) -> None:
    (static / name).write_bytes(content)

    assert (await ask(client, f"/v1/static/{name}")).headers["Content-Type"] == content_type


async def test_a_replaced_file_has_a_new_tag(client: Client, static: Path) -> None:
    path = static / "digits.txt"
    await ask(client, "/v1/static/digits.txt")
    before = path.stat()
    path.write_bytes(b"9876543210")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    answer = await ask(client, "/v1/static/digits.txt", **{"If-None-Match": TAG})

    assert (answer.status, answer.body) == (200, b"9876543210")
    assert answer.headers["ETag"] == f'"{hashlib.sha256(b"9876543210").hexdigest()}"'


async def test_not_modified_has_the_tag_only(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt", **{"If-None-Match": f'"x", {TAG}'})

    assert (answer.status, answer.body) == (304, b"")
    assert {name.lower() for name in answer.headers} - {"date", "server"} == {"etag"}


async def test_a_failed_precondition(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt", **{"If-Match": '"x"'})

    assert (answer.status, answer.body) == (412, b"")


async def test_one_range(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt", Range="bytes=2-4")

    assert (answer.status, answer.body) == (206, b"234")
    assert answer.headers["Content-Range"] == "bytes 2-4/10"
    assert answer.headers["Content-Length"] == "3"
    assert answer.headers["ETag"] == TAG


async def test_several_ranges_are_ignored(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt", Range="bytes=0-1,-2")

    assert (answer.status, answer.body) == (200, TEXT)


async def test_a_range_outside(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt", Range="bytes=10-")

    assert (answer.status, answer.text) == (416, "invalid range: failed to overlap\n")
    assert answer.headers["Content-Range"] == "bytes */10"


async def test_a_range_of_another_unit(client: Client) -> None:
    answer = await ask(client, "/v1/static/digits.txt", Range="lines=1-2")

    assert (answer.status, answer.text) == (416, "invalid range\n")
    assert "Content-Range" not in answer.headers


async def test_ranges_of_an_empty_file_are_ignored(client: Client) -> None:
    answer = await ask(client, "/v1/static/empty", Range="bytes=0-5")

    assert (answer.status, answer.body) == (200, b"")


async def test_a_file_of_many_chunks(client: Client, static: Path) -> None:
    content = os.urandom(3 * 256 * 1024 + 17)
    (static / "big").write_bytes(content)

    assert (await ask(client, "/v1/static/big")).body == content
    part = await ask(client, "/v1/static/big", Range="bytes=1000-700000")
    assert part.body == content[1000:700001]


async def test_a_fifo_is_no_file_and_blocks_nobody(client: Client, static: Path) -> None:
    os.mkfifo(static / "pipe")

    assert (await ask(client, "/v1/static/pipe")).status == 404


@pytest.mark.parametrize("folder", [".incoming", ".jobs"])
async def test_what_it_keeps_for_itself_is_not_served(client: Client, static: Path, folder: str) -> None:
    (static / folder).mkdir()
    (static / folder / "half").write_bytes(b"half")
    for target in (f"/v1/static/{folder}/half", f"/v1/static/.//{folder}/half"):
        answer = await ask(client, target)
        assert (answer.status, answer.text) == (404, "File not found: half\n")


async def test_without_its_directory_nothing_is_found(tmp_path: Path) -> None:
    async with TestClient(TestServer(fileserver_app(tmp_path / "later"))) as client:
        assert (await ask(client, "/v1/static/x")).status == 404


async def test_every_answer_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bbs.embedded.files.server"):
        await ask(client, "/v1/static/digits.txt?q")

    (record,) = [r for r in caplog.records if r.message == "file-server.static-file.response"]
    assert vars(record)["data"] == {
        "method": "GET",
        "uri": "/v1/static/digits.txt?q",
        "status": 200,
        "size": 10,
    }
