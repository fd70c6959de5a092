"""The pool of host ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from executor.errors import NetworkError, NoFreePorts

PORT_START = 61001
"""First host port: above the range that Linux takes for outgoing connections."""

Interval = tuple[int, int]

PORT_COUNT = 4534
"""Up to 65534."""

MAX_PORTS = 100
"""Host ports of one container. An app has a few; one with thousands would leave none to the others."""


def refuse_overlap(start: int, count: int, ephemeral: Interval, reserved: str) -> None:
    """Refuse host ports that the kernel may take for connections the host itself begins.

    ephemeral: first and last of that range. reserved: the kernel's list of exceptions, as ``1-5,9``. Raises
    NetworkError that says what to set.
    """
    mine = set(range(start, start + count)) & set(range(ephemeral[0], ephemeral[1] + 1))
    for part in filter(None, reserved.strip().split(",")):
        first, _, last = part.partition("-")
        mine.difference_update(range(int(first), int(last or first) + 1))
    if mine:
        raise NetworkError(
            f"host ports {start}-{start + count - 1} overlap those the kernel takes for outgoing connections "
            f"({ephemeral[0]}-{ephemeral[1]}); set another host_port_start, or "
            f"`sysctl -w net.ipv4.ip_local_reserved_ports={start}-{start + count - 1}`"
        )


class PortPool:
    """Ports by guid. A returned port rests: all that were free before it are handed out first."""

    def __init__(self, start: int = PORT_START, count: int = PORT_COUNT) -> None:
        """Raises NetworkError for a range that is no range of ports."""
        if start < 1 or count < 0 or start + count - 1 > 65535:
            raise NetworkError(f"no range of ports: {count} from {start}")
        self._free = dict.fromkeys(range(start, start + count))  # in the order they are to be taken
        self._all = range(start, start + count)
        self._taken: dict[str, list[int]] = {}

    @property
    def free(self) -> int:
        """How many are free."""
        return len(self._free)

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Take ``count`` ports for ``guid``, ascending. Raises NetworkError, or NoFreePorts, and takes
        none."""
        if count > MAX_PORTS:
            raise NetworkError(
                f"{count} host ports wanted for {guid}: a container may have {MAX_PORTS} at most"
            )
        if count > len(self._free):
            raise NoFreePorts(f"no free host ports: {count} wanted for {guid}, {len(self._free)} left")
        ports = sorted(port for port, _ in zip(self._free, range(count), strict=False))
        self._take(guid, ports)
        return tuple(ports)

    def claim(self, guid: str, ports: Iterable[int]) -> None:
        """Note that ``guid`` has these ports, new or not. Raises NetworkError if another has one."""
        mine = self._taken.get(guid, [])
        new = [port for port in ports if port not in mine and port in self._all]
        for port in new:
            if port not in self._free:
                raise NetworkError(f"host port {port} wanted for {guid} belongs to another container")
        self._take(guid, new)

    def release(self, guid: str) -> tuple[int, ...]:
        """Put the ports of ``guid`` back; none for unknown guids."""
        ports = tuple(self._taken.pop(guid, ()))
        self._free.update(dict.fromkeys(ports))
        return ports

    def _take(self, guid: str, ports: Iterable[int]) -> None:
        for port in ports:
            del self._free[port]
            self._taken.setdefault(guid, []).append(port)
