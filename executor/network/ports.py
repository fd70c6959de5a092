"""Pool of host ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from executor.errors import NetworkError, NoFreePorts

PORT_START = 61001
"""First host port: above Linux's range for outgoing connections."""

Interval = tuple[int, int]

PORT_COUNT = 4534
"""Number of host ports: up to 65534."""

MAX_PORTS = 100
"""Host ports of one container. Usual apps have a few; one with thousands would exhaust the pool."""


def refuse_overlap(start: int, count: int, ephemeral: Interval, reserved: str) -> None:
    """Refuse host ports in the kernel's range for outgoing connections.

    ephemeral: first and last port of that range. reserved: the kernel's list of exceptions, as ``1-5,9``.
    Raises NetworkError that says which setting to change.
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
    """Ports by guid. Released ports are reused last."""

    def __init__(self, start: int = PORT_START, count: int = PORT_COUNT) -> None:
        """Raises NetworkError for an invalid range."""
        if start < 1 or count < 0 or start + count - 1 > 65535:
            raise NetworkError(f"no range of ports: {count} from {start}")
        self._free = dict.fromkeys(range(start, start + count))  # in order of allocation
        self._all = range(start, start + count)
        self._taken: dict[str, list[int]] = {}

    @property
    def free(self) -> int:
        """Number of free ports."""
        return len(self._free)

    def has(self, port: int) -> bool:
        """Whether the port belongs to the pool, free or not."""
        return port in self._all

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Reserve ``count`` ports for ``guid``, in ascending order. Raises NetworkError or NoFreePorts,
        without reserving any.
        """
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
        """Assign these ports to ``guid``. Raises NetworkError if another guid has one of them."""
        mine = self._taken.get(guid, [])
        new = [port for port in ports if port not in mine and port in self._all]
        for port in new:
            if port not in self._free:
                raise NetworkError(f"host port {port} wanted for {guid} belongs to another container")
        self._take(guid, new)

    def release(self, guid: str) -> tuple[int, ...]:
        """Release the ports of ``guid``; empty for unknown guids."""
        ports = tuple(self._taken.pop(guid, ()))
        self._free.update(dict.fromkeys(ports))
        return ports

    def _take(self, guid: str, ports: Iterable[int]) -> None:
        for port in ports:
            del self._free[port]
            self._taken.setdefault(guid, []).append(port)
