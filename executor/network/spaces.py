"""Network namespaces of containers, and sockets in them.

A socket always belongs to the namespace of the thread that creates it. One thread creates the sockets for
all containers: it enters a namespace, creates the socket and returns. A check needs no extra process or
thread.

The namespace descriptor stays open while its container is attached. No later access uses the process id,
which another process may have got.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pyroute2.netns import setns

from common.shielded import finish
from executor.cgroup import open_process
from executor.errors import NetworkError

_OWN = "/proc/self/ns/net"
"""Namespace of the process's first thread, which never changes."""


def open_space(pid: int, container_id: str) -> int:
    """A descriptor of the network namespace of a container's process.

    container_id: the engine's id, which the control group of the process contains. Raises NetworkError if
    the process is gone, does not belong to the container, or is in the host's namespace.
    """
    try:
        process, _ = open_process(pid, container_id)
        try:
            space = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
        finally:
            os.close(process)
    except OSError as error:
        raise NetworkError(f"network namespace of process {pid}: {error.strerror or error}") from error
    if os.path.samestat(os.fstat(space), os.stat(_OWN)):
        os.close(space)
        raise NetworkError(f"network namespace of process {pid}: it is the host's")
    return space


@contextmanager
def inside(space: int) -> Iterator[None]:
    """Enter the namespace ``space`` with this thread, for the body of the ``with``. Raises OSError."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(space)
        try:
            yield
        finally:
            setns(home)
    finally:
        os.close(home)


def _make(space: int, family: socket.AddressFamily) -> socket.socket:
    with inside(space):
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


class Spaces:
    """Namespace descriptors by guid."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="container-sockets")

    def hold(self, guid: str, space: int) -> None:
        """Take over the descriptor ``space`` for ``guid``. An open descriptor of the same namespace stays in
        use.
        """
        held = self._held.get(guid)
        if held is not None and os.path.samestat(os.fstat(held), os.fstat(space)):
            os.close(space)
        else:
            self.release(guid)
            self._held[guid] = space

    def get(self, guid: str) -> int:
        """The descriptor of an attached container. Raises NetworkError for other guids."""
        try:
            return self._held[guid]
        except KeyError:
            raise NetworkError(f"container {guid} is not attached to the network") from None

    def release(self, guid: str) -> None:
        """Close the descriptor of ``guid``; unknown guids are allowed."""
        if (space := self._held.pop(guid, None)) is not None:
            # Runs after pending socket creations, because the descriptor number may be reused immediately.
            self._thread.submit(os.close, space)

    def close(self) -> None:
        """Release all descriptors. Closing twice is allowed."""
        for guid in list(self._held):
            self.release(guid)

    async def open_socket(self, guid: str, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking TCP socket in the namespace of ``guid``. Raises NetworkError."""
        space = self.get(guid)
        making = asyncio.get_running_loop().run_in_executor(self._thread, _make, space, family)
        try:
            return await finish(making, discard=socket.socket.close)
        except OSError as error:
            raise NetworkError(f"socket in the network of {guid}: {error.strerror}") from error
