"""Numbers and packets of SFTP version 3."""

from __future__ import annotations

import errno

from sshd.wire import string, text, uint32

VERSION = 3
MAX_PACKET = 256 * 1024
MAX_READ = 32768
"""Limit of the bytes in one READ answer."""
NAMES_PER_ANSWER = 128

INIT, VERSION_ANSWER = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = range(3, 13)
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(13, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = range(5)
UNSUPPORTED = 8

OPEN_READ, OPEN_WRITE, OPEN_APPEND, OPEN_CREATE, OPEN_TRUNCATE, OPEN_EXCLUSIVE = (
    1 << bit for bit in range(6)
)

EXTENSIONS = (
    (b"hardlink@openssh.com", b"1"),
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
)


class StatusError(Exception):
    """A request that gets a status other than success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


END_OF_FILE = (EOF, "EOF")
NOT_SUPPORTED = (UNSUPPORTED, "operation unsupported")


def status_of(error: OSError) -> int:
    """The SFTP status of a system error."""
    if error.errno == errno.ENOENT:
        return NO_SUCH_FILE
    if error.errno in (errno.EACCES, errno.EPERM):
        return PERMISSION_DENIED
    return FAILURE


def packet(kind: int, body: bytes) -> bytes:
    return uint32(1 + len(body)) + bytes((kind,)) + body


def status(request: int, code: int, message: str = "") -> bytes:
    return packet(STATUS, uint32(request) + uint32(code) + text(message) + string(b""))


def version() -> bytes:
    return packet(
        VERSION_ANSWER,
        uint32(VERSION) + b"".join(string(name) + string(value) for name, value in EXTENSIONS),
    )
