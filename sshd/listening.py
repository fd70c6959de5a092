"""A listening TCP socket for an address text in Go's format; imports no library."""

from __future__ import annotations

import socket

from common.goerrors import AddressError, reason, split_host_port


class ListenFailed(OSError):
    """A failed listen; the text is Go's."""


def listen(address: str, backlog: int) -> socket.socket:
    """Listen on ``host:port``; an empty host means all addresses of both families. Raises ListenFailed."""
    try:
        host, port = split_host_port(address)
    except AddressError as error:
        raise ListenFailed(f"listen tcp: {error}") from None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ListenFailed(f"listen tcp: lookup {host}: no such host") from None
    both = not host and socket.has_dualstack_ipv6()
    family, _, _, _, where = found[0]
    if both:
        family, where = socket.AF_INET6, ("::", port)
    step = "socket"
    listening = None
    try:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        step = "bind"
        listening.bind(where)
        step = "listen"
        listening.listen(backlog)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise ListenFailed(f"listen tcp {address}: {step}: {reason(error)}") from None
    return listening
