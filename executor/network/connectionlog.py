"""Connections that egress rules with ``log`` let through, in the cell's own log with the instance's guid."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable

from executor.errors import NetworkError
from executor.network.config import Address
from executor.network.nflog import LogGroup

logger = logging.getLogger(__name__)


class ConnectionLog:
    """Listens to a log group while it is open."""

    def __init__(self, group: int, guid_of: Callable[[Address], str | None]) -> None:
        self._number = group
        self._guid_of = guid_of
        self._group: LogGroup | None = None

    def open(self) -> None:
        """Call in a running event loop. Where the kernel has no log groups, that is logged, and all."""
        try:
            self._group = LogGroup(self._number)
        except NetworkError as error:
            logger.error("egress-log-not-available", extra={"data": {"error": str(error)}})
            return
        asyncio.get_running_loop().add_reader(self._group.fileno(), self._read)

    def close(self) -> None:
        """Closing again is fine."""
        if self._group is not None:
            asyncio.get_running_loop().remove_reader(self._group.fileno())
            self._group.close()
            self._group = None

    def _read(self) -> None:
        if self._group is None:
            return
        try:
            packets = self._group.read()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            logger.warning("egress-log-lost-connections")
            return
        for packet in packets:
            data = {
                "guid": self._guid_of(packet.source),
                "source": str(packet.source),
                "destination": str(packet.destination),
                "protocol": packet.protocol,
                "port": packet.destination_port,
            }
            logger.info("egress-connection-allowed", extra={"data": data})
