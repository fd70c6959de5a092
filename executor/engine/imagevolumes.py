"""Removal of image volumes from containers.

The engine creates an anonymous volume for each volume that an image declares: a host directory outside the
container's disk limit, its file count and its metrics. The Go cell ignores image volumes. So they are
unmounted before the container's first process starts, and the paths are directories of the image again.
The engine removes the volumes with the container.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from executor import cgroup
from executor.errors import EngineError
from executor.reasons import reason_of

_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_MNT_DETACH = 2
_AT_FDCWD = -100
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429  # same numbers on every architecture
_OPEN_TREE_CLONE = 1
_AT_RECURSIVE = 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 4

_libc = ctypes.CDLL(None, use_errno=True)


def declared_volumes(state: Mapping[str, Any]) -> list[str]:
    """Volume paths of a container from its inspect data; our own mounts are all bind mounts. Pure."""
    return [mount["Destination"] for mount in state.get("Mounts") or () if mount.get("Type") == "volume"]


def leave_out(proc_fd: int, volumes: Iterable[str]) -> None:
    """Unmount the volumes of a container. proc_fd: its init process's /proc directory.

    Mounts below a volume stay. Call it in a dedicated thread that ends afterwards: the thread moves to the
    container's mount namespace. Raises EngineError.
    """
    try:
        _enter(proc_fd)
        for volume in sorted(volumes, key=len, reverse=True):
            _leave_out(os.path.realpath(volume), proc_fd)
    except OSError as error:
        where = f"volume {error.filename} of the image"
        raise EngineError(f"{where} cannot be left out: {reason_of(error)}") from error


def _enter(proc_fd: int) -> None:
    namespace = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    try:
        _called(_libc.unshare(_CLONE_FS), "unshare")
        _called(_libc.setns(namespace, _CLONE_NEWNS), "setns")
    finally:
        os.close(namespace)


def _leave_out(volume: str, proc_fd: int) -> None:
    kept = [(point, _clone(point)) for point in topmost_below(volume, _mount_points(proc_fd))]
    try:
        _called(_libc.umount2(os.fsencode(volume), _MNT_DETACH), volume)
        for point, tree in kept:
            _make_place(tree, point)
            _attach(tree, point)
    finally:
        for _, tree in kept:
            os.close(tree)


def topmost_below(volume: str, points: Sequence[str]) -> list[str]:
    """The topmost mount points below a volume. Pure."""
    below = {path for path in map(PurePosixPath, points) if PurePosixPath(volume) in path.parents}
    return sorted(str(path) for path in below if below.isdisjoint(path.parents))


def _mount_points(proc_fd: int) -> list[str]:
    fd = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    with open(fd, encoding="utf-8", errors="surrogateescape") as mountinfo:
        return [mount.point for mount in cgroup.mounts(mountinfo.read())]


def _clone(point: str) -> int:
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _called(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(point), flags), point)


def _make_place(tree: int, point: str) -> None:
    """Create the mount point, a directory or an empty file, unless the image has it."""
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.makedirs(point, exist_ok=True)
        return
    os.makedirs(os.path.dirname(point), exist_ok=True)
    os.close(os.open(point, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))


def _attach(tree: int, point: str) -> None:
    arguments = (tree, b"", _AT_FDCWD, os.fsencode(point), _MOVE_MOUNT_F_EMPTY_PATH)
    _called(_libc.syscall(_SYS_MOVE_MOUNT, *arguments), point)


def _called(result: int, path: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result
