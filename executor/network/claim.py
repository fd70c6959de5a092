"""Claims on the names, addresses and ports of a cell's network, held while the cell runs.

Two cells with the same table, interface, subnet or host ports make each other's containers unreachable
without an error. A claim is an abstract Unix socket for each resource, named after it. The kernel keeps
these names per network namespace, like tables, interfaces and ports. It drops them when the process ends,
even after a crash: the resources of a dead cell are free.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path

from executor.errors import NetworkError
from executor.network.config import NetworkConfig

_PREFIX = "diego-cell-network"
_LISTING = Path("/proc/self/net/unix")
_DIGEST_LENGTH = 32
"""Length of a digest in a socket name, which has at most 107 bytes."""

INTERFACE, TABLE, SUBNET, SUBNET_IPV6, PORTS = "interface", "table", "subnet", "subnet6", "ports"
_WORDS = {
    INTERFACE: ("the interface", "network_name"),
    TABLE: ("the packet table", "nft_table"),
    SUBNET: ("the subnet", "network_subnet"),
    SUBNET_IPV6: ("the subnet", "network_subnet_ipv6"),
    PORTS: ("the host ports", "host_port_start"),
}
"""Description of a resource, and the configuration key that sets it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A claimed resource.

    kind: key of :data:`_WORDS`. what: the digest of a name, a network, or ``first-last``. pid: the
    holder's.
    """

    kind: str
    what: str
    pid: int

    @property
    def socket_name(self) -> str:
        return f"{_PREFIX}:{self.pid}:{self.kind}:{self.what}"

    def meets(self, other: Holding) -> bool:
        """Whether the two holdings conflict."""
        if self.kind != other.kind:
            return False
        if self.kind == PORTS:
            (first, last), (other_first, other_last) = (
                map(int, one.what.split("-")) for one in (self, other)
            )
            return first <= other_last and other_first <= last
        if self.kind in (SUBNET, SUBNET_IPV6):
            return ip_network(self.what).overlaps(ip_network(other.what))
        return self.what == other.what


def holdings(config: NetworkConfig, pid: int = 0) -> list[Holding]:
    """The resources of a cell with this network configuration. pid: 0 for this process."""
    pid = pid or os.getpid()
    found = [
        Holding(INTERFACE, _digest(config.name), pid),
        Holding(TABLE, _digest(config.table), pid),
        Holding(SUBNET, str(config.network), pid),
    ]
    if config.network_ipv6 is not None:
        found.append(Holding(SUBNET_IPV6, str(config.network_ipv6), pid))
    if config.port_count:
        last = config.port_start + config.port_count - 1
        found.append(Holding(PORTS, f"{config.port_start}-{last}", pid))
    return found


def conflict(mine: Iterable[Holding], others: Iterable[Holding]) -> str | None:
    """Message about the first conflict of ``mine`` with ``others``; None without conflict."""
    others = list(others)
    for one in mine:
        for other in others:
            if one.meets(other):
                words, key = _WORDS[one.kind]
                shown = f" {other.what}" if one.kind not in (INTERFACE, TABLE) else ""
                return (
                    f"another cell, process {other.pid}, uses {words}{shown}; "
                    f"stop that cell, or set another {key} for this one"
                )
    return None


def listed(text: str) -> list[Holding]:
    """All holdings in the kernel's list of Unix sockets."""
    found = []
    for line in text.splitlines():
        prefix, *parts = line.rpartition(" ")[2].split(":", 3)
        if prefix == f"@{_PREFIX}" and len(parts) == 3 and parts[0].isdecimal() and parts[1] in _WORDS:
            holding = Holding(parts[1], parts[2], int(parts[0]))
            with suppress(ValueError):  # any program of the host can bind such a name
                holding.meets(holding)
                found.append(holding)
    return found


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]


class Claim:
    """The holdings of one cell."""

    def __init__(self, config: NetworkConfig, besides: Collection[Holding] = ()) -> None:
        """besides: what this process holds already and may share."""
        self._besides = {one.socket_name for one in besides}
        self._mine = [one for one in holdings(config) if one.socket_name not in self._besides]
        self._held = ExitStack()
        self._taken = False

    def take(self) -> None:
        """Claim the resources; claiming again is allowed. Raises NetworkError that names the conflict.

        Two cells that start at the same time may both be refused; they never both succeed.
        """
        if self._taken:
            return
        with ExitStack() as held:
            taken_here = [one for one in self._mine if not _bind(one, held)]
            names = {one.socket_name for one in self._mine} | self._besides
            others = [one for one in _listing() if one.socket_name not in names]
            if reason := conflict(self._mine, [*others, *taken_here]):
                raise NetworkError(reason)
            self._held = held.pop_all()
        self._taken = True

    def release(self) -> None:
        """Releasing twice is allowed."""
        self._held.close()
        self._taken = False


def _bind(one: Holding, held: ExitStack) -> bool:
    """False if another claim of this process holds it already. Raises NetworkError."""
    try:
        name = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))
        name.bind(f"\0{one.socket_name}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise NetworkError(f"the cell's network cannot be claimed: {error.strerror}") from error
    return True


def _listing() -> list[Holding]:
    try:
        return listed(_LISTING.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise NetworkError(f"{_LISTING}: {error.strerror}") from error
