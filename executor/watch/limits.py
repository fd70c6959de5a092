"""Watch over container limits: reports reached limits in the app's log.

The kernel enforces most limits; it refuses or kills without a message to the app's owner. This module finds
such events in the kernel's counters and reports them. It also enforces disk space and number of files, by
ending the container, if the engine's storage cannot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import KW_ONLY, dataclass, field

from common.gotext import format_size
from executor import cgroup
from executor.cgroup import Mount
from executor.clock import Clock
from executor.containment import INTERNAL_ERROR, Containment, is_shortage
from executor.model import Container
from executor.pools import READINGS
from executor.watch.counters import LimitCounters, read_limit_counters
from executor.watch.diskusage import DiskUsage
from executor.watch.layerusage import LayerUsage
from executor.watch.readings import Watched
from executor.watch.treesize import Uncountable

log = logging.getLogger(__name__)

NEARLY = 0.9
"""Fraction of a quota from which its use is reported.

The storage refuses writes without notification and may do so slightly early.
"""

CPU_PERIODS_LEAST = 5
"""Minimum number of CPU periods (0.1 s each) for a meaningful throttled fraction."""

FAILURES_MOST = 5
"""Maximum number of failed readings of one container in a row (ten seconds by default) before it is ended."""

UNWATCHABLE = f"{INTERNAL_ERROR}: its limits cannot be watched"

REPEAT_S = 60.0
"""Minimum interval between reports of the same limit."""

WriteAppLog = Callable[[Container, str], None]
"""Writes a line to the app's log."""


@dataclass(frozen=True, slots=True)
class _Reported:
    """The last counters of a container, and the time of the last report per limit."""

    counters: LimitCounters = LimitCounters()
    at: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class LimitsWatch:
    """Checks all containers in one pass.

    inode_limit: per container; 0: none. cpu_percent: hard CPU limit of a container in percent of one core; 0:
    none.
    """

    write: WriteAppLog
    disk: DiskUsage
    clock: Clock
    _: KW_ONLY
    inode_limit: int
    cpu_percent: Callable[[Container], float] = lambda _: 0.0
    containment: Containment = field(default_factory=Containment)
    _known: dict[str, _Reported] = field(default_factory=dict, init=False)

    async def check(self, watched: Sequence[Watched]) -> dict[str, str]:
        """Report the events since the last call; returns the reasons to end containers, by guid.

        A failure of one container is logged, and the pass continues. A container with several failures in a
        row has to end because its limits are not enforced otherwise. Raises OSError if the host runs out of a
        resource.
        """
        read = await READINGS.run(_read_all, watched)
        reasons: dict[str, str] = {}
        async with asyncio.TaskGroup() as group:
            for one in watched:
                group.create_task(self._check_container(one, read.get(one.container.guid), reasons))
        return {guid: reason for guid, reason in reasons.items() if reason}

    async def adopt(self, watched: Sequence[Watched]) -> None:
        """Take the present counters of adopted containers as known: a previous process reported them."""
        read = await READINGS.run(_read_all, watched)
        for guid, counters in read.items():
            if isinstance(counters, LimitCounters):
                self._known[guid] = _Reported(counters)

    def forget(self, guid: str) -> None:
        """Forget a container that is gone."""
        self._known.pop(guid, None)

    def retain(self, guids: Set[str]) -> None:
        """Forget all other containers, including those that ended during a pass."""
        self._known = {guid: known for guid, known in self._known.items() if guid in guids}

    async def _check_container(
        self, one: Watched, counters: LimitCounters | Exception | None, reasons: dict[str, str]
    ) -> None:
        guid = one.container.guid

        def unwatchable() -> None:
            reasons[guid] = UNWATCHABLE

        with self.containment.of(guid, "watch limits", then=unwatchable, after=FAILURES_MOST):
            if isinstance(counters, Exception):
                raise counters
            if counters is not None:
                self._report(one.container, counters)
                reasons[guid] = await self._overrun(one)

    def _report(self, container: Container, counters: LimitCounters) -> None:
        known = self._known.get(container.guid, _Reported())
        texts = newly_reached(container, known.counters, counters) | throttled(
            self.cpu_percent(container), known.counters, counters
        )
        self._known[container.guid] = _Reported(counters, known.at)
        self._report_due(container, texts)

    def _report_due(self, container: Container, texts: Mapping[str, str]) -> None:
        """Report the limits that were not reported recently. texts: by limit."""
        known, now = self._known.get(container.guid, _Reported()), self.clock.monotonic()
        due = {limit for limit in texts if now - known.at.get(limit, -REPEAT_S) >= REPEAT_S}
        for limit in texts:
            if limit in due:
                self.write(container, texts[limit])
        lately = {limit: at for limit, at in known.at.items() if now - at < REPEAT_S}
        self._known[container.guid] = _Reported(known.counters, lately | dict.fromkeys(due, now))

    async def _overrun(self, watched: Watched) -> str:
        container, made = watched.container, watched.engine_container
        limit = container.disk_limit and container.disk_limit - made.image_bytes
        limits = LayerUsage(limit, self.inode_limit)
        if limits == LayerUsage():
            return ""
        try:
            usage = await self.disk.of(container.guid, made.init_pid, limits)
        except Uncountable as error:
            return str(error)
        except OSError as error:
            if is_shortage(error):
                raise
            log.info("no-disk-usage", extra={"data": {"guid": container.guid, "error": str(error)}})
            return ""
        if made.disk_quota:
            self._report_due(container, nearly_full(limits, usage, made.image_bytes))
            limits = LayerUsage(0, self.inode_limit)
        return overrun(limits, usage, made.image_bytes)


