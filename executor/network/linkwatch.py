"""Notification of network interfaces that are removed or go down."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterator

from executor.errors import NetworkError
from executor.network import netlink

logger = logging.getLogger(__name__)

_LINK_GROUP = 1
"""RTMGRP_LINK: interface events."""
_NEW_LINK, _DELETE_LINK = 16, 17
_NAME = 3
_UP, _EVERYTHING = 0x1, 0xFFFFFFFF  # the flags of a new interface have all changed
_RECEIVE_BYTES = 1 << 16
_RECEIVE_BUFFER = 1 << 20

_LINK = struct.Struct("=BxHiII")


class LinkWatch:
    """Calls ``on_loss`` for lost interfaces while it is open."""

    def __init__(self, prefix: str, on_loss: Callable[[], None]) -> None:
        """prefix: name prefix of the watched interfaces. on_loss: called in the event loop."""
        self._prefix = prefix
        self._on_loss = on_loss
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Call in a running event loop. Raises NetworkError."""
        try:
            self._socket = netlink.open_socket(socket.NETLINK_ROUTE)
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.bind((0, _LINK_GROUP))
        except OSError as error:
            self.close()
            raise NetworkError(f"interfaces cannot be watched: {error.strerror}") from error
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Closing twice is allowed."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                logger.error("links-not-watched", extra={"data": {"error": error.strerror}})
                self.close()
            self._on_loss()  # events were lost: assume a lost interface
            return
        if any(name.startswith(self._prefix) for name in lost_links(data)):
            self._on_loss()


def lost_links(data: bytes) -> Iterator[str]:
    """Names of the interfaces that were removed or went down, from netlink messages."""
    for kind, _, body in netlink.messages(data):
        if kind in (_NEW_LINK, _DELETE_LINK) and len(body) >= _LINK.size:
            _, _, _, flags, changed = _LINK.unpack_from(body)
            went_down = not flags & _UP and changed & _UP and changed != _EVERYTHING
            if kind == _DELETE_LINK or went_down:
                name = dict(netlink.attributes(body[_LINK.size :])).get(_NAME, b"")
                yield name.rstrip(b"\0").decode(errors="replace")
