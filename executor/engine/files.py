"""Files into and out of containers, through the engine's archive calls; nothing is buffered whole.

The engine unpacks as root with the owners that the archive names, and needs an existing target. So the
archive is rewritten on its way: every member gets the user's numbers, and directories the archive only
implies are added. Members go in relative to the container's root, for the engine refuses relative links
that leave the directory it unpacks at.

What an archive may become is counted here too, whoever made it: see :mod:`executor.cache.limits`.
"""

from __future__ import annotations

import asyncio
import copy
import posixpath
import tarfile
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from executor.cache.api import ArchiveError
from executor.cache.limits import ArchiveLimits, Budget
from executor.cache.tars import reading
from executor.engine.api import EngineContainer
from executor.engine.rootfs import Rootfs
from executor.engine.streams import Streams
from executor.engine.users import User, resolve_user
from executor.errors import EngineError

_CHUNK = 256 * 1024
_END = b"\0" * (2 * tarfile.BLOCKSIZE)


async def stream_in(
    streams: Streams,
    container: EngineContainer,
    proc_fd: int,
    path: str,
    user_name: str,
    tar_path: Path,
    limits: ArchiveLimits,
) -> None:
    """Unpack ``tar_path`` at ``path``. Raises EngineError; cancelled, it ends at once.

    Without a ``user_name`` members keep their owners, and what has none belongs to root.
    """
    packing = _Packing(proc_fd, path, user_name, tar_path, limits)
    asked = f"stream into {path} of container {container.guid}"
    try:
        await packing.begin()
        await streams.send(container.guid, asked, _archive(container), {"path": "/"}, packing)
    except EngineError:
        if packing.error is not None:
            raise packing.error from None
        raise
    finally:
        await packing.close()


class _Packing:
    """The archive as the engine gets it, block by block. Each block is made in a thread."""

    def __init__(
        self, proc_fd: int, path: str, user_name: str, tar_path: Path, limits: ArchiveLimits
    ) -> None:
        self.error: EngineError | None = None
        """Why there is no next block."""
        self._budget = Budget(limits, 0)
        self._blocks = packed(proc_fd, path, user_name, tar_path, self._budget)
        self._first = b""
        self._making: asyncio.Future[bytes] | None = None

    async def begin(self) -> None:
        """Make the first block: what is refused at once never reaches the engine. Raises EngineError."""
        self._first = await self._next()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        block, self._first = self._first or await self._next(), b""
        if not block:
            raise StopAsyncIteration
        return block

    async def _next(self) -> bytes:
        loop = asyncio.get_running_loop()
        self._making = loop.run_in_executor(None, next, self._blocks, b"")
        try:
            return await asyncio.shield(self._making)
        except EngineError as error:
            self.error = error
            raise

    async def close(self) -> None:
        """Stop, at the next member or chunk at the latest, and let go of the files."""
        self._budget.revoked.set()
        if self._making is not None:
            await asyncio.wait({self._making})
            if not self._making.cancelled():
                self._making.exception()
        self._blocks.close()


def packed(
    proc_fd: int, path: str, user_name: str, tar_path: Path, budget: Budget
) -> Generator[bytes, None, None]:
    """The archive for the engine, in blocks of some size. Blocks. Raises EngineError."""
    with Rootfs(proc_fd) as root:
        user = resolve_user(user_name, root.read_text("/etc/passwd"), root.read_text("/etc/group"))
        target = posixpath.normpath(posixpath.join("/", user.home, path))
        try:
            root.make_dirs(target, user.uid, user.gid)
        except OSError as error:
            raise EngineError(f"directory {target}: {error.strerror}") from error
        try:
            budget.packed_bytes = tar_path.stat().st_size
            with reading(tar_path) as archive:
                keep = not user_name
                yield from _joined(rewritten(archive, root, target, user, budget, keep_owners=keep))
        except (tarfile.TarError, EOFError) as error:
            raise EngineError(f"{tar_path} is not a proper archive: {error}") from error
        except ArchiveError as error:
            raise EngineError(str(error)) from error
        except OSError as error:
            raise EngineError(f"{tar_path}: {error.strerror}") from error


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same in blocks of one chunk and more."""
    block = bytearray()
    for part in parts:
        block += part
        if len(block) >= _CHUNK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def rewritten(
    archive: tarfile.TarFile,
    root: Rootfs,
    target: str,
    user: User,
    budget: Budget,
    *,
    keep_owners: bool = False,
) -> Iterator[bytes]:
    """The archive's bytes anew, for unpacking at the container's root. Raises EngineError, ArchiveError.

    A directory that exists in the container keeps its owner and mode. ``user`` owns everything, or only
    what the archive has no owner for.
    """
    names = _Names()
    for member in archive:
        budget.take_member(member.name)
        budget.take_depth(member.name.count("/"), member.name)
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
                budget.take_bytes(len(chunk))
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
    streams: Streams, container: EngineContainer, path: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The tar of ``path``, read as root. Raises EngineError, on entry when there is no such path."""
    asked = f"stream {path} out of container {container.guid}"
    async with streams.receive(container.guid, asked, _archive(container), {"path": path}) as chunks:
        yield chunks


def _archive(container: EngineContainer) -> str:
    return f"/containers/{container.id}/archive"
