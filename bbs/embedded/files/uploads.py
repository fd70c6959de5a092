"""Upload proxy: passes droplets and build artifacts from cells on to the Cloud Controller.

``POST /v1/droplet/GUID`` and ``POST /v1/build_artifacts/GUID`` contain the Cloud Controller's address in a
query parameter. The body is streamed as the only part of a form. Droplet uploads are asynchronous: the Cloud
Controller returns a job, which is polled until it ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from bbs.models.text import whole_number
from bbs.serving.access import LOCALHOST
from common.reading import beginning

logger = logging.getLogger(__name__)

POLLING_INTERVAL_S: Final = 1.0
DEFAULT_TIMEOUT_S: Final = 300
"""Timeout of a whole transfer, including the wait for its job."""
LONGEST_TIMEOUT_S: Final = 24 * 3600
DIAL_TRIES: Final = 3
DIAL_TIMEOUT_S: Final = 30.0
CHUNK_BYTES: Final = 256 * 1024
ANSWER_BYTES: Final = 64 * 1024
RECEIVING: Final = ("/internal/v4/", "/staging/")
"""Path prefixes of the uploads that this server receives itself (``received``)."""
FORWARDED_HEADERS: Final = ("Content-MD5", "Content-Digest")
UNFINISHED: Final = frozenset({"queued", "running"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of upload.

    parameter: name of the query parameter.
    success: response status to the cell.
    asynchronous: the upload ends with a job.
    """

    path: str
    parameter: str
    file_name: str
    success: int
    asynchronous: bool


DROPLET: Final = Kind("/v1/droplet/{guid}", "cc-droplet-upload-uri", "droplet.tgz", 201, True)
BUILD_ARTIFACTS: Final = Kind(
    "/v1/build_artifacts/{guid}", "cc-build-artifacts-upload-uri", "buildpack_cache.tgz", 200, False
)


