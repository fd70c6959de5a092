"""Upload receiver for machines without a Cloud Controller; stores uploads beside the static files.

The paths are those of the Cloud Controller, current and of 2015, plus two of the same form for the inputs of
staging: packages and buildpacks. Received files are served under ``/v1/static/`` and are never removed. With
``async=true`` the response is a job to poll, like the Cloud Controller's.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bbs.embedded.files.jobs import FAILED, FINISHED, QUEUED, RUNNING, Job, UploadJobs

logger = logging.getLogger(__name__)

CHUNK_BYTES: Final = 256 * 1024
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""Name of a droplet, package etc. With its extension it is a file name, limited to 255 bytes."""
MAX_UPLOAD_BYTES: Final = 8 << 30
"""Size limit of one upload; Cloud Foundry's limits are a few GiB."""
INCOMING: Final = ".incoming"
JOBS_FOLDER: Final = ".jobs"
JOBS: Final = "/internal/v4/staging_jobs/{job}"
JOBS_2015: Final = "/staging/jobs/{job}"

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "/internal/v4/droplets/{guid}/upload": ("droplets/{guid}.tgz", JOBS),
    "/internal/v4/buildpack_cache/{stack}/{guid}/upload": ("buildpack_cache/{stack}/{guid}.tgz", JOBS),
    "/internal/v4/packages/{guid}/upload": ("packages/{guid}", JOBS),
    "/internal/v4/buildpacks/{guid}/upload": ("buildpacks/{guid}", JOBS),
    "/staging/droplets/{guid}/upload": ("droplets/{guid}.tgz", JOBS_2015),
    "/staging/buildpack_cache/{guid}/upload": ("buildpack_cache/{guid}.tgz", JOBS_2015),
}
"""Request path -> file below the static directory, and path of the jobs."""

DIGESTS: Final = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
"""Algorithm names in ``Content-Digest`` -> names in hashlib."""


class BadUpload(Exception):
    """An invalid upload; the message says why. Its data is discarded."""


def add_receiving_routes(app: web.Application, static_dir: Path) -> None:
    """Add upload routes to ``app``. ``static_dir`` need not exist yet."""
    receiver = _Receiver(static_dir)
    app.cleanup_ctx.append(receiver.running)
    for path, (file, jobs) in PLACES.items():
        app.router.add_post(path, receiver.handler(file, jobs))
    for path in (JOBS, JOBS_2015):
        app.router.add_get(path, receiver.job, allow_head=False)


@dataclass(frozen=True, slots=True)
class Received:
    """A complete upload that is not in its final place yet. digests: raw, by hashlib name."""

    path: Path
    digests: Mapping[str, bytes]


