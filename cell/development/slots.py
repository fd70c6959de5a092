"""Slots for several development cells on one machine.

Each cell of `cell dev` takes a slot: a network, a packet table and a range of host ports, so two cells
never allocate the same port. A slot is held by a lock on a file, which the kernel releases at any end of the
process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from pyroute2 import IPRoute

from cell.assembly.locks import LOCK_DIR, take
from cell.errors import CommandError
from executor.network.config import NetworkConfig
from executor.network.overlap import overlap

SLOTS = 9
PORTS_PER_SLOT = 500
DENIED_NETWORKS = (
    *("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("fc00::/7", "fe80::/10"),
)
"""Private and link-local addresses: apps of a development cell reach them only by an egress rule."""

FIRST_PORT = 61001
"""The first port above the kernel's usual ephemeral range."""

SUBNET_POOLS = tuple(map(IPv4Network, ("10.255.0.0/16", "10.254.0.0/16", "172.31.0.0/16", "192.168.0.0/16")))
"""Pools of the cells' subnets; the first one without a conflict on the host is used."""

SUBNET_PREFIX = 20
"""4094 addresses per cell."""


class NoFreeSlot(CommandError):
    """All slots of this machine are taken, or no subnet is free."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The resources of one cell on the machine."""

    number: int
    pool: IPv4Network = SUBNET_POOLS[0]

    @property
    def cell_id(self) -> str:
        return f"cell-{self.number + 1}"

    @property
    def network_name(self) -> str:
        return f"cell-dev-{self.number + 1}"

    @property
    def nft_table(self) -> str:
        return f"diego_cell_dev_{self.number + 1}"

    @property
    def subnet(self) -> str:
        """The slot's subnet of the pool."""
        size = 1 << (32 - SUBNET_PREFIX)
        return f"{self.pool[self.number * size]}/{SUBNET_PREFIX}"

    @property
    def host_port_start(self) -> int:
        return FIRST_PORT + self.number * PORTS_PER_SLOT


def conflict_of(slot: Slot) -> str | None:
    """Describe another use of the slot's subnet on this host; None if there is none.

    Runs in a separate thread: the netlink library starts an event loop, and callers may be in one.
    """
    config = NetworkConfig(name=slot.network_name, table=slot.nft_table, subnet=slot.subnet)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_overlap, config).result()


def _overlap(config: NetworkConfig) -> str | None:
    with IPRoute() as netlink:
        return overlap(config, netlink)


@contextmanager
def take_slots(
    count: int, lock_dir: Path = LOCK_DIR, conflict_of: Callable[[Slot], str | None] = conflict_of
) -> Iterator[list[Slot]]:
    """Hold ``count`` slots, lowest first, with unused subnets. Raises NoFreeSlot."""
    lock_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        taken: list[Slot] = []
        for number in range(SLOTS):
            if len(taken) == count:
                break
            if take(lock_dir / f"slot-{number}.lock", stack) is None:
                taken.append(_choose_subnet(Slot(number), conflict_of))
        if len(taken) < count:
            raise NoFreeSlot(
                f"{count} development cell(s) need a slot each, but only {len(taken)} of {SLOTS} are free; "
                "stop another `cell dev` first"
            )
        yield taken


def _choose_subnet(slot: Slot, conflict_of: Callable[[Slot], str | None]) -> Slot:
    obstacles = []
    for pool in SUBNET_POOLS:
        candidate = replace(slot, pool=pool)
        if (obstacle := conflict_of(candidate)) is None:
            return candidate
        obstacles.append(obstacle)
    raise NoFreeSlot(f"no subnet is free for a development cell: {'; '.join(obstacles)}")
