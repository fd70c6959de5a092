"""Files into and out of containers, through the engine's archive calls; nothing is buffered whole.

The engine unpacks as root with the owners that the archive names, and needs an existing target. So the
archive is rewritten on its way: every member gets the user's numbers, and directories the archive only
implies are added. Members go in relative to the container's root, for the engine refuses relative links
that leave the directory it unpacks at.
"""

from __future__ import annotations

import asyncio
import copy
import posixpath
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from docker import APIClient
from docker.errors import create_api_error_from_http_exception
from requests import Response
from requests.exceptions import HTTPError

from executor.engine.api import EngineContainer
from executor.engine.client import EngineClient
from executor.engine.rootfs import Rootfs
from executor.engine.users import User, resolve_user
from executor.errors import EngineError

_CHUNK = 256 * 1024
_END = b"\0" * (2 * tarfile.BLOCKSIZE)


def stream_in(
    api: APIClient, container_id: str, proc_fd: int, path: str, user_name: str, tar_path: Path
) -> None:
    """Unpack ``tar_path`` at ``path``. Blocks. Raises EngineError or the SDK's errors.

    Without a ``user_name`` members keep their owners, and what has none belongs to root.
    """
    with Rootfs(proc_fd) as root:
        user = resolve_user(user_name, root.read_text("/etc/passwd"), root.read_text("/etc/group"))
        target = posixpath.normpath(posixpath.join("/", user.home, path))
        try:
            root.make_dirs(target, user.uid, user.gid)
        except OSError as error:
            raise EngineError(f"directory {target}: {error.strerror}") from error
        try:
            with tarfile.open(tar_path, "r:*") as archive:
                keep = not user_name
                api.put_archive(container_id, "/", rewritten(archive, root, target, user, keep_owners=keep))
        except (tarfile.TarError, EOFError) as error:
            raise EngineError(f"{tar_path} is not a proper archive: {error}") from error
        except FileNotFoundError as error:
            raise EngineError(f"{tar_path}: {error.strerror}") from error


def rewritten(
    archive: tarfile.TarFile, root: Rootfs, target: str, user: User, *, keep_owners: bool = False
) -> Iterator[bytes]:
    """The archive's bytes anew, for unpacking at the container's root. Raises EngineError.

    A directory that exists in the container keeps its owner and mode. ``user`` owns everything, or only
    what the archive has no owner for.
    """
    names = _Names()
    for member in archive:
        name = names.accept(member)
        if not name:
            continue
        for parent in reversed(_parents(name)):
            if names.is_new(parent) and root.stat(posixpath.join(target, parent)) is None:
                yield _header(_directory(posixpath.join(target, parent), member, user))
        names.add(name)
        full = posixpath.join(target, name)
        if member.isdir() and root.stat(full) is not None:
            continue
        content = archive.extractfile(member) if member.isreg() else None
        owner = (member.uid, member.gid) if keep_owners else (user.uid, user.gid)
        yield _header(_owned(member, full, target, owner))
        if content is not None:
            size = 0
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                yield chunk
            yield b"\0" * (-size % tarfile.BLOCKSIZE)
    yield _END


class _Names:
    """Members seen so far, and which of them are refused."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._links: set[str] = set()

    def accept(self, member: tarfile.TarInfo) -> str:
        """The member's clean relative name, empty for the target itself. Raises EngineError."""
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise EngineError(f"archive member {member.name!r} refused: it leads out of the target directory")
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise EngineError(f"archive member {member.name!r} refused: neither file, directory nor link")
        name = posixpath.normpath(member.name)
        if name == ".":
            return ""
        if not self._links.isdisjoint(_parents(name)):
            raise EngineError(f"archive member {member.name!r} refused: it lies behind a link of the archive")
        if member.islnk() and posixpath.normpath(member.linkname) not in self._seen:
            raise EngineError(
                f"archive member {member.name!r} refused: hard link to {member.linkname!r} elsewhere"
            )
        if member.issym():
            self._links.add(name)
        else:
            self._links.discard(name)
        return name

    def is_new(self, name: str) -> bool:
        """Whether ``name`` was not seen before; it counts as seen now."""
        new = name not in self._seen
        self._seen.add(name)
        return new

    def add(self, name: str) -> None:
        self._seen.add(name)


def _parents(name: str) -> list[str]:
    """Directories above a relative name, nearest first."""
    parents = []
    while name := posixpath.dirname(name):
        parents.append(name)
    return parents


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")


def _owned(member: tarfile.TarInfo, full: str, target: str, owner: tuple[int, int]) -> tarfile.TarInfo:
    linked = member.linkname
    if member.islnk():
        linked = posixpath.join(target, posixpath.normpath(linked)).lstrip("/")
    owned = copy.copy(member)
    owned.name, owned.linkname = full.lstrip("/"), linked
    (owned.uid, owned.gid), owned.uname, owned.gname = owner, "", ""
    owned.pax_headers = {}
    if member.isreg():
        owned.type = tarfile.REGTYPE  # sparse members arrive expanded
    return owned


def _directory(full: str, like: tarfile.TarInfo, user: User) -> tarfile.TarInfo:
    made = tarfile.TarInfo(full.lstrip("/"))
    made.type, made.mode, made.mtime = tarfile.DIRTYPE, 0o755, like.mtime
    made.uid, made.gid = user.uid, user.gid
    return made


@asynccontextmanager
async def stream_out(
    client: EngineClient, container: EngineContainer, path: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The tar of ``path``, read as root. Raises EngineError, on entry when there is no such path."""
    asked = f"stream {path} out of container {container.guid}"
    response = await client.call(asked, lambda api: _archive_of(api, container.id, path))
    parts: Iterator[bytes] = response.iter_content(_CHUNK)

    async def read() -> AsyncIterator[bytes]:
        while (chunk := await client.call(asked, lambda _: next(parts, None))) is not None:
            yield chunk

    try:
        yield read()
    finally:
        await asyncio.to_thread(response.close)


def _archive_of(api: APIClient, container_id: str, path: str) -> Response:
    """The engine's answer as it comes in; the SDK's own call has no way to end it early."""
    response = api.get(
        f"{api.base_url}/v{api.api_version}/containers/{container_id}/archive",
        params={"path": path},
        headers={"Accept-Encoding": "identity"},
        stream=True,
        timeout=api.timeout,
    )
    try:
        response.raise_for_status()
    except HTTPError as error:
        with response:
            create_api_error_from_http_exception(error)
    return response