def newly_reached(container: Container, before: LimitCounters, now: LimitCounters) -> dict[str, str]:
    """Texts for the app's owner about newly reached limits, by limit. Pure."""
    texts = {}
    if now.killed_for_memory > before.killed_for_memory:
        cause = (
            f"Memory limit of {format_size(container.memory_limit)} exceeded"
            if container.memory_limit
            else "The cell has no memory left"
        )
        texts["memory"] = f"{cause}: the kernel ended a process of this instance"
    if now.refused_processes > before.refused_processes:
        limit = f"of {container.max_pids}" if container.max_pids else "of the cell's container engine"
        texts["pids"] = f"Process limit {limit} reached: new processes or threads are refused"
    for table in now.full_tables:
        texts[f"nofile {table.pid}"] = (
            f"Limit of {table.limit} open files reached: process {table.name!r} can open no more"
        )
    return texts


def throttled(cpu_percent: float, before: LimitCounters, now: LimitCounters) -> dict[str, str]:
    """Text about the hard CPU limit, if most periods were throttled. Pure."""
    periods = now.cpu_periods - before.cpu_periods
    if periods < CPU_PERIODS_LEAST or 2 * (now.throttled_periods - before.throttled_periods) <= periods:
        return {}
    return {"cpu": f"CPU limit of {cpu_percent:g}% of a core reached: this instance is slowed down"}


def nearly_full(limits: LayerUsage, usage: LayerUsage, image_bytes: int) -> dict[str, str]:
    """Text about a nearly reached disk limit that the engine's storage enforces. Pure."""
    limit, used = limits.size + image_bytes, usage.size + image_bytes
    if not limits.size or used < NEARLY * limit:
        return {}
    return {"disk": f"Disk limit of {format_size(limit)} reached, or nearly: {format_size(used)} in use"}


def overrun(limits: LayerUsage, usage: LayerUsage, image_bytes: int = 0) -> str:
    """Why a container has to end; empty if it may run on. Pure.

    limits, usage: of the writable layer. image_bytes: the image's share of the disk limit as its owner sees
    it.
    """
    if limits.size and usage.size > limits.size:
        limit, used = format_size(limits.size + image_bytes), format_size(usage.size + image_bytes)
        of_image = f", {format_size(image_bytes)} by its image" if image_bytes else ""
        return f"disk limit of {limit} exceeded: {used} in use{of_image}"
    if limits.inodes and usage.inodes > limits.inodes:
        return f"inode limit of {limits.inodes} exceeded: {usage.inodes} files and directories"
    return ""


def _read_all(watched: Sequence[Watched]) -> dict[str, LimitCounters | Exception]:
    """Read all containers; one that is gone is skipped, and a failed reading is an exception. Blocking."""
    hierarchies = cgroup.own_mounts() if watched else []
    read = {one.container.guid: _read(one, hierarchies) for one in watched}
    return {guid: counters for guid, counters in read.items() if counters is not None}


def _read(watched: Watched, hierarchies: list[Mount]) -> LimitCounters | Exception | None:
    made = watched.engine_container
    try:
        return read_limit_counters(made.init_pid, made.id, hierarchies)
    except Exception as error:  # noqa: BLE001 - runs in a thread; the caller raises it inside the containment
        if not isinstance(error, OSError) or is_shortage(error):
            return error
        data = {"guid": watched.container.guid, "error": str(error)}
        log.info("no-reading-of-limits", extra={"data": data})
        return None
