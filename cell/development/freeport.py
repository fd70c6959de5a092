"""A port for a server that is started with it in its settings, so that it cannot just take any."""

from __future__ import annotations

import random
import socket

from executor.network.sysctl import outgoing_ports

FIRST = 10_000


def free_port() -> int:
    """A TCP port of loopback that nobody listens on right now.

    It is none of those that the kernel takes for connections: between this look and the server's own, one
    of these could get it. Raises NetworkError, OSError when there is none.
    """
    (outgoing, _), _ = outgoing_ports()
    for port in random.sample(range(min(FIRST, outgoing // 2), outgoing), k=100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port below {outgoing}")
