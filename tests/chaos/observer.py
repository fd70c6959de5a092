"""What is known of a cell's work while the cell is killed, and every loss that is found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bbs.client.http import HTTPBBSClient
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.desired_lrp import DesiredLRP
from tests.chaos.app import CRASH_STATUS
from tests.chaos.inventory import Inventory, Machine, merged
from tests.chaos.lines import AppLines
from tests.chaos.summary import Summary
from tests.chaos.traffic import RequestFailed, Traffic, ask
from tests.chaos.work import DOMAIN, TaskMill

SETTLE_S = 120.0
"""Limit for a state to settle on a busy machine; the summary says how long it takes."""

Missing = Callable[[], Awaitable[str]]
"""What is still missing; empty if nothing is."""


@dataclass(frozen=True)
class Instance:
    """A running instance. port: of this machine."""

    process_guid: str
    index: int
    guid: str
    port: int
    cell_id: str


@dataclass
class Observer:
    """The work of one or several cells. when: the round, for what is found."""

    bbs: HTTPBBSClient
    machines: Sequence[Machine]
    mill: TaskMill
    lines: AppLines
    traffic: Traffic
    summary: Summary = field(default_factory=Summary)
    problems: list[str] = field(default_factory=list)
    instances: dict[str, Instance] = field(default_factory=dict)
    when: str = ""
    _pids: dict[str, int] = field(default_factory=dict)
    _printed: dict[str, int] = field(default_factory=dict)
    """How many lines an instance had printed when it last said so."""

    def of(self, process_guid: str) -> list[Instance]:
        """The known instances of an LRP."""
        return [each for each in self.instances.values() if each.process_guid == process_guid]

    async def desire(self, lrps: Iterable[DesiredLRP]) -> None:
        await asyncio.gather(*map(self.bbs.desire_lrp, lrps))

    async def crash(self, instance: Instance) -> None:
        """End an instance, which nothing calls any more, with an exit status."""
        try:
            self._printed[instance.guid] = (await ask(instance.port, "/exit")).lines
        except RequestFailed:
            return  # the app may end before its answer is read

    async def drain_tasks(self) -> None:
        """Wait for the end of all Tasks."""

        async def done() -> str:
            return f"waiting: {sorted(self.mill.waiting)}" if self.mill.waiting else ""

        await self.until(done, "the end of all Tasks")

    async def settle(
        self, expected: Mapping[tuple[str, int], int], stays: Callable[[Instance], bool]
    ) -> None:
        """Wait until exactly the desired instances run; compare with those known, and call the new ones.

        expected: process guid and index -> how often it has crashed. stays: whether a known instance must
        not have been replaced.
        """
        rows: list[ActualLRP] = []

        async def settled() -> str:
            rows[:] = await self.bbs.actual_lrps(domain=DOMAIN)
            return "; ".join(_unsettled(rows, expected))

        await self.until(settled, "the desired instances")
        for row in rows:
            name, index = row.actual_lrp_key.process_guid, row.actual_lrp_key.index
            if row.crash_count != (due := expected[name, index]):
                self.problem(f"{name}: {row.crash_count} crashes, not {due}: {row.crash_reason}")
            if due and f"Exited with status {CRASH_STATUS}" not in row.crash_reason:
                self.problem(f"{name} crashed because: {row.crash_reason}")
        await self._compare(rows, stays)

    async def _compare(self, rows: list[ActualLRP], stays: Callable[[Instance], bool]) -> None:
        found = {each.guid: each for each in map(_instance, rows)}
        for guid, known in self.instances.items():
            if stays(known) and guid not in found:
                self.problem(f"{known.process_guid}/{known.index}: instance {guid} was replaced")
            elif guid in found and found[guid] != known:
                self.problem(f"{guid} was {known}, is {found[guid]}")
        pids = await asyncio.to_thread(self._init_pids)
        for guid, instance in found.items():
            if guid in self._pids and self._pids[guid] != pids.get(guid):
                self.problem(f"{instance.process_guid}: the container of {guid} has another pid")
        new = [each for each in found.values() if not self.traffic.calls(each.guid)]
        await asyncio.gather(*(self.traffic.add(each.guid, each.port) for each in new))
        self.instances, self._pids = found, pids

    async def await_lines(self) -> None:
        """Wait for every line that the apps have printed by now."""
        for guid, instance in self.instances.items():
            try:
                self._printed[guid] = (await ask(instance.port)).lines
            except RequestFailed as error:
                self.problem(f"{instance.process_guid}: {error}")

        async def missing() -> str:
            await asyncio.to_thread(self.lines.read)
            counts = {guid: self.lines.count(guid) for guid in self._printed}
            return "; ".join(
                f"{guid}: {counts[guid]} of {n}" for guid, n in self._printed.items() if counts[guid] < n
            )

        await self.until(missing, "the lines of all apps")

    async def inventory(self) -> Inventory:
        """What all cells have on the machine now."""
        return merged(await asyncio.gather(*(asyncio.to_thread(each.take) for each in self.machines)))

    async def steady(self) -> Inventory:
        """The inventory, once it no longer changes."""
        seen: list[Inventory] = []

        async def changes() -> str:
            seen.append(await self.inventory())
            return "" if len(seen) > 2 and seen[-1] == seen[-2] == seen[-3] else "it changes"

        await self.until(changes, "a steady inventory")
        return seen[-1]

    async def remove_all(self) -> None:
        """Remove all work, and wait until the control plane knows none, and each app's last line came."""
        self.mill.pause()
        await self.drain_tasks()
        await self.traffic.close()
        desired = await self.bbs.desired_lrps(domain=DOMAIN)
        await asyncio.gather(*(self.bbs.remove_desired_lrp(each.process_guid) for each in desired))
        await self.until(self._no_rows, "no actual LRP")
        await self.until(self._all_ended, "the last lines of stopped apps")

    async def _no_rows(self) -> str:
        return f"{len(rows)} rows" if (rows := await self.bbs.actual_lrps(domain=DOMAIN)) else ""

    async def _all_ended(self) -> str:
        await asyncio.to_thread(self.lines.read)
        return ", ".join(sorted(self.instances.keys() - self.lines.ended.keys()))

    def _init_pids(self) -> dict[str, int]:
        return {guid: pid for machine in self.machines for guid, pid in machine.init_pids().items()}

    async def until(self, missing: Missing, what: str) -> None:
        """Wait until nothing is missing. Raises AssertionError, with all problems so far."""
        deadline, last = time.monotonic() + SETTLE_S, ""
        while time.monotonic() < deadline:
            if not (last := await missing()):
                return
            await asyncio.sleep(0.05)
        self.problem(f"waited {SETTLE_S:g} s for {what}: {last}")
        raise AssertionError("\n".join(self.verdict()))

    def problem(self, text: str) -> None:
        """Note what is wrong."""
        self.problems.append(f"{self.when}: {text}")

    def verdict(self) -> list[str]:
        """All that was wrong."""
        self.lines.read()
        ran = [f"{guid} ran {times} times" for guid in self.mill.done if (times := self._ran(guid)) != 1]
        return [
            *self.problems,
            *(f"request: {each}" for each in self.traffic.failures),
            *(f"line: {each}" for each in self.lines.wrong),
            *(f"task: {each}" for each in (*self.mill.wrong, *ran)),
        ]

    def report(self) -> Iterable[str]:
        """The summary of the run."""
        return self.summary.lines(
            app_lines=self.lines.total,
            requests=self.traffic.requests,
            tasks=len(self.mill.done),
            problems=len(self.verdict()),
        )

    def _ran(self, task_guid: str) -> int:
        return self.lines.words[f"ran {task_guid}"]


def _unsettled(rows: list[ActualLRP], expected: Mapping[tuple[str, int], int]) -> list[str]:
    """Which rows are not as they must be in the end."""
    found = {(row.actual_lrp_key.process_guid, row.actual_lrp_key.index): row for row in rows}
    waiting = [
        f"{row.actual_lrp_key.process_guid}/{row.actual_lrp_key.index} {row.state}"
        f" crashes={row.crash_count} {row.crash_reason} {row.placement_error}"
        for row in rows
        if row.state != "RUNNING" or row.routable is False or row.presence is not Presence.ORDINARY
    ]
    if found.keys() != expected.keys() or len(rows) != len(expected):
        waiting.append(f"found {sorted(found.keys() ^ expected.keys())}, {len(rows)} rows")
    return waiting + [
        f"{key} did not crash yet"
        for key, due in expected.items()
        if key in found and found[key].crash_count < due
    ]


def _instance(row: ActualLRP) -> Instance:
    return Instance(
        row.actual_lrp_key.process_guid,
        row.actual_lrp_key.index,
        row.actual_lrp_instance_key.instance_guid,
        row.actual_lrp_net_info.ports[0].host_port,
        row.actual_lrp_instance_key.cell_id,
    )
