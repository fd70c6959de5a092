"""Fewer capabilities for the users of a privileged container than for its root, as in a deployed cell.

The engine gives all processes of a container the same bounding set, and a process that begins as a user may
not make its own smaller. Left as it is, any program that is setuid root would make any user of such a
container root of the host. So a user's process begins as root, and setpriv makes it what it is to be. No
image needs to have that program: the host's is brought along, with its libraries.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from executor.engine.api import BindMount
from executor.engine.capabilities import UNPRIVILEGED
from executor.engine.users import User
from executor.errors import EngineError

FOLDER = "/.cell/lower"
LOADER = f"{FOLDER}/ld.so"

LOWERED = (*UNPRIVILEGED, "SYS_ADMIN")
"""What a user's process in a privileged container can come to have at most, as recorded."""

_SETPRIV = "/usr/bin/setpriv"
_LIBRARY = re.compile(r"^\s*(\S+) => (/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_INTERPRETER = re.compile(r"^\s*(/\S*/ld\S*) \(0x[0-9a-f]+\)$", re.MULTILINE)


@cache
def lowering_mounts() -> tuple[BindMount, ...]:
    """What a privileged container needs to lower its users. Blocks, the first time. Raises EngineError."""
    try:
        told = subprocess.run(["ldd", _SETPRIV], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(
            f"privileged containers need setpriv (package util-linux) on the cell: {error}"
        ) from error
    return mounts_of(told)


def mounts_of(told: str) -> tuple[BindMount, ...]:
    """By what ``ldd`` says of setpriv. Raises EngineError when it is no program with shared libraries."""
    interpreter = _INTERPRETER.search(told)
    if interpreter is None:
        raise EngineError(f"privileged containers: {_SETPRIV} has no interpreter that could be brought along")
    files = {_SETPRIV: "setpriv", interpreter[1]: Path(LOADER).name}
    files |= {path: name for name, path in _LIBRARY.findall(told)}
    return tuple(BindMount(source=path, target=f"{FOLDER}/{name}") for path, name in files.items())


def lowering_command(user: User, groups: tuple[int, ...]) -> tuple[str, ...]:
    """What to put before the command line of a process that is to be ``user``'s.

    groups: that the user belongs to besides its own, which the engine names among them too.
    """
    allowed = ",".join(f"+{name.lower()}" for name in LOWERED)
    every_group = ",".join(map(str, sorted({user.gid, *groups})))
    return (
        *(LOADER, "--library-path", FOLDER, f"{FOLDER}/setpriv"),
        *(f"--bounding-set=-all,{allowed}", "--inh-caps=-all"),
        *(f"--regid={user.gid}", f"--groups={every_group}", f"--reuid={user.uid}"),
    )
