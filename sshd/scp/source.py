"""Source mode: sends files and directories of the container to the client."""

from __future__ import annotations

import os
import stat

from common.goerrors import path_error
from sshd.scp.globs import expand
from sshd.scp.peer import CHUNK, MAX_DEPTH, OK, Peer, TransferError
from sshd.scp.words import Options

Identity = tuple[int, int]
"""Device and inode of a directory."""


def send_all(peer: Peer, options: Options) -> bool:
    """Send every operand; True if all succeeded."""
    try:
        peer.await_acknowledgement()
    except TransferError:
        return False
    well = True
    for operand in options.operands:
        for path in expand(operand):
            try:
                _send_operand(peer, path, options)
            except TransferError as error:
                peer.announce(error)
                well = False
    return well


def _send_operand(peer: Peer, path: str, options: Options) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise TransferError(path_error("stat", path, error)) from error
    if not stat.S_ISDIR(status.st_mode):
        _send_file(peer, path, options)
    elif options.recursive:
        _send_directory(peer, path, options, ())
    else:
        raise TransferError(f"{_name(path)}: not a regular file")


def _send_file(peer: Peer, path: str, options: Options) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a FIFO would block
    except OSError as error:
        raise TransferError(path_error("open", path, error)) from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISFIFO(status.st_mode):
            raise TransferError(f"{_name(path)}: not a regular file")
        if options.preserve:
            _send_times(peer, status)
        _send_header(peer, "C", status, status.st_size, path)
        left = status.st_size
        while left:
            try:
                data = os.read(descriptor, min(CHUNK, left))
            except OSError as error:
                raise TransferError(path_error("read", path, error)) from error
            if not data:
                raise TransferError("EOF")
            peer.send(data)
            left -= len(data)
    finally:
        os.close(descriptor)
    peer.send(OK)
    peer.await_acknowledgement()


def _send_directory(peer: Peer, path: str, options: Options, above: tuple[Identity, ...]) -> None:
    """Send a directory. Symbolic links are followed, except back to a directory in ``above``, the parents.

    Raises TransferError.
    """
    try:
        status = os.stat(path)
        names = sorted(os.listdir(path))
    except OSError as error:
        raise TransferError(path_error("open", path, error)) from error
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        raise TransferError(f"{path}: a link to a directory above it")
    if len(above) >= MAX_DEPTH:
        raise TransferError(f"{path}: more than {MAX_DEPTH} directories inside each other")
    if options.preserve:
        _send_times(peer, status)
    _send_header(peer, "D", status, 0, path)
    for name in names:
        inside = os.path.normpath(os.path.join(path, name))
        try:
            if os.path.isdir(inside):
                _send_directory(peer, inside, options, (*above, identity))
            else:
                _send_file(peer, inside, options)
        except TransferError as error:
            peer.announce(error)
    peer.send(b"E\n")
    peer.await_acknowledgement()


def _send_times(peer: Peer, status: os.stat_result) -> None:
    peer.send(f"T{int(status.st_mtime)} 0 {int(status.st_atime)} 0\n".encode())
    peer.await_acknowledgement()


def _send_header(peer: Peer, kind: str, status: os.stat_result, size: int, path: str) -> None:
    line = f"{kind}{status.st_mode & 0o777:04o} {size} {_name(path)}\n"
    peer.send(line.encode("utf-8", "surrogateescape"))
    peer.await_acknowledgement()


def _name(path: str) -> str:
    """The last component of a path."""
    return os.path.basename(path.rstrip("/")) or "/"
