"""Devices for privileged containers that the container runtime does not create but a deployed
cell provides.
"""

from __future__ import annotations

import logging
import os
import stat

log = logging.getLogger(__name__)

FUSE, FUSE_NUMBER, FUSE_MODE = "fuse", os.makedev(10, 229), 0o666


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
