"""Sockets for probes of listeners on this machine."""

from __future__ import annotations

import socket


async def open_here(family: socket.AddressFamily) -> socket.socket:
    """A non-blocking TCP socket in the network of the tests."""
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
