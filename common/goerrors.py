"""System errors and addresses in Go's format, on which clients and tests rely.

Examples: ``open /no/such: no such file or directory``, ``dial tcp 127.0.0.1:9: connect: connection refused``.
"""

from __future__ import annotations

import os


def errno_text(number: int) -> str:
    """The system's text for an error number, in lower case."""
    text = os.strerror(number)
    return text[:1].lower() + text[1:]


def reason(error: OSError) -> str:
    """The bare text of a system error."""
    return errno_text(error.errno) if error.errno else str(error)


def path_error(operation: str, path: str, error: OSError) -> str:
    """Text like ``open x: permission denied``."""
    return f"{operation} {path}: {reason(error)}"


def join_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def lookup_failed(host: str) -> str:
    """Text of a failed look-up before a dial."""
    return f"dial tcp: lookup {host}: no such host"


def dial_failed(host: str, port: int, error: OSError) -> str:
    """Text of a failed dial. A time limit of the dialling program has no error number."""
    timed_out = isinstance(error, TimeoutError) and not error.errno
    words = "i/o timeout" if timed_out else f"connect: {reason(error)}"
    return f"dial tcp {join_host_port(host, port)}: {words}"


class AddressError(ValueError):
    """An invalid ``host:port`` text; the message is Go's."""


def split_host_port(address: str) -> tuple[str, int]:
    """Host (may be empty) and port of ``host:port``. Raises :class:`AddressError`."""
    host, colon, port = address.rpartition(":")
    if not colon:
        raise AddressError(f"address {address}: missing port in address")
    if host.startswith("["):
        if not host.endswith("]"):
            raise AddressError(f"address {address}: missing ']' in address")
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"address {address}: too many colons in address")
    if not port.isascii() or not port.isdigit():
        if not port:
            return host, 0
        raise AddressError(f"lookup tcp/{port}: unknown port")
    if int(port) > 65535:
        raise AddressError(f"address {port}: invalid port")
    return host, int(port)
