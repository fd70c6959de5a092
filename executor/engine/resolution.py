"""Resolution of a process spec in its container: user, directory, program and environment.

The tiny parent of a process is a shell, whose error messages differ from a container runtime's. So
everything a runtime would refuse is checked in the container's root first, and refused with the runtime's
message.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import sys
from dataclasses import dataclass

from executor.engine.api import ProcessSpec
from executor.engine.arguments import too_long
from executor.engine.rootfs import Rootfs
from executor.engine.users import User, further_groups, resolve_user
from executor.environment import Env, with_defaults
from executor.errors import ProcessStartError

_FAILED = "exec failed: unable to start container process"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedProcess:
    """A process that can start. program: path to execute; argv: its arguments from number 0 on.

    groups: the user's supplementary groups.
    """

    user: User
    directory: str
    env: Env
    program: str
    argv: tuple[str, ...]
    nofile: int | None
    groups: tuple[int, ...] = ()


def resolve(root: Rootfs, spec: ProcessSpec) -> ResolvedProcess:
    """Resolve ``spec`` in ``root``; creates a missing working directory. Raises ProcessStartError."""
    _check_texts(spec)
    accounts = spec.user, root.read_text("/etc/passwd"), root.read_text("/etc/group")
    user = resolve_user(*accounts)
    directory = _working_directory(root, spec.dir or user.home, user)
    env = with_defaults(spec.env, uid=user.uid, user=spec.user, home=user.home)
    resolved = ResolvedProcess(
        user=user,
        directory=directory,
        env=env,
        program=_program(root, spec.path, directory, dict(env)["PATH"]),
        argv=(spec.path, *spec.args),
        nofile=spec.nofile,
        groups=further_groups(*accounts),
    )
    _check_strings(resolved)
    return resolved


def refused_by_kernel(process: ResolvedProcess, reason: str) -> ProcessStartError:
    """The runtime's error for a program that passed the checks but could not be executed."""
    text = reason.lower()
    if text == "permission denied":
        return ProcessStartError(f'{_FAILED}: exec: "{process.program}": {text}')
    return ProcessStartError(f"{_FAILED}: exec {process.program}: {text}")


def refused_limit() -> ProcessStartError:
    """The error for an open files limit that the kernel refuses."""
    return ProcessStartError(f"{_FAILED}: error setting rlimits for ready process: operation not permitted")


def refused_size(process: ResolvedProcess) -> ProcessStartError:
    """The error for arguments and variables that exceed the kernel's limit."""
    return refused_by_kernel(process, os.strerror(errno.E2BIG))


def _check_strings(process: ResolvedProcess) -> None:
    """Refuse a single argument or variable that is too long. Raises ProcessStartError."""
    if too_long([*process.argv, *(f"{name}={value}" for name, value in process.env)], sys.maxsize):
        raise refused_size(process)


def _check_texts(spec: ProcessSpec) -> None:
    """Refuse strings with NUL or that cannot be encoded. Raises ProcessStartError."""
    named = [("path", spec.path), ("directory", spec.dir), ("user", spec.user)]
    named += [(f"argument {number}", argument) for number, argument in enumerate(spec.args, 1)]
    named += [(f"environment variable {ascii(name)[1:-1]}", f"{name}={value}") for name, value in spec.env]
    for what, text in named:
        if "\0" in text:
            raise ProcessStartError(f"{_FAILED}: {what} contains NUL")
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise ProcessStartError(f"{_FAILED}: {what} contains half a character") from None


def _working_directory(root: Rootfs, directory: str, user: User) -> str:
    if not directory.startswith("/"):
        raise ProcessStartError("runc exec: exit status 255: exec failed: Cwd must be an absolute path")
    try:
        root.make_dirs(directory, user.uid, user.gid)
    except NotADirectoryError as error:
        raise ProcessStartError(
            f'{_FAILED}: chdir to cwd ("{directory}") set in config.json failed: not a directory'
        ) from error
    except OSError as error:
        raise ProcessStartError(f"{_FAILED}: mkdir {directory}: {error.strerror}") from error
    return directory


def _program(root: Rootfs, path: str, directory: str, search: str) -> str:
    if "/" in path:
        found = posixpath.join(directory, path)
        status = root.stat(found)
        if status is None:
            raise ProcessStartError(f'{_FAILED}: exec: "{path}": stat {path}: no such file or directory')
        if stat.S_ISDIR(status.st_mode):
            raise ProcessStartError(f'{_FAILED}: exec: "{path}": is a directory')
        if not status.st_mode & 0o111:
            raise ProcessStartError(f'{_FAILED}: exec: "{path}": permission denied')
    else:
        found = _search(root, path, directory, search)
    _check_format(root, found)
    return found


def _search(root: Rootfs, name: str, directory: str, search: str) -> str:
    if name:
        for folder in search.split(":"):
            candidate = posixpath.join(directory, folder, name)
            status = root.stat(candidate)
            if status is not None and stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
                return candidate
    raise ProcessStartError(f'{_FAILED}: exec: "{name}": executable file not found in $PATH')


def _check_format(root: Rootfs, program: str) -> None:
    """Refuse a text file without an interpreter line: a shell would run it, a container runtime does not."""
    try:
        head = root.head(program, 4)
    except OSError as error:
        raise ProcessStartError(
            f'{_FAILED}: exec: "{program}": {os.strerror(error.errno or 0).lower()}'
        ) from error
    if head != b"\x7fELF" and not head.startswith(b"#!"):
        raise ProcessStartError(f"{_FAILED}: exec {program}: exec format error")