class UploadFailed(Exception):
    """A failed upload: status and text of the response to the cell."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Upload:
    """A valid upload request. length: bytes of the body."""

    target: URL
    timeout_s: int
    length: int


def add_upload_routes(
    app: web.Application, *, polling_interval_s: float = POLLING_INTERVAL_S, hosts: Collection[str] = ()
) -> None:
    """Add the upload routes to ``app``.

    hosts: ``host:port`` of allowed targets, in addition to this server."""
    uploads = _Uploads(polling_interval_s, hosts)
    app.cleanup_ctx.append(uploads.session)
    for kind in (DROPLET, BUILD_ARTIFACTS):
        app.router.add_post(kind.path, uploads.handler(kind))


def parse_upload(kind: Kind, query: Mapping[str, str], length: int | None) -> Upload:
    """Parse a request. Raises UploadFailed."""
    text = query.get(kind.parameter, "")
    if not text:
        raise UploadFailed(400, f"missing {kind.parameter} parameter")
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("an http or https URL with a host was expected")
    except ValueError as error:
        raise UploadFailed(400, f'parse "{text}": {error}') from error
    seconds = query.get("timeout") or str(DEFAULT_TIMEOUT_S)
    timeout_s = whole_number(seconds, LONGEST_TIMEOUT_S)
    if timeout_s is None:
        raise UploadFailed(400, f"timeout {seconds[:40]!r} is no number of seconds up to {LONGEST_TIMEOUT_S}")
    if length is None:
        raise UploadFailed(411, "Missing Content Length")
    return Upload(url.update_query({"async": "true"}) if kind.asynchronous else url, timeout_s, length)


class _Uploads:
    def __init__(self, polling_interval_s: float, hosts: Collection[str]) -> None:
        self._polling_interval_s = polling_interval_s
        self._hosts = frozenset(hosts)
        self._session: aiohttp.ClientSession | None = None

    async def session(self, _: web.Application) -> AsyncIterator[None]:
        """The client session to the Cloud Controller while the application runs."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_S)
        async with aiohttp.ClientSession(
            timeout=limits,
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as self._session:
            yield

    def handler(self, kind: Kind) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def upload(request: web.Request) -> web.Response:
            data = {"uri": request.path, "size": request.content_length or 0}
            try:
                await self.forward(kind, request)
            except UploadFailed as failure:
                logger.error("uploader.failed", extra={"data": data | {"error": str(failure)}})
                return web.Response(status=failure.status, text=f"{failure}\n")
            logger.info("uploader.done", extra={"data": data})
            return web.Response(status=kind.success)

        return upload

    async def forward(self, kind: Kind, request: web.Request) -> None:
        """Raises UploadFailed."""
        upload = parse_upload(kind, request.query, request.content_length)
        self._check_target(upload.target, request)
        try:
            async with asyncio.timeout(upload.timeout_s):
                body = await self._post(kind, upload, request)
                if kind.asynchronous:
                    await self._finished(upload.target, body, request)
        except TimeoutError as error:
            raise UploadFailed(500, f"upload not over after {upload.timeout_s} seconds") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UploadFailed(500, f'Post "{_shown(upload.target)}": {error}') from error

    async def _post(self, kind: Kind, upload: Upload, request: web.Request) -> bytes:
        boundary = secrets.token_hex(30)
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{kind.file_name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        headers = {name: request.headers[name] for name in FORWARDED_HEADERS if name in request.headers}
        headers |= {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + upload.length + len(end)),
        }
        for attempt in range(1, DIAL_TRIES + 1):
            try:
                async with self._http.post(
                    upload.target, data=_form(head, request, end), headers=headers, allow_redirects=False
                ) as response:
                    body = await beginning(response.content.read, ANSWER_BYTES)
                    _check_status(response.status, body)
                    return body
            except aiohttp.ClientConnectorError as error:
                # A retry is possible: nothing of the body has been read yet.
                if attempt == DIAL_TRIES:
                    raise
                logger.info(
                    "uploader.dial-failed", extra={"data": {"to": _shown(upload.target), "error": str(error)}}
                )
        raise AssertionError("the last attempt either returned or raised")

    def _check_target(self, url: URL, request: web.Request) -> None:
        """Allow only this server and configured hosts. Raises UploadFailed."""
        own = request.transport.get_extra_info("sockname") if request.transport is not None else None
        if f"{url.host}:{url.port}" in self._hosts or (own is not None and _is_own(url, own)):
            return
        raise UploadFailed(
            403, f'uploads to "{_shown(url)}" are not allowed: this server passes them on to itself only'
        )

    async def _finished(self, uploaded_to: URL, body: bytes, request: web.Request) -> None:
        """Wait until the job ends."""
        while True:
            url, status = _job(body)
            if status == "finished":
                return
            if status == "failed":
                logger.info("uploader.job-failed", extra={"data": {"error": _failure(body)}})
                raise UploadFailed(500, "upload job failed")
            if status not in UNFINISHED:
                raise UploadFailed(500, f"unknown job status: {status}")
            await asyncio.sleep(self._polling_interval_s)
            job_url = _resolved(uploaded_to, url)
            self._check_target(job_url, request)
            async with self._http.get(job_url, allow_redirects=False) as response:
                body = await beginning(response.content.read, ANSWER_BYTES)
                _check_status(response.status, body)

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("uploads are served only while the application runs")
        return self._session


def _is_own(url: URL, own: tuple[str, int]) -> bool:
    """Whether a URL is an address of this server's upload or job routes."""
    if url.port != own[1] or not url.path.startswith(RECEIVING):
        return False
    here = ip_address(own[0])
    if url.host == LOCALHOST:
        return here.is_loopback
    try:
        return ip_address(url.host or "") == here
    except ValueError:
        return False


async def _form(head: bytes, request: web.Request, end: bytes) -> AsyncIterator[bytes]:
    yield head
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        yield chunk
    yield end


def _check_status(status: int, body: bytes) -> None:
    """Raises UploadFailed with the Cloud Controller's response text."""
    if status not in (200, 201):
        raise UploadFailed(status, f"status code: {status}\n{body.decode(errors='replace')}")


def _failure(body: bytes) -> str:
    """Why a job failed, empty if its document does not say."""
    try:
        return str(json.loads(body)["entity"]["error_details"]["description"])
    except (ValueError, LookupError, TypeError):
        return ""


def _job(body: bytes) -> tuple[str, str]:
    """URL and status in a job document."""
    try:
        document = json.loads(body)
        return str(document["metadata"]["url"]), str(document["entity"]["status"])
    except (ValueError, KeyError, TypeError) as error:
        raise UploadFailed(500, f"the Cloud Controller's answer is no upload job: {error!r}") from error


def _resolved(uploaded_to: URL, url: str) -> URL:
    """The job's URL. A relative one is resolved against the upload's host and credentials."""
    found = URL(url)
    if found.absolute:
        return found
    return uploaded_to.join(found).with_user(uploaded_to.user).with_password(uploaded_to.password)


def _shown(url: URL) -> URL:
    """The URL without credentials and query."""
    return url.with_user(None).with_query(None)
