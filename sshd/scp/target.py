"""Target mode: writes what the client sends to files and directories of the container."""

from __future__ import annotations

import os

from common.goerrors import path_error
from sshd.scp.peer import CHUNK, MAX_DEPTH, Peer, TransferError
from sshd.scp.words import Options

Times = tuple[int, int]
"""Access and modification time, in seconds."""


def receive_all(peer: Peer, options: Options) -> bool:
    """Read records until the input ends; True if all succeeded."""
    target = options.operands[0]
    if options.must_be_directory and not os.path.isdir(target):
        return False
    peer.acknowledge()
    try:
        _Receiver(peer, options).records(target, None)
    except TransferError as error:
        peer.announce(error)
        return False
    return True


class _Receiver:
    def __init__(self, peer: Peer, options: Options) -> None:
        self._peer = peer
        self._options = options
        self._depth = 0

    def records(self, target: str, folder: str | None) -> None:
        """Records of one level: until the end of input at the top, until ``E`` in a folder."""
        times: Times | None = None
        while True:
            kind = self._peer.read_some(1)
            if not kind:
                if folder is not None:
                    raise TransferError("EOF")
                return
            if kind == b"T" and (folder is None or self._options.preserve):
                times = _times(self._peer.read_line())
                self._peer.acknowledge()
            elif kind == b"C":
                self._file(folder or target, times)
                times = None
            elif kind == b"D":
                self._directory(folder or target, times)
                times = None
            elif kind == b"E" and folder is not None:
                self._peer.read_line()
                self._peer.acknowledge()
                return
            else:
                raise TransferError(f"unexpected message type: {kind.decode('latin-1')}")

    def _file(self, target: str, times: Times | None) -> None:
        mode, size, name = _header(self._peer.read_line())
        path = _inside(target, name) if os.path.isdir(target) else target
        self._peer.acknowledge()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        except OSError as error:
            raise TransferError(path_error("open", path, error)) from error
        try:
            if self._options.preserve:
                os.fchmod(descriptor, mode)
            self._contents(descriptor, path, size)
        except PermissionError as error:  # a writable file of another user
            raise TransferError(path_error("chmod", path, error)) from error
        finally:
            os.close(descriptor)
        self._peer.await_acknowledgement()
        _apply(path, times)
        self._peer.acknowledge()

    def _contents(self, descriptor: int, path: str, size: int) -> None:
        while size:
            data = memoryview(self._peer.read_some(min(CHUNK, size)))
            if not data:
                raise TransferError("EOF")
            size -= len(data)
            while data:
                try:
                    data = data[os.write(descriptor, data) :]
                except OSError as error:
                    raise TransferError(path_error("write", path, error)) from error

    def _directory(self, target: str, times: Times | None) -> None:
        mode, _, name = _header(self._peer.read_line())
        path = _inside(target, name) if os.path.isdir(target) else target
        self._peer.acknowledge()
        if os.path.lexists(path) and not os.path.isdir(path):
            raise TransferError(f'target exists and is not a directory: "{os.path.basename(path)}"')
        if self._depth >= MAX_DEPTH:
            raise TransferError(f"{path}: more than {MAX_DEPTH} directories inside each other")
        try:
            if not os.path.isdir(path):
                os.mkdir(path, mode)
        except OSError as error:
            raise TransferError(path_error("mkdir", path, error)) from error
        self._depth += 1
        self.records(path, path)
        self._depth -= 1
        if self._options.preserve:
            _apply(path, times)


def _header(line: str) -> tuple[int, int, str]:
    """Permission bits, size and name of a ``C`` or ``D`` record."""
    fields = line.split(" ", 2)
    if len(fields) < 3:
        raise TransferError(f'malformed record: "{line}"')
    mode, size, name = fields
    try:
        values = int(mode, 8) & 0o777, int(size)
    except ValueError as error:
        raise TransferError(f'malformed number in "{line}"') from error
    if values[1] < 0:
        raise TransferError(f'malformed number in "{line}"')
    if not name or "/" in name or name in (".", ".."):
        raise TransferError(f'unexpected name: "{name}"')
    return *values, name


def _times(line: str) -> Times:
    fields = line.split(" ")
    try:
        return int(fields[2]), int(fields[0])
    except (IndexError, ValueError) as error:
        raise TransferError(f'malformed record: "T{line}"') from error


def _inside(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name))


def _apply(path: str, times: Times | None) -> None:
    if times is None:
        return
    try:
        os.utime(path, times)
    except (OSError, OverflowError) as error:
        text = path_error("chtimes", path, error) if isinstance(error, OSError) else str(error)
        raise TransferError(text) from error
