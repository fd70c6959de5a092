"""Privileged containers: reduced capabilities for non-root users, and a device that the runtime lacks.

The engine gives all processes of a container the same bounding set, and a process that starts as a user
may not reduce its own. Any setuid root program would then give any user of the container root on the host.
So a user's process starts as root, and setpriv changes it to the user. Images need not have setpriv: the
host's is mounted, with its libraries.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
from functools import cache
from pathlib import Path

from executor.engine.api import BindMount
from executor.engine.capabilities import UNPRIVILEGED
from executor.engine.users import User
from executor.errors import EngineError

log = logging.getLogger(__name__)

FOLDER = "/.cell/lower"
LOADER = f"{FOLDER}/ld.so"

LOWERED = (*UNPRIVILEGED, "SYS_ADMIN")
"""Maximum capabilities of a user's process in a privileged container, as recorded from a deployed cell."""

_SETPRIV = "/usr/bin/setpriv"
_LIBRARY = re.compile(r"^\s*(\S+) => (/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_INTERPRETER = re.compile(r"^\s*(/\S*/ld\S*) \(0x[0-9a-f]+\)$", re.MULTILINE)

FUSE, FUSE_NUMBER, FUSE_MODE = "fuse", os.makedev(10, 229), 0o666
"""The device, which a deployed cell provides in privileged containers."""


@cache
def lowering_mounts() -> tuple[BindMount, ...]:
    """Mounts for lowering in a privileged container. Blocks on the first call. Raises EngineError."""
    try:
        listing = subprocess.run(["ldd", _SETPRIV], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(
            f"privileged containers need setpriv (package util-linux) on the cell: {error}"
        ) from error
    return mounts_of(listing)


def mounts_of(listing: str) -> tuple[BindMount, ...]:
    """Mounts from the ``ldd`` output for setpriv. Raises EngineError if it is not dynamically linked."""
    interpreter = _INTERPRETER.search(listing)
    if interpreter is None:
        raise EngineError(f"privileged containers: {_SETPRIV} has no interpreter that could be brought along")
    files = {_SETPRIV: "setpriv", interpreter[1]: Path(LOADER).name}
    files |= {path: name for name, path in _LIBRARY.findall(listing)}
    return tuple(BindMount(source=path, target=f"{FOLDER}/{name}") for path, name in files.items())


def lowering_command(user: User, groups: tuple[int, ...]) -> tuple[str, ...]:
    """Prefix of the command line of a process that runs as ``user``.

    groups: the user's supplementary groups; the engine sets them too.
    """
    allowed = ",".join(f"+{name.lower()}" for name in LOWERED)
    every_group = ",".join(map(str, sorted({user.gid, *groups})))
    return (
        *(LOADER, "--library-path", FOLDER, f"{FOLDER}/setpriv"),
        *(f"--bounding-set=-all,{allowed}", "--inh-caps=-all"),
        *(f"--regid={user.gid}", f"--groups={every_group}", f"--reuid={user.uid}"),
    )


def make_fuse(proc_fd: int, guid: str) -> None:
    """Create ``/dev/fuse`` in a new container. proc_fd: its init's ``/proc`` directory. Blocks.

    Its ``/dev`` is the runtime's own file system, and no process of the image runs yet. Most programs work
    without the device, so a failure is only logged.
    """
    try:
        folder = os.open(
            "root/dev", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=proc_fd
        )
        try:
            os.mknod(FUSE, FUSE_MODE | stat.S_IFCHR, FUSE_NUMBER, dir_fd=folder)
            os.chmod(FUSE, FUSE_MODE, dir_fd=folder)  # independent of the agent's umask
        finally:
            os.close(folder)
    except FileExistsError:
        return
    except OSError as error:
        log.warning("no-fuse-device", extra={"data": {"guid": guid, "error": str(error)}})
