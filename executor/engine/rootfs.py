"""Look-ups inside a container's file tree from the host, without a process in the container.

Paths are resolved by the kernel with the container's root as the root of everything (``openat2`` with
``RESOLVE_IN_ROOT``), so a symbolic link or ``..`` never leads out to the host. The root is reached through
``/proc/<init>/root``, which includes the container's mounts. The descriptor of ``/proc/<init>`` is opened
once: it stays bound to that very process even if its number is used again.

Calls block for as long as the file system does; use them in a thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from executor.engine.faults import ContainerGone

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)

_TEXT_LIMIT = 256 * 1024
"""Bytes read of a passwd or group file at most: some five thousand entries, which each start of a process
has to go through."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(dir_fd: int, path: str, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    for _ in range(8):  # EAGAIN: a rename elsewhere raced with the look-up
        fd = int(
            _libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(dir_fd),
                ctypes.c_char_p(os.fsencode(path)),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EAGAIN:
            raise OSError(code, os.strerror(code), path)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


class Rootfs:
    """The file tree of one running container; a context manager that holds its root open."""

    def __init__(self, proc_fd: int) -> None:
        """``proc_fd``: descriptor of ``/proc/<init pid>``. Raises ContainerGone when that process ended."""
        self._proc_fd = proc_fd
        try:
            self._root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc_fd)
        except OSError as error:
            raise ContainerGone(f"root of the container cannot be opened: {error.strerror}") from error

    def __enter__(self) -> Rootfs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._root)

    @contextmanager
    def _open(self, path: str, flags: int) -> Iterator[int]:
        fd = _openat2(self._root, path, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def read_text(self, path: str) -> str:
        """Content of a regular file; empty when there is none."""
        try:
            with self._open(path, os.O_RDONLY | os.O_NONBLOCK) as fd:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return ""
                data = os.read(fd, _TEXT_LIMIT)
                if len(data) == _TEXT_LIMIT:
                    data = data[: data.rfind(b"\n") + 1]
                return data.decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def head(self, path: str, count: int) -> bytes:
        """The first ``count`` bytes of a file. Raises OSError."""
        with self._open(path, os.O_RDONLY | os.O_NONBLOCK) as fd:
            return os.read(fd, count)

    def stat(self, path: str) -> os.stat_result | None:
        """Status of what ``path`` leads to, links followed; None when nothing is there."""
        try:
            with self._open(path, os.O_PATH) as fd:
                return os.fstat(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_dirs(self, path: str, uid: int, gid: int) -> None:
        """Make ``path`` and its missing parents, mode 0755, owned by the container's ``uid`` and ``gid``.

        Raises NotADirectoryError when something else is in the way.
        """
        uid, gid = self.host_ids(uid, gid)
        done = "/"
        for name in (part for part in path.split("/") if part not in ("", ".")):
            below = os.path.join(done, name)
            try:
                with self._open(below, os.O_PATH | os.O_DIRECTORY):
                    pass
            except FileNotFoundError:
                with self._open(done, os.O_PATH | os.O_DIRECTORY) as parent:
                    try:
                        os.mkdir(name, 0o755, dir_fd=parent)
                    except FileExistsError as error:  # a link that leads nowhere
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), below) from error
                    # By descriptor: a process of the container may put a link in its place meanwhile.
                    made = _openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                    try:
                        os.fchown(made, uid, gid)
                        os.fchmod(made, 0o755)  # whatever the agent's umask is
                    finally:
                        os.close(made)
            done = below

    def host_ids(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's numbers of a user and a group of the container (they differ in a user namespace)."""
        return self._mapped("uid_map", uid), self._mapped("gid_map", gid)

    def _mapped(self, table: str, number: int) -> int:
        with open(
            os.open(table, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc_fd), encoding="ascii"
        ) as lines:
            for line in lines:
                inside, outside, count = (int(field) for field in line.split())
                if inside <= number < inside + count:
                    return outside + number - inside
        return number
