"""Program look-up, and replacement of the current program."""

from __future__ import annotations

import errno
import os

from common.goerrors import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn


class LookError(Exception):
    """A program that cannot be found or executed; ``str()`` is ``exec: "<name>": <reason>``."""


def replace(path: str, argv: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Execute another program in this process. Raises OSError on failure.

    The interpreter ignores two signals. An ignored signal would stay ignored in the new program, so both are
    reset.
    """
    signals = __import__("_signal")
    for number in (signals.SIGPIPE, signals.SIGXFSZ):
        signals.signal(number, signals.SIG_DFL)
    os.execve(path, argv, environment)


def look_path(name: str, environment: Mapping[str, str]) -> str:
    """The file for ``name`` in ``PATH``; a name with a slash is used as it is. Raises LookError.

    A file found through an empty or relative element of ``PATH`` is refused.
    """
    if "/" in name:
        try:
            _check_executable(name)
        except OSError as error:
            known = {errno.EACCES: "permission denied", errno.EISDIR: "is a directory"}
            words = known.get(error.errno or 0, f"stat {name}: {reason(error)}")
            raise LookError(f'exec: "{name}": {words}') from error
        return name
    for folder in environment.get("PATH", "").split(":") if environment.get("PATH") else []:
        path = f"{folder or '.'}/{name}"
        try:
            _check_executable(path)
        except OSError:
            continue
        if not folder.startswith("/"):
            raise LookError(f'exec: "{name}": cannot run executable found relative to current directory')
        return f"{folder.rstrip('/')}/{name}"
    raise LookError(f'exec: "{name}": executable file not found in $PATH')


def _check_executable(path: str) -> None:
    """Raises OSError unless ``path`` is an executable file."""
    mode = os.stat(path).st_mode
    if mode & 0o170000 == 0o040000:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not mode & 0o111 or not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
