"""Safe unpacking of a tar into a directory of the download cache or of a container.

The kernel resolves every path. A link from the archive is followed as long as it stays in the destination.
An older link is followed inside ``root``, which is a container's root directory. A process that writes to
the destination meanwhile can only make the unpacking fail. Blocks.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from executor.cache.api import ArchiveError
from executor.cache.limits import Budget
from executor.cache.tars import Kind, Member, members
from executor.openat2 import Resolve, openat2

T = TypeVar("T")

_CHUNK = 1 << 20
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 8
_TIME_LIMIT = (1 << 33) * 1_000_000_000
"""ns before and after 1970, that is 272 years: the range that every file system accepts."""

PERMISSIONS = 0o755
"""Mode bits that are kept: umask 022, without set-user-id, set-group-id and sticky bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How members become files.

    mode_mask: mode bits that are kept.
    owner: maps the archive's uid and gid to the host's; None makes the unpacking user the owner.
    fifos: whether FIFOs are created; otherwise they become empty files.
    """

    mode_mask: int = PERMISSIONS
    owner: Callable[[int, int], tuple[int, int]] | None = None
    fifos: bool = True


class Unpacking:
    """One unpacking; a context manager."""

    def __init__(self, tar: int, root: int, target: str, budget: Budget, rules: Rules) -> None:
        """tar, root: descriptors of the tar and of the root directory. target: a directory below root. Raises
        OSError.
        """
        self._tar = tar
        self._root = root
        self._path = target
        self._budget = budget
        self._rules = rules
        self._target = openat2(root, target, _DIRECTORY, Resolve.IN_ROOT)
        self._links: set[str] = set()
        self._made: dict[str, Member] = {}
        self._parent: tuple[str, int] | None = None

    def __enter__(self) -> Unpacking:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave_parent()
        os.close(self._target)

    def run(self) -> None:
        """Unpack everything. Raises ArchiveError for the archive, OSError for the destination."""
        for member in members(self._tar):
            self._budget.take_member(member.name)
            try:
                self._add(member)
            except OSError as error:
                error.filename = posixpath.join(self._path, member.name)
                raise
        self._leave_parent()
        for name, member in reversed(self._made.items()):
            self._finish_directory(name, member)

    def _add(self, member: Member) -> None:
        name = _clean(member.name)
        self._budget.take_depth(name.count("/"), member.name)
        if not name:
            return
        above, _, last = name.rpartition("/")
        parent = self._open_parent(above)
        match member.kind:
            case Kind.DIRECTORY:
                self._add_directory(member, name, last, parent)
            case Kind.FILE:
                self._add_file(member, name, last, parent)
            case Kind.FIFO if self._rules.fifos:
                self._replace(member, name, parent, lambda: os.mkfifo(last, 0o600, dir_fd=parent))
                self._settle(member, openat2(parent, last, os.O_PATH | os.O_NOFOLLOW, Resolve.BENEATH))
            case Kind.FIFO:
                self._add_file(member, name, last, parent)
            case Kind.SYMLINK:
                self._add_symlink(member, name, last, parent)
            case Kind.HARDLINK:
                self._add_hardlink(member, name, last, parent)
            case Kind.DEVICE:
                raise ArchiveError(f"archive member {member.name!r} is refused: it is a device")

    def _add_directory(self, member: Member, name: str, last: str, parent: int) -> None:
        """An existing directory keeps its owner and mode."""
        if stat.S_ISDIR(_mode(last, parent)):
            if name in self._made:
                self._made[name] = member
            return
        self._replace(member, name, parent, lambda: os.mkdir(last, 0o700, dir_fd=parent))
        self._made[name] = member

    def _add_file(self, member: Member, name: str, last: str, parent: int) -> None:
        def create() -> int:
            return os.open(last, _NEW_FILE, 0o600, dir_fd=parent)

        fd = self._replace(member, name, parent, create)
        try:
            self._fill(fd, member)
        except BaseException:
            os.close(fd)
            raise
        self._settle(member, fd)

    def _fill(self, fd: int, member: Member) -> None:
        """Write the content; holes stay holes."""
        self._budget.take_bytes(member.size - sum(part.length for part in member.parts))
        for part in member.parts:
            os.lseek(fd, part.offset, os.SEEK_SET)
            position, end = part.position, part.position + part.length
            while position < end:
                self._budget.take_bytes(min(_CHUNK, end - position))
                copied = os.sendfile(fd, self._tar, position, min(_CHUNK, end - position))
                if not copied:
                    raise ArchiveError("the archive became shorter while it was unpacked")
                position += copied
        os.ftruncate(fd, member.size)

    def _add_symlink(self, member: Member, name: str, last: str, parent: int) -> None:
        self._replace(member, name, parent, lambda: os.symlink(member.link, last, dir_fd=parent))
        self._links.add(name)
        if self._rules.owner is not None:
            os.chown(last, *self._owner(member), dir_fd=parent, follow_symlinks=False)
        os.utime(last, ns=_times(member), dir_fd=parent, follow_symlinks=False)

    def _add_hardlink(self, member: Member, name: str, last: str, parent: int) -> None:
        original = _clean(member.link)
        if original == name:
            return
        above, _, linked = original.rpartition("/")
        try:
            folder = self._open(above, _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise self._no_file(member) from None
        try:
            if not stat.S_ISREG(_mode(linked, folder)):
                raise self._no_file(member)

            def link() -> None:
                os.link(linked, last, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)

            self._replace(member, name, parent, link)
        finally:
            os.close(folder)

    def _no_file(self, member: Member) -> ArchiveError:
        return ArchiveError(
            f"archive member {member.name!r} is refused: it links to {member.link!r}, which is no file"
        )

    def _replace(self, member: Member, name: str, parent: int, make: Callable[[], T]) -> T:
        """Create an entry, replacing an existing one. Concurrent copies may do the same."""
        last = posixpath.basename(name)
        for _ in range(_ATTEMPTS):
            try:
                return make()
            except FileExistsError as error:
                failure = error
            self._links.discard(name)
            try:
                os.unlink(last, dir_fd=parent)
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                self._remove_directory(member, last, parent)
                self._made.pop(name, None)
        raise failure

    def _remove_directory(self, member: Member, last: str, parent: int) -> None:
        try:
            os.rmdir(last, dir_fd=parent)
        except OSError as error:
            raise ArchiveError(
                f"archive member {member.name!r} is refused: it would replace a directory"
            ) from error

    def _settle(self, member: Member, fd: int) -> None:
        """Set owner, mode and time of the file at ``fd``, and close it."""
        path = f"/proc/self/fd/{fd}"  # fchmod does not work on an O_PATH descriptor
        try:
            if self._rules.owner is not None:
                os.chown(path, *self._owner(member))
            os.chmod(path, member.mode & self._rules.mode_mask)
            os.utime(path, ns=_times(member))
        finally:
            os.close(fd)

    def _finish_directory(self, name: str, member: Member) -> None:
        try:
            fd = self._open(name, _DIRECTORY | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return  # replaced meanwhile
        self._settle(member, fd)

    def _owner(self, member: Member) -> tuple[int, int]:
        assert self._rules.owner is not None
        return self._rules.owner(member.uid, member.gid)

    def _open(self, name: str, flags: int) -> int:
        """Open ``name`` below the destination."""
        try:
            return openat2(self._target, name or ".", flags, Resolve.BENEATH)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if not self._links.isdisjoint(_and_above(name)):
                raise ArchiveError(
                    f"archive member {name!r} is refused: it lies behind a link that leaves the destination"
                ) from error
        return openat2(self._root, posixpath.join(self._path, name), flags, Resolve.IN_ROOT)

    def _open_parent(self, name: str) -> int:
        """Open the parent directory of the next member, creating it if missing; it stays open for the
        following members.
        """
        if self._parent is None or self._parent[0] != name or name in self._links:
            self._leave_parent()
            self._parent = (name, self._open_or_make(name))
            if not self._links.isdisjoint(_and_above(name)):
                self._budget.take_depth(_depth(self._parent[1]) - _depth(self._target), name)
        return self._parent[1]

    def _leave_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _open_or_make(self, name: str) -> int:
        try:
            return self._open(name, _DIRECTORY)
        except FileNotFoundError:
            above, _, last = name.rpartition("/")
        parent = self._open_or_make(above)
        try:
            self._budget.take_member()  # few names may imply many directories
            try:
                os.mkdir(last, 0o755, dir_fd=parent)
            except FileExistsError:  # created meanwhile, or a broken link
                return self._open(name, _DIRECTORY)
            made = openat2(parent, last, _DIRECTORY | os.O_NOFOLLOW, Resolve.BENEATH)
            os.chmod(f"/proc/self/fd/{made}", 0o755)  # independent of the umask
            return made
        finally:
            os.close(parent)


def _clean(name: str) -> str:
    """The relative path of a member, empty for the destination itself. Raises ArchiveError."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ArchiveError(f"archive member {name!r} is refused: it leads out of its destination")
    clean = posixpath.normpath(name)
    return "" if clean == "." else clean


def _depth(directory: int) -> int:
    """Depth of an open directory, with links resolved."""
    return os.readlink(f"/proc/self/fd/{directory}").count("/")


def _and_above(name: str) -> list[str]:
    """A relative path and all its parent directories."""
    found = []
    while name:
        found.append(name)
        name = posixpath.dirname(name)
    return found


def _mode(name: str, parent: int) -> int:
    """Mode of a file; 0 if it does not exist."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _times(member: Member) -> tuple[int, int]:
    time = min(max(member.mtime, -_TIME_LIMIT), _TIME_LIMIT)
    return time, time
