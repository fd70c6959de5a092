"""Room for several development cells on one machine.

Each `cell dev` cell takes a slot: its own network, packet table and range of host ports, so that
two of them never hand out the same port. A slot is held by a lock on a file, which the kernel lets go of
however the process ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

SLOTS = 9
PORTS_PER_SLOT = 500
DENIED_NETWORKS = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
"""Private and link-local addresses: what an app of a development cell reaches by an egress rule only."""

FIRST_PORT = 61001
"""The first port past the kernel's usual ephemeral range."""

LOCK_DIR = Path("/run/diego-cell")


class NoFreeSlot(Exception):
    """Every slot of this machine is taken."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One cell's share of the machine."""

    number: int

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
        """4094 addresses of 10.255.0.0/16."""
        return f"10.255.{self.number * 16}.0/20"

    @property
    def host_port_start(self) -> int:
        return FIRST_PORT + self.number * PORTS_PER_SLOT


@contextmanager
def take_slots(count: int, lock_dir: Path = LOCK_DIR) -> Iterator[list[Slot]]:
    """Hold ``count`` slots, lowest first. Raises NoFreeSlot."""
    lock_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        taken: list[Slot] = []
        for number in range(SLOTS):
            if len(taken) == count:
                break
            if _lock(lock_dir / f"slot-{number}.lock", stack):
                taken.append(Slot(number))
        if len(taken) < count:
            raise NoFreeSlot(
                f"{count} development cell(s) wanted, {len(taken)} of {SLOTS} places are free; "
                "stop another `cell dev` first"
            )
        yield taken


def _lock(path: Path, stack: ExitStack) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
