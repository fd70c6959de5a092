"""Free ports for servers that need a fixed port in their configuration."""

from __future__ import annotations

import random
import socket

from executor.network.sysctl import outgoing_ports

FIRST = 10_000


def free_port() -> int:
    """A TCP port of loopback without a listener.

    The port is outside the kernel's ephemeral range: an outgoing connection could take an ephemeral port
    before the server binds it. Raises NetworkError, OSError if there is none.
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
