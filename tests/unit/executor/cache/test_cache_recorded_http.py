"""Recorded downloads and uploads of a cell: the same requests, and the same results of the answers.

``other-http/assets-and-callbacks`` holds them as a plain HTTP server saw them.
"""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from executor.cache.api import DownloadError, UploadError
from executor.cache.downloader import Downloader
from executor.cache.http import ATTEMPTS, back_off
from executor.cache.session import AssetTLS, asset_session
from executor.cache.uploader import Uploader
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.executor.cache.conftest import OpenCache, Reply, Web

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "other-http" / "assets-and-callbacks.json"

OF_THE_LIBRARY = {"host", "user-agent", "accept"}
"""Headers of the HTTP library."""

_DOCUMENT = json.loads(GOLDEN.read_text())
RECORDS: list[dict[str, Any]] = [record for record in _DOCUMENT["records"] if record["from"] == "rep"]
DOWNLOADS = [record for record in RECORDS if record["request"]["method"] == "GET"]
UPLOADS = [record for record in RECORDS if record["request"]["method"] == "POST"]


def status_of(record: dict[str, Any]) -> int:
    return int(record["response"]["status_line"].split()[1])


def body_of(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["body_base64"])


def headers_of(pairs: list[list[str]] | dict[str, str]) -> dict[str, str]:
    """By lower-case name, without those of the library."""
    lower = {name.lower(): value for name, value in dict(pairs).items()}
    return {name: value for name, value in lower.items() if name not in OF_THE_LIBRARY}


def recorded_reply(record: dict[str, Any], seen: list[tuple[str, str]]) -> Reply:
    """The recorded answer, byte by byte; the line of the request is added to ``seen``."""

    async def reply(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path))
        headers = dict(record["response"]["headers"])
        return web.Response(status=status_of(record), body=body_of(record["response"]), headers=headers)

    return reply


def base(site: Web) -> str:
    return site.url.removesuffix("/asset")


async def test_downloads_ask_as_recorded(site: Web, open_cache: OpenCache, tmp_path: Path) -> None:
    """In the recorded order, each path with a cache key of its own."""
    assert {status_of(record) for record in DOWNLOADS} == {200, 304, 404}
    cache: Downloader
    async with open_cache() as cache:
        for record in DOWNLOADS:
            asked = record["request"]
            seen: list[tuple[str, str]] = []
            site.replies[:] = [recorded_reply(record, seen)]
            site.requests.clear()
            url, key = base(site) + asked["path"], asked["path"]
            for _ in range(3 if key == "/dl/noetag.tgz" else 1):
                if status_of(record) == 404:
                    with pytest.raises(DownloadError, match="Download failed: Status code 404"):
                        await cache.fetch_file(url, key)
                else:
                    fetched = await cache.fetch_file(url, key)
                    assert fetched.size == len(body_of(record["response"])), record["name"]
                    fetched.release()
            tries = ATTEMPTS if status_of(record) == 404 else record["times_seen"]
            assert seen == [(asked["method"], asked["path"])] * tries
            expected = headers_of(asked["headers"])
            assert [headers_of(headers) for headers in site.requests] == [expected] * tries, record["name"]


def test_pauses_between_attempts_are_the_recorded_ones() -> None:
    times = _DOCUMENT["retry_times"]["download_404"]
    assert len(times) == ATTEMPTS
    for failures, (before, after) in enumerate(itertools.pairwise(times)):
        drawn = [back_off(failures) for _ in range(300)]
        # s; the recorded ones include the time of a request on the same machine
        assert min(drawn) - 0.02 <= after - before <= max(drawn) + 0.05


@pytest.mark.parametrize("record", UPLOADS, ids=lambda record: str(record["name"]))
async def test_uploads_ask_as_recorded(record: dict[str, Any], site: Web, tmp_path: Path) -> None:
    asked = record["request"]
    seen: list[tuple[str, str]] = []
    site.replies.append(recorded_reply(record, seen))
    payload = tmp_path / "payload"
    payload.write_bytes(body_of(asked))
    async with asset_session(AssetTLS()) as session:
        uploading = Uploader(session).upload(payload, base(site) + asked["path"])
        if status_of(record) == 200:
            assert await uploading == len(body_of(asked))
        else:
            with pytest.raises(UploadError, match=f"^Upload failed: Status code {status_of(record)}$"):
                await uploading
    assert seen == [(asked["method"], asked["path"])] * record["times_seen"]
    assert site.bodies == [body_of(asked)] * record["times_seen"]
    sent = [headers_of(headers) for headers in site.requests]
    for headers in sent:
        # the answer's body is not read: how it may be packed is the library's
        assert "gzip" in headers.pop("accept-encoding")
        # ours uses no connection twice, as for downloads; a Go rep keeps the ones of uploads
        assert headers.pop("connection") == "close"
    expected = headers_of(asked["headers"])
    del expected["accept-encoding"]
    assert sent == [expected] * record["times_seen"]
