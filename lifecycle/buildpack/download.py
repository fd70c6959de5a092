"""Download of custom buildpacks: zip archives over HTTP, everything else with the image's git."""

from __future__ import annotations

import base64
import os
import random
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import IO

from common.gotext import format_size, quote
from common.gourl import URL, URLError, parse, resolve
from common.imagetls import client_context
from lifecycle.buildpack.buildpacks import BuildError, Buildpack
from lifecycle.buildpack.scripts import ScriptError, run_tool_quietly
from lifecycle.http import TransportError, check_complete, request
from lifecycle.system import LookError, look_path

ATTEMPTS = 4
FIRST_PAUSE = 0.5
"""Seconds to wait after the first failed attempt; each further wait is twice as long."""
JITTER = 0.2
TIME_LIMIT = 600.0
"""Limit of one attempt, in seconds."""
MAX_REDIRECTS = 10
NO_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError)
"""The exceptions of a broken archive; which one depends on the place of the damage."""
_CHUNK_BYTES = 1 << 20


def download(buildpack: Buildpack, verify: bool) -> None:
    """Download a custom buildpack to its directory. Raises BuildError."""
    url = parse(buildpack.key)
    target = buildpack.folder / buildpack.hash
    if url.path.endswith(".zip"):
        _download_zip(buildpack.key, url, target, verify)
    else:
        _clone(url, target)


def _download_zip(key: str, url: URL, target: Path, verify: bool) -> None:
    with tempfile.NamedTemporaryFile(prefix=Path(url.path).name, dir=os.environ.get("TMPDIR")) as archive:
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            archive.seek(0)
            archive.truncate()
            try:
                _fetch(url, archive, verify)
                break
            except BuildError as error:
                time.sleep(pause + random.uniform(0, JITTER))
                pause *= 2
                if attempt == ATTEMPTS:
                    raise BuildError(f"Failed to download buildpack '{key}': {error}") from error
        archive.flush()
        try:
            extract(archive, target)
        except (*NO_ARCHIVE, OSError, NotImplementedError, RuntimeError, ValueError) as error:
            words = f"{archive.name} is not a usable zip archive: {error}"
            raise BuildError(f"Failed to extract buildpack '{key}': {words}") from error
        print(f"Downloaded buildpack `{key}` ({format_size(archive.seek(0, os.SEEK_END))})", flush=True)


def _fetch(url: URL, into: IO[bytes], verify: bool) -> None:
    """One download attempt. Raises BuildError."""
    deadline = time.monotonic() + TIME_LIMIT
    for _ in range(MAX_REDIRECTS):
        shown = url.without_user() if url.user is None else url.redacted()
        failed = f"Get {quote(str(shown))}: "
        headers = {"User-Agent": "diego-cell", "Accept-Encoding": "identity"}
        if url.user is not None:
            pair = f"{url.user}:{url.password or ''}".encode("latin-1")
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        context = client_context(verify) if url.scheme == "https" else None
        try:
            with request("GET", url.without_user(), headers, None, context, TIME_LIMIT) as answer:
                location = answer.getheader("Location")
                if answer.status in (301, 302, 303, 307, 308) and location:
                    url = resolve(url, location)
                    continue
                if answer.status != 200:
                    raise BuildError(f"Download failed: Status code {answer.status}")
                while chunk := answer.read(_CHUNK_BYTES):
                    into.write(chunk)
                    if time.monotonic() > deadline:
                        raise TransportError("context deadline exceeded")
                check_complete(answer)
                return
        except (TransportError, URLError) as error:
            raise BuildError(f"{failed}{error}") from error
    raise BuildError(f"Get {quote(str(url.without_user()))}: stopped after {MAX_REDIRECTS} redirects")


def extract(archive: IO[bytes], target: Path) -> None:
    """Unpack a zip archive with its file modes.

    Raises BadZipFile, OSError; ValueError for a name that leads outside ``target``.
    """
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            path = target / member.filename
            if not Path(os.path.normpath(path)).is_relative_to(target):
                raise ValueError(f"{member.filename}: illegal file path")
            mode = member.external_attr >> 16
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.resolve() != path.parent.absolute() and not path.parent.resolve().is_relative_to(
                target.resolve()
            ):
                raise ValueError(f"{member.filename}: illegal file path")
            if path.is_symlink():  # a repeated name must not write through a symbolic link
                path.unlink()
            if stat.S_ISLNK(mode):
                path.symlink_to(members.read(member).decode("utf-8", "surrogateescape"))
                continue
            with members.open(member) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out)
            if mode:
                path.chmod(stat.S_IMODE(mode))


def _clone(url: URL, target: Path) -> None:
    branch = url.fragment
    url.fragment = ""
    try:
        look_path("git", os.environ)
    except LookError as error:
        raise BuildError(str(error)) from error
    where = [str(url), str(target), *(["-b", branch] if branch else [])]
    for depth in (["--depth", "1"], []):
        shutil.rmtree(target, ignore_errors=True)
        try:
            run_tool_quietly("git", "clone", *depth, "--recursive", *where)
            return
        except ScriptError:
            continue
    raise BuildError(f"Failed to clone git repository at {url}")
