"""Messages to the service manager: the datagram protocol of sd_notify(3).

The only module that knows the protocol. Packages for it are unmaintained or need libsystemd's headers; the
protocol is a datagram of ``NAME=value`` lines to the socket of ``$NOTIFY_SOCKET``.

Without that variable every call is without effect. The manager must not hold up the process: a datagram that
does not fit into its queue is dropped. Messages that count are repeated by their senders.
"""

from __future__ import annotations

import array
import logging
import os
import socket
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Final, Self

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG_TIME: Final = "WATCHDOG_USEC"
WATCHDOG_PROCESS: Final = "WATCHDOG_PID"
STORED_COUNT: Final = "LISTEN_FDS"
STORED_PROCESS: Final = "LISTEN_PID"
STORED_NAMES: Final = "LISTEN_FDNAMES"
FIRST_STORED: Final = 3
"""The number of the first descriptor that the manager passes on."""
STATUS_CHARACTERS: Final = 200

logger = logging.getLogger(__name__)


class Notifier:
    """address: path of the socket, with ``@`` for an abstract one; empty: no manager.

    watchdog_s: the manager ends a process that does not send WATCHDOG=1 this often; None: it does not watch.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Self:
        """The notifier that the manager asks for. Its variables are removed: child processes have no part."""
        address = environ.pop(SOCKET, "")
        time_us, process = environ.pop(WATCHDOG_TIME, ""), environ.pop(WATCHDOG_PROCESS, "")
        watched = time_us.isdecimal() and int(time_us) > 0 and process in ("", str(os.getpid()))
        if not address.startswith(("/", "@")):
            return cls()
        return cls(address, int(time_us) / 1e6 if watched else None)

    @property
    def enabled(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for people, which `systemctl status` shows."""
        self._send(f"STATUS={' '.join(text.split())[:STATUS_CHARACTERS]}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """The start or stop in progress may take that long from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """A reload takes place inside."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.ready()

    def store(self, name: str, descriptor: int) -> None:
        """Have the manager keep a descriptor for the next process of the service, under a name."""
        self._send("FDSTORE=1", f"FDNAME={name}", descriptors=[descriptor])

    def forget(self, name: str) -> None:
        """Have the manager close the stored descriptors of a name."""
        self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def close(self) -> None:
        """Close the socket; a later call opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str, descriptors: Sequence[int] = ()) -> None:
        if not self._address:
            return
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendmsg(["\n".join(lines).encode()], rights, 0, self._address)
        except OSError as error:
            data = {"message": lines[0].partition("=")[0], "error": str(error)}
            logger.warning("service-manager-not-notified", extra={"data": data})


def stored_descriptors(environ: MutableMapping[str, str] = os.environ) -> dict[str, int]:
    """The descriptors that the manager kept for this process, by name; the variables are removed.

    Child processes do not inherit them. Of two with the same name the first counts, and the other is closed.
    """
    count, process = environ.pop(STORED_COUNT, ""), environ.pop(STORED_PROCESS, "")
    names = environ.pop(STORED_NAMES, "").split(":")
    if not count.isdecimal() or process != str(os.getpid()):
        return {}
    found: dict[str, int] = {}
    for position, number in enumerate(range(FIRST_STORED, FIRST_STORED + int(count))):
        os.set_inheritable(number, False)
        name = names[position] if position < len(names) else ""
        if not name or name in found:
            os.close(number)
        else:
            found[name] = number
    return found
