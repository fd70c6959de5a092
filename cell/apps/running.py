"""Waits for the instances of an LRP that was just desired: all RUNNING, or why they will not be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bbs.client.api import ActualLRPCalls
from bbs.models.actual_lrp import ActualLRP
from cell.client.session import CommandFailed

POLLING_INTERVAL_S = 0.1
PROGRESS_INTERVAL_S = 5.0
"""Between two lines for people who wait."""
LISTENS_WITHIN_S = 1.0
"""How long a connection to an instance may take before nothing seems to listen there."""
RUNNING, CRASHED = "RUNNING", "CRASHED"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Neither up nor hopeless. running: how many instances are up."""

    running: int


@dataclass(frozen=True, slots=True)
class Hopeless:
    """An instance that will not come up; says which and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Up:
    """All instances are. rows: in the order of their indices."""

    rows: tuple[ActualLRP, ...]


def judge(rows: Sequence[ActualLRP], instances: int) -> Waiting | Hopeless | Up:
    """What the rows of an LRP mean for somebody who waits for ``instances`` of it."""
    ordered = sorted(rows, key=lambda row: row.actual_lrp_key.index)
    for row in ordered:
        which = f"instance {row.actual_lrp_key.index}"
        if row.placement_error:
            return Hopeless(f"{which} found no place: {row.placement_error}")
        if row.crash_count or row.state == CRASHED:
            return Hopeless(f"{which} crashed: {row.crash_reason or 'without a reason'}")
    running = [row for row in ordered if row.state == RUNNING]
    return Up(tuple(running)) if len(running) >= instances else Waiting(len(running))


async def until_running(
    bbs: ActualLRPCalls,
    process_guid: str,
    instances: int,
    timeout_s: float,
    show: Callable[[str], None] = lambda _: None,
) -> tuple[ActualLRP, ...]:
    """The instances. show: takes a line from time to time while they start.

    Raises CommandFailed when one crashes, finds no place or takes too long; BBSError.
    """
    begun = time.monotonic()
    deadline, next_line = begun + timeout_s, begun + PROGRESS_INTERVAL_S
    while True:
        match judge(await bbs.actual_lrps(process_guid=process_guid), instances):
            case Up(rows):
                return rows
            case Hopeless(reason):
                raise CommandFailed(reason)
            case Waiting(running):
                if time.monotonic() > deadline:
                    raise CommandFailed(
                        f"after {timeout_s:g} s {running} of {instances} instances are running"
                    )
                if time.monotonic() > next_line:
                    next_line += PROGRESS_INTERVAL_S
                    show(f"   {running} of {instances} running after {time.monotonic() - begun:.0f} s")
        await asyncio.sleep(POLLING_INTERVAL_S)


def address(row: ActualLRP, container_port: int) -> str | None:
    """``host:port`` that leads to a port of an instance; None when nothing does."""
    net = row.actual_lrp_net_info
    for mapping in net.ports:
        if mapping.container_port == container_port and mapping.host_port:
            return f"{net.address}:{mapping.host_port}"
    return None


async def listens(where: str) -> bool:
    """Whether something takes a connection at ``host:port``."""
    host, _, port = where.rpartition(":")
    try:
        async with asyncio.timeout(LISTENS_WITHIN_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
