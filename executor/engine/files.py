"""Copies of files into and out of containers, through the container's own file tree.

The tree is ``/proc/<init>/root``: with its mounts, volumes and temporary file systems, as a process in the
container sees it. (Docker's archive calls see none of these, handle one archive per container at a time,
and block the removal of the container meanwhile.) The thread of a copy has the rights of the copy's user,
see :mod:`executor.engine.filerights`. Paths never leave the container, see :mod:`executor.engine.rootfs`.

Every unpacked archive is subject to the limits of :mod:`executor.cache.limits`.
"""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from executor.cache.api import ArchiveError
from executor.cache.limits import ArchiveLimits, Budget
from executor.cache.unpacking import Rules, Unpacking
from executor.engine.filerights import become, drop_capabilities
from executor.engine.rootfs import NoRegularFile, Rootfs
from executor.engine.users import User, further_groups, resolve_user
from executor.errors import EngineError, FileTooLarge, NoSuchFile
from executor.reasons import reason_of

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_NO_UMASK = 0o7777


def unpack(
    proc_fd: int, path: str, user_name: str, tar_path: Path, limits: ArchiveLimits, revoked: threading.Event
) -> None:
    """Unpack ``tar_path`` at ``path``, in a dedicated thread. Raises EngineError.

    Without a ``user_name`` members keep their owners and modes, as in an image layer.
    """
    with Rootfs(proc_fd) as root:
        user, groups = _user(root, user_name)
        target = absolute(user, path)
        budget = Budget(limits, 0, revoked)
        rules = Rules() if user_name else Rules(mode_mask=_NO_UMASK, owner=_owner(root))
        with _archive(tar_path) as tar:
            budget.packed_bytes = os.fstat(tar.fileno()).st_size
            with _errors(target):
                _act_as(root, user, groups)
                root.make_dirs(target, user.uid, user.gid)
                if user.uid:
                    drop_capabilities()
                with Unpacking(tar.fileno(), root.fd, target, budget, rules) as unpacking:
                    unpacking.run()


def copy_out(
    proc_fd: int, path: str, user_name: str, target: BinaryIO, limit: int, revoked: threading.Event
) -> int:
    """Copy a file's content to the empty file ``target``, in a dedicated thread; return its size in bytes.

    A directory has size 0. Zeros become holes, so a sparse file stays sparse. Raises NoSuchFile,
    FileTooLarge, EngineError.
    """
    with Rootfs(proc_fd) as root:
        user, groups = _user(root, user_name)
        source = absolute(user, path)
        with _errors(source):
            _act_as(root, user, groups)
            if user.uid:
                drop_capabilities()
            fd = _opened(root, source)
            if fd is None:
                return 0
            with open(fd, "rb", buffering=0) as file:
                _refuse_large(os.fstat(fd).st_size, limit, source)
                return _copied(file, target, limit, source, revoked)


def _copied(file: BinaryIO, target: BinaryIO, limit: int, source: str, revoked: threading.Event) -> int:
    size = hole = 0
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        _refuse_large(size, limit, source)
        if revoked.is_set():
            raise EngineError(f"{source}: the copy was ended")
        if chunk == _ZEROS[: len(chunk)]:
            hole += len(chunk)
        else:
            target.seek(hole, os.SEEK_CUR)
            target.write(chunk)
            hole = 0
    if hole:
        target.seek(hole - 1, os.SEEK_CUR)
        target.write(b"\0")
    return size


def _refuse_large(size: int, limit: int, source: str) -> None:
    if size > limit:
        raise FileTooLarge(f"{source}: more than {limit} bytes")


def _opened(root: Rootfs, source: str) -> int | None:
    """Descriptor of a file, None for a directory. Raises NoSuchFile (also if the user may not read it),
    OSError.
    """
    try:
        return root.open_file(source)
    except IsADirectoryError:
        return None
    except (FileNotFoundError, NotADirectoryError, PermissionError, NoRegularFile) as error:
        raise NoSuchFile(f"{source}: {reason_of(error)}") from error


def absolute(user: User, path: str) -> str:
    """Absolute path in the container; a relative path starts at the user's home. Pure."""
    return posixpath.normpath(posixpath.join("/", user.home, path))


def _user(root: Rootfs, name: str) -> tuple[User, tuple[int, ...]]:
    """The user and its supplementary groups. Raises ProcessStartError for an unknown user."""
    passwd, group = root.read_text("/etc/passwd"), root.read_text("/etc/group")
    return resolve_user(name, passwd, group), further_groups(name, passwd, group)


def _act_as(root: Rootfs, user: User, groups: tuple[int, ...]) -> None:
    uid, gid = root.host_ids(user.uid, user.gid)
    become(uid, gid, [root.host_ids(0, group)[1] for group in groups])


def _owner(root: Rootfs) -> Callable[[int, int], tuple[int, int]]:
    def on_host(uid: int, gid: int) -> tuple[int, int]:
        if not (0 <= uid < (1 << 32) - 1 and 0 <= gid < (1 << 32) - 1):
            raise ArchiveError(f"archive refused: there is no owner {uid}:{gid}")
        return root.host_ids(uid, gid)

    return on_host


@contextmanager
def _archive(path: Path) -> Iterator[BinaryIO]:
    """Open the tar on the host. Its host path is hidden from the app's owner. Raises EngineError."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise EngineError(f"the archive cannot be read: {reason_of(error)}") from error
    with file:
        yield file


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Convert errors at a path of the container to EngineError."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        if where.startswith("/proc/self/fd/"):
            where = path
        raise EngineError(f"{where}: {reason_of(error)}") from error
    except ArchiveError as error:
        raise EngineError(str(error)) from error
