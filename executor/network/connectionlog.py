"""Log of containers' connections, with the guid of the instance.

It has the connections allowed by egress rules with ``log``. It also has, once per minute and container, a
connection refused by the connection limit.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable

from executor.errors import NetworkError
from executor.network.config import Address
from executor.network.nflog import LogGroup
from executor.network.rules import LIMIT_PREFIX

logger = logging.getLogger(__name__)


class ConnectionLog:
    """Reads a log group while it is open."""

    def __init__(
        self,
        group: int,
        guid_of: Callable[[Address], str | None],
        connection_limit: int,
        on_limit: Callable[[str], None],
    ) -> None:
        """on_limit: called with the guid of an instance at its connection limit."""
        self._number = group
        self._guid_of = guid_of
        self._connection_limit = connection_limit
        self._on_limit = on_limit
        self._group: LogGroup | None = None

    def open(self) -> None:
        """Call in a running event loop. A kernel without log groups only causes a log message."""
        try:
            self._group = LogGroup(self._number)
        except NetworkError as error:
            logger.error("egress-log-not-available", extra={"data": {"error": str(error)}})
            return
        asyncio.get_running_loop().add_reader(self._group.fileno(), self._read)

    def close(self) -> None:
        """Closing twice is allowed."""
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
            if error.errno == errno.ENOBUFS:
                logger.warning("egress-log-lost-connections")
            else:  # the error would repeat immediately
                logger.error("egress-log-not-available", extra={"data": {"error": error.strerror}})
                self.close()
            return
        for packet in packets:
            guid = self._guid_of(packet.source)
            data = {
                "guid": guid,
                "source": str(packet.source),
                "destination": str(packet.destination),
                "protocol": packet.protocol,
                "port": packet.destination_port,
            }
            if packet.prefix == LIMIT_PREFIX:
                limit = {"connection_limit": self._connection_limit}
                logger.warning("container-has-too-many-connections", extra={"data": data | limit})
                if guid is not None:
                    self._on_limit(guid)
            else:
                logger.info("egress-connection-allowed", extra={"data": data})
