"""File access in a container's tree from the host, without a process in the container.

The kernel resolves paths with the container's root as the root of everything (``openat2`` with
``RESOLVE_IN_ROOT``), so a symbolic link or ``..`` never leads to the host. The root is
``/proc/<init>/root``, which includes the container's mounts. The descriptor of ``/proc/<init>`` is opened
once: it stays bound to that process even if its pid is reused.

Only regular files are opened for reading. Each is checked through an ``O_PATH`` descriptor, which opens
nothing, and then opened through the same descriptor. A device node of the app would be opened with the
agent's rights.

Calls block as long as the file system does; use them in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from executor.errors import ContainerGone
from executor.openat2 import Resolve, openat2

_TEXT_LIMIT = 256 * 1024
"""Maximum bytes read of a passwd or group file: about five thousand entries, which each process
start parses.
"""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


class NoRegularFile(OSError):
    """The path is a device, a FIFO or a socket instead of a regular file."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EACCES, "not a regular file", path)


class Rootfs:
    """The file tree of one running container; a context manager that holds its root open."""

    def __init__(self, proc_fd: int) -> None:
        """``proc_fd``: descriptor of ``/proc/<init pid>``. Raises ContainerGone if that process has ended."""
        self._proc_fd = proc_fd
        self._maps: dict[str, list[list[int]]] = {}
        try:
            self._root = os.open("root", _DIRECTORY | os.O_CLOEXEC, dir_fd=proc_fd)
        except OSError as error:
            raise ContainerGone(f"root of the container cannot be opened: {error.strerror}") from error

    def __enter__(self) -> Rootfs:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    @property
    def fd(self) -> int:
        """Descriptor of the root directory."""
        return self._root

    @contextmanager
    def _at(self, path: str, flags: int = os.O_PATH) -> Iterator[int]:
        fd = openat2(self._root, path, flags, Resolve.IN_ROOT)
        try:
            yield fd
        finally:
            os.close(fd)

    def open_file(self, path: str) -> int:
        """Open a regular file for reading. Raises NoRegularFile, IsADirectoryError and other OSErrors."""
        with self._at(path) as fd:
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(mode):
                raise NoRegularFile(path)
            return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def read_text(self, path: str) -> str:
        """The first 256 KiB of a regular file; empty if there is none."""
        try:
            data = self.head(path, _TEXT_LIMIT)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, NoRegularFile):
            return ""
        if len(data) == _TEXT_LIMIT:
            data = data[: data.rfind(b"\n") + 1]
        return data.decode("utf-8", "surrogateescape")

    def head(self, path: str, count: int) -> bytes:
        """The first ``count`` bytes of a regular file. Raises OSError."""
        with open(self.open_file(path), "rb", buffering=0) as file:
            return file.read(count)

    def stat(self, path: str) -> os.stat_result | None:
        """Status of ``path``, following links; None if it does not exist."""
        try:
            with self._at(path) as fd:
                return os.fstat(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_dirs(self, path: str, uid: int, gid: int) -> None:
        """Create ``path`` and its missing parents, mode 0755, owned by the container's ``uid`` and ``gid``.

        Concurrent creation is allowed. Raises NotADirectoryError if a part of the path is not a directory.
        """
        uid, gid = self.host_ids(uid, gid)
        done = "/"
        for name in (part for part in path.split("/") if part not in ("", ".")):
            below = os.path.join(done, name)
            try:
                with self._at(below, _DIRECTORY):
                    pass
            except FileNotFoundError:
                self._make_dir(done, name, uid, gid)
            done = below

    def _make_dir(self, above: str, name: str, uid: int, gid: int) -> None:
        with self._at(above, _DIRECTORY) as parent:
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:  # created meanwhile, or a broken link
                self._require_directory(os.path.join(above, name))
                return
            # By descriptor: a process of the container may replace it with a link meanwhile.
            made = openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, Resolve.BENEATH)
            try:
                os.fchown(made, uid, gid)
                os.fchmod(made, 0o755)  # independent of the agent's umask
            finally:
                os.close(made)

    def _require_directory(self, path: str) -> None:
        try:
            with self._at(path, _DIRECTORY):
                pass
        except FileNotFoundError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error

    def host_ids(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's uid and gid for those of the container (they differ in a user namespace)."""
        return self._mapped("uid_map", uid), self._mapped("gid_map", gid)

    def _mapped(self, table: str, number: int) -> int:
        for inside, outside, count in self._map(table):
            if inside <= number < inside + count:
                return outside + number - inside
        return number

    def _map(self, table: str) -> list[list[int]]:
        if table not in self._maps:
            fd = os.open(table, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc_fd)
            with open(fd, encoding="ascii") as lines:
                self._maps[table] = [[int(field) for field in line.split()] for line in lines]
        return self._maps[table]
