"""Static file server for lifecycle bundles and droplets (``GET /v1/static/PATH``), and upload receiver.

The entity tag is the SHA-256 of the content. It is recomputed when size, time or identity of the file change.
Cells store it with their copy and send it in conditional requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
import os
import stat
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.typedefs import Handler

from bbs.embedded.files.conditions import (
    ByteRange,
    UnsatisfiableRange,
    Validators,
    Verdict,
    check,
    requested_part,
)
from bbs.embedded.files.received import INCOMING, JOBS_FOLDER, add_receiving_routes
from bbs.embedded.files.uploads import POLLING_INTERVAL_S, add_upload_routes
from bbs.serving.plaintext import plain

logger = logging.getLogger(__name__)

ROOT: Final = "/v1/static"
METHODS: Final = ("GET", "HEAD")
OWN_FOLDERS: Final = (INCOMING, JOBS_FOLDER)
"""Internal folders inside the static directory; they are not served."""

CHUNK_BYTES: Final = 256 * 1024
LAST_DATE_S: Final = 253_402_300_799
"""The end of the year 9999, the last year of an HTTP date."""

SNIFFED_BYTES: Final = 512
"""Bytes used to detect the type of a file if its name does not give it."""

MAGIC: Final = (
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
)


class Refusal(Exception):
    """A response without a file: status and text."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers or {}
        super().__init__(text)

    def response(self) -> web.Response:
        return plain(self.status, str(self), self.headers)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file while it is served, so that size, tag and bytes are of the same version."""

    source: BufferedReader
    size: int
    content_type: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class _Version:
    device: int
    inode: int
    size: int
    mtime_ns: int


def fileserver_app(
    static_dir: Path, *, polling_interval_s: float = POLLING_INTERVAL_S, upload_hosts: Collection[str] = ()
) -> web.Application:
    """The file server of a directory, which need not exist yet.

    polling_interval_s: interval between polls of an upload job.
    upload_hosts: ``host:port`` of allowed upload targets, in addition to this server.
    """
    app = web.Application(middlewares=[_log_answer])
    add_upload_routes(app, polling_interval_s=polling_interval_s, hosts=upload_hosts)
    add_receiving_routes(app, static_dir)
    app.router.add_route("*", "/{path:.*}", _FileServer(static_dir).handle)
    return app


class _FileServer:
    """Opens files, caches their tags, sends responses."""

    def __init__(self, static_dir: Path) -> None:
        self._static_dir = static_dir
        self._tags: dict[Path, tuple[_Version, str]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            path = requested_path(request.method, request.raw_path)
            async with self._opened(path) as file:
                return await _serve(request, file)
        except Refusal as refusal:
            return refusal.response()

    @asynccontextmanager
    async def _opened(self, path: str) -> AsyncIterator[OpenFile]:
        file = await asyncio.to_thread(self._open, path)
        try:
            yield file
        finally:
            file.source.close()

    def _open(self, path: str) -> OpenFile:
        """Runs in a thread. Raises Refusal."""
        full = self._static_dir / path
        missing = Refusal(404, f"File not found: {full.name}")
        if path.partition("/")[0] in OWN_FOLDERS:
            raise missing
        with ExitStack() as until_served:
            try:
                source = until_served.enter_context(open(full, "rb", opener=_open_without_blocking))
            except IsADirectoryError:
                raise Refusal(401, "Unauthorized to list the directory") from None
            except (OSError, ValueError) as error:
                raise missing from error
            status = os.fstat(source.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise missing
            file = OpenFile(
                source=source,
                size=status.st_size,
                content_type=_content_type(full, source),
                validators=Validators(
                    etag=f'"{self._tag(full, source, status)}"',
                    modified=datetime.fromtimestamp(min(max(int(status.st_mtime), 0), LAST_DATE_S), UTC),
                ),
            )
            until_served.pop_all()
            return file

    def _tag(self, path: Path, source: BufferedReader, status: os.stat_result) -> str:
        version = _Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._tags.get(path)
        if known is not None and known[0] == version:
            return known[1]
        source.seek(0)
        tag = hashlib.file_digest(source, "sha256").hexdigest()
        self._tags[path] = (version, tag)
        return tag


def requested_path(method: str, target: str) -> str:
    """The requested path below the directory. Raises Refusal if the request is not for a file."""
    path = os.fsdecode(unquote_to_bytes(target.partition("?")[0]))
    if path == ROOT:
        raise Refusal(301, "Moved Permanently", {"Location": f"{ROOT}/"})
    if not path.startswith(f"{ROOT}/"):
        raise Refusal(404, "404 page not found")
    if method not in METHODS:
        raise Refusal(405, "Method Not Allowed", {"Allow": ", ".join(METHODS)})
    segments = path.removeprefix(ROOT).split("/")
    if any(".." in segment.split("\\") for segment in segments):
        raise Refusal(400, "invalid URL path")
    return "/".join(segment for segment in segments if segment not in ("", "."))


async def _serve(request: web.Request, file: OpenFile) -> web.StreamResponse:
    tag = {"ETag": file.validators.etag}
    match check(request.headers, file.validators):
        case Verdict.NOT_MODIFIED:
            return web.Response(status=304, headers=tag)
        case Verdict.PRECONDITION_FAILED:
            return web.Response(status=412, headers=tag | {"Last-Modified": file.validators.last_modified()})
        case Verdict.SERVE:
            pass
    headers = tag | {
        "Last-Modified": file.validators.last_modified(),
        "Accept-Ranges": "bytes",
        "Content-Type": file.content_type,
    }
    part = _part(request, file)
    if part is not None:
        headers["Content-Range"] = part.content_range(file.size)
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    part = part or ByteRange(0, file.size)
    response.content_length = part.length
    await response.prepare(request)
    if request.method != "HEAD":
        async for chunk in _chunks(file.source, part):
            await response.write(chunk)
    await response.write_eof()
    return response


def _part(request: web.Request, file: OpenFile) -> ByteRange | None:
    """The requested part; None for the whole file. Raises Refusal."""
    if request.method == "HEAD":  # ranges are defined for GET only
        return None
    try:
        return requested_part(request.headers, file.validators, file.size)
    except UnsatisfiableRange as error:
        headers = {"Content-Range": f"bytes */{file.size}"} if error.no_overlap else {}
        raise Refusal(416, str(error), headers) from error


async def _chunks(source: BufferedReader, part: ByteRange) -> AsyncIterator[bytes]:
    await asyncio.to_thread(source.seek, part.start)
    left = part.length
    while left:
        chunk = await asyncio.to_thread(source.read, min(CHUNK_BYTES, left))
        if not chunk:
            raise ConnectionResetError("the file became shorter while it was sent")
        left -= len(chunk)
        yield chunk


def _open_without_blocking(path: str, flags: int) -> int:
    """Open without blocking, even a FIFO; the caller then refuses files that are not regular."""
    return os.open(path, flags | os.O_NONBLOCK)


def _content_type(path: Path, source: BufferedReader) -> str:
    guessed, encoding = mimetypes.guess_type(path.name)
    if encoding == "gzip":
        return "application/gzip"
    if guessed and not encoding:
        return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
    return _sniff(source.read(SNIFFED_BYTES))


def _sniff(head: bytes) -> str:
    for magic, content_type in MAGIC:
        if head.startswith(magic):
            return content_type
    binary = set(range(0x20)) - set(b"\t\n\x0c\r\x1b")
    return "application/octet-stream" if binary & set(head) else "text/plain; charset=utf-8"


@web.middleware
async def _log_answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    logger.info(
        "file-server.static-file.response",
        extra={
            "data": {
                "method": request.method,
                "uri": request.raw_path,
                "status": response.status,
                "size": response.content_length or 0,
            }
        },
    )
    return response
