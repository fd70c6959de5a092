"""Mounts and control groups that an engine inside a container needs.

The engine that runs this container mounts control groups and ``/proc/sys`` read-only. The engine inside
writes to both; so does the cell. With ``CAP_SYS_ADMIN`` they can be mounted writable, for it only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cell.errors import CommandError

MOUNTINFO: Final = Path("/proc/self/mountinfo")
CGROUPS: Final = Path("/sys/fs/cgroup")
CONTROLLERS: Final = "cgroup.controllers"
OWN_GROUP: Final = "init"
"""Version 2 control group of this container's own processes. A group that gives controllers to its children
has no processes itself."""
WRITTEN: Final = ("/sys/fs/cgroup", "/proc/sys")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def read_only(mountinfo: str) -> list[str]:
    """Mount points that the engine inside writes to and that are read-only, from the top. Pure."""
    found = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
        written = any(point == each or point.startswith(f"{each}/") for each in WRITTEN)
        if written and "ro" in fields[5].split(","):
            found.append(point)
    return found


def make_writable(points: Iterable[str]) -> None:
    """Raises CommandError."""
    for point in points:
        done = subprocess.run(
            ["mount", "-o", "remount,bind,rw", point], capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = done.stderr.partition("\n")[0]
            raise CommandError(
                f"{point} stays read-only ({reason}): the container needs the capability"
                " SYS_ADMIN and no AppArmor profile"
            )


def delegate(cgroups: Path = CGROUPS) -> None:
    """Version 2 only: let the engine's containers have controllers. Raises OSError."""
    controllers = cgroups / CONTROLLERS
    if not controllers.exists():
        return
    own = cgroups / OWN_GROUP
    own.mkdir(exist_ok=True)
    for pid in (cgroups / "cgroup.procs").read_text().split():
        (own / "cgroup.procs").write_text(pid)
    enabled = " ".join(f"+{each}" for each in controllers.read_text().split())
    (cgroups / "cgroup.subtree_control").write_text(enabled)


def prepare() -> None:
    """Raises CommandError, OSError."""
    make_writable(read_only(MOUNTINFO.read_text()))
    delegate()