class _Receiver:
    def __init__(self, static_dir: Path) -> None:
        self._static_dir = static_dir
        self._incoming = static_dir / INCOMING
        self._jobs = UploadJobs(static_dir / JOBS_FOLDER)
        self._group: asyncio.TaskGroup | None = None

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """Remove partial uploads of the previous process; run the jobs of the application.

        Unfinished jobs of the previous process are failed.
        """
        await asyncio.to_thread(shutil.rmtree, self._incoming, True)
        await asyncio.to_thread(self._jobs.load)
        async with asyncio.TaskGroup() as self._group:
            yield

    def handler(self, file: str, jobs: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def receive(request: web.Request) -> web.Response:
            if not all(NAME.fullmatch(name) for name in request.match_info.values()):
                return web.Response(status=404, text="404 page not found\n")
            place = self._static_dir / file.format(**request.match_info)
            try:
                expected = expected_digests(request.headers)
                received = await self._received(request)
                if request.query.get("async") == "true":
                    return self._begin(jobs, place, received, expected)
                await self._keep(place, received, expected)
            except BadUpload as bad:
                return web.Response(status=400, text=f"{bad}\n")
            except OSError as error:
                logger.error("upload.failed", extra={"data": {"file": str(place), "error": str(error)}})
                return web.Response(status=507, text=f"the upload cannot be kept: {error.strerror}\n")
            return web.json_response({"status": "finished"}, status=201)

        return receive

    async def job(self, request: web.Request) -> web.Response:
        """The state of a job."""
        job_id = request.match_info["job"]
        job = self._jobs.get(job_id)
        if job is None:
            return web.Response(status=404, text="there is no such job\n")
        return web.json_response(_document(request.path, job_id, job))

    def _begin(
        self, jobs: str, place: Path, received: Received, expected: Mapping[str, bytes]
    ) -> web.Response:
        if self._group is None:
            raise RuntimeError("jobs run only while the application does")
        job_id = self._jobs.begin()
        self._group.create_task(self._run(job_id, place, received, expected))
        return web.json_response(_document(jobs.format(job=job_id), job_id, Job(QUEUED)), status=201)

    async def _run(self, job_id: str, place: Path, received: Received, expected: Mapping[str, bytes]) -> None:
        try:
            self._jobs.set(job_id, Job(RUNNING))
            await self._keep(place, received, expected)
        except (BadUpload, OSError) as error:
            logger.error("upload-job.failed", extra={"data": {"file": str(place), "error": str(error)}})
            self._jobs.set(job_id, Job(FAILED, str(error)))
        else:
            self._jobs.set(job_id, Job(FINISHED))

    async def _received(self, request: web.Request) -> Received:
        """Store the form's file in a temporary place. Raises BadUpload."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / secrets.token_hex(16)
        try:
            part = await _file_part(request)
            hashes = {name: hashlib.new(name, usedforsecurity=False) for name in DIGESTS.values()}
            with path.open("xb") as file:
                while chunk := await part.read_chunk(CHUNK_BYTES):
                    if file.tell() + len(chunk) > MAX_UPLOAD_BYTES:
                        raise BadUpload(f"the upload is larger than {MAX_UPLOAD_BYTES} bytes")
                    await asyncio.to_thread(file.write, chunk)
                    for each in hashes.values():
                        each.update(chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        except HttpProcessingError as error:
            path.unlink(missing_ok=True)
            raise BadUpload("the upload is not a form: the head of a part is broken or too large") from error
        except (aiohttp.ClientError, ConnectionError, ValueError, AssertionError) as error:
            # aiohttp asserts that a part ends with its boundary
            path.unlink(missing_ok=True)
            raise BadUpload(f"the upload broke off: {error}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, {name: each.digest() for name, each in hashes.items()})

    async def _keep(self, place: Path, received: Received, expected: Mapping[str, bytes]) -> None:
        """Verify the digests and move the file to its place. Raises BadUpload, OSError."""
        try:
            if any(received.digests[name] != digest for name, digest in expected.items()):
                raise BadUpload("content digest did not match")
            await asyncio.to_thread(_move, received.path, place)
        finally:
            with suppress(OSError):
                received.path.unlink(missing_ok=True)


def expected_digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Expected digests of the content, by hashlib name; unknown algorithms are ignored. Raises BadUpload."""
    texts: list[tuple[str, str]] = []
    if md5 := headers.get("Content-MD5"):
        texts.append(("md5", md5))
    for item in headers.get("Content-Digest", "").split(","):
        name, _, value = item.strip().partition("=")
        if name.lower() in DIGESTS:
            texts.append((DIGESTS[name.lower()], value.removeprefix(":").removesuffix(":")))
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in texts}
    except ValueError as error:
        raise BadUpload(f"a content digest is not base64: {error}") from error


async def _file_part(request: web.Request) -> BodyPartReader:
    if not request.content_type.startswith("multipart/"):
        raise BadUpload("expected multipart/form-data with a part `file`")
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.name == "file":
            return part
    raise BadUpload("the form has no part `file`")


def _move(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    source.replace(place)


def _document(url: str, job_id: str, job: Job) -> dict[str, object]:
    """The job document, like the Cloud Controller's, including the failure reason."""
    entity: dict[str, object] = {"guid": job_id, "status": job.status}
    if job.error:
        entity["error_details"] = {"error_code": "UploadFailed", "description": job.error}
    return {"metadata": {"guid": job_id, "url": url}, "entity": entity}
