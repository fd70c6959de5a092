"""The SFTP requests: their effect on the file system, and their answers.

Each request is a method that takes the reader of its fields and returns an answer packet. Failures are
``OSError`` with a text from :func:`_failing`, or :class:`StatusError`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.goerrors import path_error
from sshd.sftp import protocol as p
from sshd.sftp.attributes import NONE, Attributes, Owners, attributes, long_name, read_attributes
from sshd.sftp.protocol import StatusError, packet, status, status_of
from sshd.wire import Reader, string, text, uint32, uint64

NEW_FILE_MODE = 0o644
NEW_DIRECTORY_MODE = 0o755


@contextmanager
def _failing(operation: str, *paths: str) -> Iterator[None]:
    """Convert system errors in the block to a status with Go's text for this operation."""
    try:
        yield
    except OSError as error:
        raise StatusError(status_of(error), path_error(operation, " ".join(paths), error)) from error
    except ValueError as error:  # a path with a zero byte
        raise StatusError(p.FAILURE, f"{operation} {' '.join(paths)}: invalid argument") from error


class Handle:
    """An open file or directory, with the path used to open it."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.entries: Iterator[os.DirEntry[str]] | None = None

    def close(self) -> None:
        os.close(self.descriptor)


class Handles:
    """The table of open handles; their names are decimal counters."""

    def __init__(self) -> None:
        self._open: dict[bytes, Handle] = {}
        self._count = 0

    def add(self, handle: Handle) -> bytes:
        self._count += 1
        name = b"%d" % self._count
        self._open[name] = handle
        return name

    def get(self, name: bytes) -> Handle:
        """The handle of a name. Raises :class:`StatusError` for an unknown name."""
        try:
            return self._open[name]
        except KeyError:
            raise StatusError(p.FAILURE, "bad file descriptor") from None

    def close(self, name: bytes) -> None:
        self.get(name).close()
        del self._open[name]


class Requests:
    """Executes the requests of one client."""

    def __init__(self) -> None:
        self._handles = Handles()
        self._owners = Owners()
        self._table: dict[int, Callable[[int, Reader], bytes]] = {
            p.OPEN: self._open,
            p.CLOSE: self._close,
            p.READ: self._read,
            p.WRITE: self._write,
            p.LSTAT: self._lstat,
            p.STAT: self._stat,
            p.FSTAT: self._fstat,
            p.SETSTAT: self._setstat,
            p.FSETSTAT: self._fsetstat,
            p.OPENDIR: self._opendir,
            p.READDIR: self._readdir,
            p.REMOVE: self._remove,
            p.RMDIR: self._remove,
            p.MKDIR: self._mkdir,
            p.REALPATH: self._realpath,
            p.RENAME: self._rename,
            p.READLINK: self._readlink,
            p.SYMLINK: self._symlink,
            p.EXTENDED: self._extended,
        }
        self._extensions: dict[bytes, Callable[[int, Reader], bytes]] = {
            b"hardlink@openssh.com": self._hardlink,
            b"posix-rename@openssh.com": self._rename,
            b"statvfs@openssh.com": self._statvfs,
        }

    def answer(self, kind: int, reader: Reader) -> bytes:
        """The answer to a request. Raises ``Malformed`` if a field is missing."""
        request = reader.uint32()
        handler = self._table.get(kind)
        if handler is None:
            return status(request, *p.NOT_SUPPORTED)
        try:
            return handler(request, reader)
        except StatusError as error:
            return status(request, error.code, str(error))

    # -- files --------------------------------------------------------------------------------------

    def _open(self, request: int, reader: Reader) -> bytes:
        path, pflags = reader.text(), reader.uint32()
        given = read_attributes(reader)
        access = pflags & (p.OPEN_READ | p.OPEN_WRITE)
        if not access:
            raise StatusError(p.FAILURE, "invalid argument")
        flags = {
            p.OPEN_READ: os.O_RDONLY,
            p.OPEN_WRITE: os.O_WRONLY,
        }.get(access, os.O_RDWR)
        for bit, flag in (
            (p.OPEN_CREATE, os.O_CREAT),
            (p.OPEN_TRUNCATE, os.O_TRUNC),
            (p.OPEN_EXCLUSIVE, os.O_EXCL),
        ):
            flags |= flag if pflags & bit else 0
        mode = NEW_FILE_MODE if given.permissions is None else given.permissions & 0o7777
        with _failing("open", path):
            descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
        return packet(p.HANDLE, uint32(request) + string(self._handles.add(Handle(path, descriptor))))

    def _close(self, request: int, reader: Reader) -> bytes:
        name = reader.string()
        with _failing("close", self._handles.get(name).path):
            self._handles.close(name)
        return status(request, p.OK)

    def _read(self, request: int, reader: Reader) -> bytes:
        name, offset, size = reader.string(), reader.uint64(), reader.uint32()
        handle = self._handles.get(name)
        with _failing("read", handle.path):
            data = os.pread(handle.descriptor, min(size, p.MAX_READ), _signed(offset))
        if not data:
            return status(request, *p.END_OF_FILE)
        return packet(p.DATA, uint32(request) + string(data))

    def _write(self, request: int, reader: Reader) -> bytes:
        name, offset, data = reader.string(), _signed(reader.uint64()), memoryview(reader.string())
        handle = self._handles.get(name)
        with _failing("write", handle.path):
            while data:
                written = os.pwrite(handle.descriptor, data, offset)
                offset += written
                data = data[written:]
        return status(request, p.OK)

    # -- attributes ---------------------------------------------------------------------------------

    def _stat(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        with _failing("stat", path):
            return packet(p.ATTRS, uint32(request) + attributes(os.stat(path)))

    def _lstat(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        with _failing("lstat", path):
            return packet(p.ATTRS, uint32(request) + attributes(os.lstat(path)))

    def _fstat(self, request: int, reader: Reader) -> bytes:
        handle = self._handles.get(reader.string())
        with _failing("stat", handle.path):
            return packet(p.ATTRS, uint32(request) + attributes(os.fstat(handle.descriptor)))

    def _setstat(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        _set(path, path, read_attributes(reader))
        return status(request, p.OK)

    def _fsetstat(self, request: int, reader: Reader) -> bytes:
        name, attributes = reader.string(), read_attributes(reader)
        handle = self._handles.get(name)
        _set(handle.descriptor, handle.path, attributes)
        return status(request, p.OK)

    # -- directories --------------------------------------------------------------------------------

    def _opendir(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        with _failing("open", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return packet(p.HANDLE, uint32(request) + string(self._handles.add(Handle(path, descriptor))))

    def _readdir(self, request: int, reader: Reader) -> bytes:
        handle = self._handles.get(reader.string())
        with _failing("readdirent", handle.path):
            if handle.entries is None:
                handle.entries = os.scandir(handle.descriptor)
        now = time.time()
        names: list[bytes] = []
        for entry in handle.entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:  # deleted in the meantime
                continue
            line = long_name(entry.name, found, self._owners, now)
            names.append(text(entry.name) + text(line) + attributes(found))
            if len(names) == p.NAMES_PER_ANSWER:
                break
        if not names:
            return status(request, *p.END_OF_FILE)
        return packet(p.NAME, uint32(request) + uint32(len(names)) + b"".join(names))

    def _mkdir(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        read_attributes(reader)
        with _failing("mkdir", path):
            os.mkdir(path, NEW_DIRECTORY_MODE)
        return status(request, p.OK)

    # -- names --------------------------------------------------------------------------------------

    def _remove(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        with _failing("remove", path):
            _remove(path)
        return status(request, p.OK)

    def _realpath(self, request: int, reader: Reader) -> bytes:
        path = os.path.normpath(os.path.join(os.getcwd(), reader.text()))
        if path.startswith("//"):
            path = path[1:]
        return _one_name(request, path)

    def _rename(self, request: int, reader: Reader) -> bytes:
        old, new = reader.text(), reader.text()
        with _failing("rename", old, new):
            os.rename(old, new)
        return status(request, p.OK)

    def _readlink(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        with _failing("readlink", path):
            return _one_name(request, os.readlink(path))

    def _symlink(self, request: int, reader: Reader) -> bytes:
        target, path = reader.text(), reader.text()
        with _failing("symlink", target, path):
            os.symlink(target, path)
        return status(request, p.OK)

    # -- extensions ---------------------------------------------------------------------------------

    def _extended(self, request: int, reader: Reader) -> bytes:
        handler = self._extensions.get(reader.string())
        if handler is None:
            raise StatusError(*p.NOT_SUPPORTED)
        return handler(request, reader)

    def _hardlink(self, request: int, reader: Reader) -> bytes:
        old, new = reader.text(), reader.text()
        with _failing("link", old, new):
            os.link(old, new)
        return status(request, p.OK)

    def _statvfs(self, request: int, reader: Reader) -> bytes:
        path = reader.text()
        with _failing("statvfs", path):
            found = os.statvfs(path)
        values = (
            found.f_bsize, found.f_frsize, found.f_blocks, found.f_bfree, found.f_bavail, found.f_files,
            found.f_ffree, found.f_favail, found.f_fsid, found.f_flag, found.f_namemax,
        )  # fmt: skip
        return packet(p.EXTENDED_REPLY, uint32(request) + b"".join(uint64(value % 2**64) for value in values))


def _one_name(request: int, path: str) -> bytes:
    return packet(p.NAME, uint32(request) + uint32(1) + text(path) + text(path) + NONE)


def _signed(offset: int) -> int:
    """Cap an offset at 2^63-1: the system refuses larger ones with the expected error."""
    return min(offset, 2**63 - 1)


def _remove(path: str) -> None:
    """Remove a file or an empty directory."""
    try:
        os.unlink(path)
    except (IsADirectoryError, PermissionError) as error:
        try:
            os.rmdir(path)
        except NotADirectoryError:
            raise error from None


def _set(target: str | int, path: str, attributes: Attributes) -> None:
    """Set the attributes of a path or descriptor, in the protocol's order."""
    if attributes.size is not None:
        with _failing("truncate", path):
            os.truncate(target, _signed(attributes.size))
    if attributes.permissions is not None:
        with _failing("chmod", path):
            os.chmod(target, attributes.permissions & 0o7777)
    if attributes.owner is not None:
        with _failing("chown", path):
            os.chown(target, *attributes.owner)
    if attributes.times is not None:
        with _failing("chtimes", path):
            os.utime(target, attributes.times)
