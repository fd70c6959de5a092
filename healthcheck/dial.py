"""TCP sockets with a deadline, and the error texts of a failed connection.

This module uses plain blocking sockets of ``_socket``. Importing asyncio, which ``healthcheck.probe`` uses
inside the agent, would quadruple the run time of the program.
"""

from __future__ import annotations

import _socket
import time

from common.goerrors import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PORT = 65535
_PORTS = {
    "ftp": 21,
    "ftps": 990,
    "gopher": 70,
    "http": 80,
    "https": 443,
    "imap2": 143,
    "imap3": 220,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
    "smtp": 25,
    "submission": 587,
    "ssh": 22,
    "telnet": 23,
}
"""TCP services that resolve without /etc/services."""
_UDP_PORTS = {"domain": 53}


class DialError(Exception):
    """A failed connection; ``str()`` is the text that follows the address."""


class Deadline:
    """A time on the monotonic clock; ``None`` means no limit. Of nested deadlines, the earliest applies."""

    def __init__(self, at: float | None) -> None:
        self.at = at

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        return cls(None if seconds is None else time.monotonic() + seconds)

    def or_sooner(self, other: Deadline) -> Deadline:
        ends = [end for end in (self.at, other.at) if end is not None]
        return Deadline(min(ends) if ends else None)

    @property
    def passed(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    def apply(self, sock: _socket.socket) -> None:
        """Set the timeout of the next call on ``sock``. Raises TimeoutError if the deadline has passed."""
        if self.at is None:
            sock.settimeout(None)
            return
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline passed")
        sock.settimeout(left)


def connect(host: str, port: int, deadline: Deadline, family: int = _socket.AF_INET) -> _socket.socket:
    """A connected TCP socket. Raises OSError, including TimeoutError."""
    sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        deadline.apply(sock)
        sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def check_port(network: str, host: str, port: str, deadline: Deadline) -> None:
    """Connect and close, on the network of ``-network``. Raises DialError, or TimeoutError at the
    deadline.
    """
    if network in ("unix", "unixgram", "unixpacket"):
        _check_unix(network, f"{host}:{port}", deadline)
        return
    if network not in ("tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"):
        raise DialError(f"dial {network}: unknown network {network}")
    if ":" in port:
        raise DialError(f"dial {network}: address {host}:{port}: too many colons in address")
    number = port_number(network, port)
    if network.endswith("6"):
        raise DialError(f"dial {network}: address {host}: no suitable address found")
    if network.startswith("udp"):  # UDP sends nothing here, so the peer cannot refuse
        return
    try:
        connect(host, number, deadline).close()
    except TimeoutError:
        raise
    except OSError as error:
        raise DialError(f"dial {network} {host}:{number}: connect: {reason(error)}") from error


def _check_unix(network: str, path: str, deadline: Deadline) -> None:
    kinds = {
        "unix": _socket.SOCK_STREAM,
        "unixgram": _socket.SOCK_DGRAM,
        "unixpacket": _socket.SOCK_SEQPACKET,
    }
    sock = _socket.socket(_socket.AF_UNIX, kinds[network] | _socket.SOCK_CLOEXEC)
    try:
        deadline.apply(sock)
        sock.connect(path)
    except TimeoutError:
        raise
    except OSError as error:
        raise DialError(f"dial {network} {path}: connect: {reason(error)}") from error
    finally:
        sock.close()


def port_number(network: str, port: str, services: Callable[[str], int | None] | None = None) -> int:
    """The number of a port: digits with an optional sign, or a service name. Raises DialError."""
    digits = port[1:] if port[:1] in ("-", "+") else port
    if not digits or (digits.isascii() and digits.isdigit()):
        number = int(digits or "0")
        if number > MAX_PORT or (number and port[0] == "-"):
            raise DialError(f"dial {network}: address {port}: invalid port")
        return number
    protocol = network.rstrip("46")
    known = _PORTS if protocol == "tcp" else _UDP_PORTS
    name = port.lower()
    listed = (services or (lambda text: listed_port(protocol, text)))(name)
    found = listed if listed is not None else known.get(name)
    if found is None:
        raise DialError(f"dial {network}: lookup {network}/{port}: unknown port")
    return found


def listed_port(protocol: str, name: str, path: str = "/etc/services") -> int | None:
    """The port of the service or alias ``name`` (lower case) in the image's list of services."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.partition("#")[0].split()
                if len(words) < 2:
                    continue
                number, _, kind = words[1].partition("/")
                names = [words[0], *words[2:]]
                if kind == protocol and number.isdigit() and name in [word.lower() for word in names]:
                    return int(number)
    except OSError:
        return None
    return None
