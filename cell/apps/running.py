"""Wait for the instances of a new LRP: until all are RUNNING, or one has failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bbs.client.api import BBSClient
from bbs.models.actual_lrp import ActualLRP
from cell.client.session import CommandFailed

POLLING_INTERVAL_S = 0.1
PROGRESS_INTERVAL_S = 5.0
"""Seconds between two progress lines."""
LISTENS_WITHIN_S = 1.0
"""Limit for a connection to an instance; after it the port counts as closed."""
RUNNING, CRASHED = "RUNNING", "CRASHED"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not all instances are up yet, but they can be. running: number of instances up."""

    running: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance will not start; the message names it and the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class AllRunning:
    """All instances run. rows: in the order of their indices."""

    rows: tuple[ActualLRP, ...]


def classify(rows: Sequence[ActualLRP], instances: int) -> Waiting | Failed | AllRunning:
    """Classify the rows of an LRP with ``instances`` expected instances."""
    ordered = sorted(rows, key=lambda row: row.actual_lrp_key.index)
    for row in ordered:
        which = f"instance {row.actual_lrp_key.index}"
        if row.placement_error:
            return Failed(f"{which} was not placed: {row.placement_error}")
        if row.crash_count or row.state == CRASHED:
            return Failed(f"{which} crashed: {row.crash_reason or 'no reason given'}")
    running = [row for row in ordered if row.state == RUNNING]
    return AllRunning(tuple(running)) if len(running) >= instances else Waiting(len(running))


async def until_running(
    bbs: BBSClient,
    process_guid: str,
    instances: int,
    timeout_s: float,
    show: Callable[[str], None] = lambda _: None,
) -> tuple[ActualLRP, ...]:
    """The instances. show: called with a progress line from time to time.

    Raises CommandFailed if one crashes, cannot be placed or takes too long; BBSError.
    """
    begun = time.monotonic()
    deadline, next_line = begun + timeout_s, begun + PROGRESS_INTERVAL_S
    while True:
        match classify(await bbs.actual_lrps(process_guid=process_guid), instances):
            case AllRunning(rows):
                return rows
            case Failed(reason):
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
    """``host:port`` mapped to a port of an instance, or None."""
    net = row.actual_lrp_net_info
    for mapping in net.ports:
        if mapping.container_port == container_port and mapping.host_port:
            return f"{net.address}:{mapping.host_port}"
    return None


async def listens(where: str) -> bool:
    """Whether ``host:port`` accepts a connection."""
    host, _, port = where.rpartition(":")
    try:
        async with asyncio.timeout(LISTENS_WITHIN_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
