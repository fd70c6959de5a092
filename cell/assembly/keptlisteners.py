"""Listening sockets that the service manager keeps from one process of a cell to the next.

Between two processes the kernel queues connections on a kept socket, so callers wait for the next process
instead of being refused. The manager closes the sockets when the service is stopped.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence

from bbs.serving.address import BACKLOG, Address
from common.notify import Notifier

logger = logging.getLogger(__name__)


class KeptListeners:
    """Implements :class:`rep.server.ListenerStore`. stored: descriptors from the manager, by name."""

    def __init__(self, notifier: Notifier, stored: Mapping[str, int]) -> None:
        self._notifier = notifier
        self._stored = {name: socket.socket(fileno=number) for name, number in stored.items()}

    def take(self, name: str, address: Address) -> socket.socket | None:
        """The listener that the previous process had under this name, if it has this address."""
        kept = self._stored.pop(name, None)
        if kept is None:
            return None
        if _listens_on(kept, address):
            kept.setblocking(False)
            kept.listen(BACKLOG)
            logger.info("listener-taken-over", extra={"data": {"name": name, "address": str(address)}})
            return kept
        self._discard(name, kept)
        return None

    def keep(self, name: str, sockets: Sequence[socket.socket]) -> None:
        """Have the manager keep a listener; one on several addresses is bound anew by each process."""
        if len(sockets) == 1:
            self._notifier.store(name, sockets[0].fileno())

    def _discard(self, name: str, kept: socket.socket) -> None:
        self._notifier.forget(name)
        kept.close()


def _listens_on(kept: socket.socket, address: Address) -> bool:
    try:
        bound = kept.getsockname()
        listens = kept.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        return False
    return (
        bool(listens)
        and kept.family in (socket.AF_INET, socket.AF_INET6)
        and bound[:2] == (address.host, address.port)
    )
