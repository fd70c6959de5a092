"""The kill loop: repeated kills of a cell under load, with a count of every loss after each start."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from bbs.models.desired_lrp import DesiredLRPUpdate
from tests.chaos.cells import Killable
from tests.chaos.inventory import Footprint, Inventory, Machine, Shares, beyond
from tests.chaos.observer import Instance, Observer
from tests.chaos.plans import Plan
from tests.chaos.work import KINDS, lrp

FAILPOINT_S = 20.0
"""How long a life with an armed failpoint may go on; then it is killed at that moment."""
SECOND_FAILPOINT_S = 1.5
GROWTH_MOST = {"descriptors": 60, "threads": 8, "rss": 40 << 20, "journal_bytes": 4 << 20}
"""By how much the agent may hold more than in its first life: connections in use, a page of the journal."""


@dataclass
class Loop:
    """One cell and its work. apps: the number of apps that are there all the time."""

    cell: Killable
    seen: Observer
    apps: int
    _scaled: int = 0
    _round: int = 0
    _crashers: list[str] = field(default_factory=list)
    """The LRP that has crashed in the last round, if there is one, and the one that will in the next."""
    _baseline: Inventory = field(default_factory=dict)
    _shares: Shares | None = None
    _first: Footprint | None = None

    async def begin(self, first_round: int = 1) -> None:
        """Start the cell and its work, and wait until everything runs."""
        seen, files = self.seen, self.seen.mill.files.url
        self._round = first_round - 1
        seen.when = "begin"
        await self.cell.start()
        self._baseline = await seen.inventory()
        await seen.desire([lrp(f"web-{n}", KINDS[n % len(KINDS)], files) for n in range(self.apps)])
        await self._settle()
        others = await seen.steady()
        self._scaled, self._crashers = 1, [f"crash-{self._round + 1}"]
        await seen.desire([lrp(each, "tcp", files) for each in ("scaled", *self._crashers)])
        await self._settle()
        self._shares = Shares.of(others, await seen.steady(), 2)
        self._first = await asyncio.to_thread(self._machine.footprint, self.cell.rep.pid)

    async def round(self, plan: Plan) -> None:
        """Kill the agent in the middle of work, start it again, and check everything."""
        seen, summary = self.seen, self.seen.summary
        self._round += 1
        seen.when = f"round {self._round}"
        with summary.phase("work"):
            await self._renew_crashers()
            seen.mill.go_on()
            await self._scale(plan.instances)
            self.cell.arm(plan.failpoint)
            (crashing,) = seen.of(self._crashers[0])
            if plan.crash_first:
                await seen.crash(crashing)
        with summary.phase("death"):
            await self.cell.die(FAILPOINT_S if plan.failpoint else plan.pause_s)
        if not plan.crash_first:
            await seen.crash(crashing)
        await asyncio.sleep(plan.away_s)
        if plan.second_failpoint:
            with summary.phase("second death"):
                await self.cell.start(plan.second_failpoint)
                await self.cell.die(SECOND_FAILPOINT_S)
        with summary.phase("start"):
            await self.cell.start()
            seen.mill.pause()
        with summary.phase("settle"):
            async with asyncio.TaskGroup() as group:
                group.create_task(self.cell.rep.prepare())
                group.create_task(seen.drain_tasks())
                group.create_task(self._settle(crashed=self._crashers[0]))
        with summary.phase("check"):
            await self._check()
        summary.rounds += 1

    async def end(self) -> None:
        """Remove all work; nothing of it may be left."""
        self.seen.when = "end"
        await self.seen.remove_all()
        await self.seen.until(self._nothing_left, "an empty machine")

    @property
    def _machine(self) -> Machine:
        (machine,) = self.seen.machines
        return machine

    async def _renew_crashers(self) -> None:
        """A new LRP crashes in each round, so that crash counts begin at zero. The next one starts."""
        seen = self.seen
        for process_guid in self._crashers:
            for each in seen.of(process_guid):
                await seen.traffic.drop(each.guid)
        for old in self._crashers[:-1]:
            await seen.bbs.remove_desired_lrp(old)
        self._crashers = [self._crashers[-1], f"crash-{self._round + 1}"]
        await seen.desire([lrp(self._crashers[-1], "tcp", seen.mill.files.url)])

    async def _scale(self, instances: int) -> None:
        for each in self.seen.of("scaled"):
            if each.index >= instances:
                await self.seen.traffic.drop(each.guid)
        self._scaled = instances
        await self.seen.bbs.update_desired_lrp("scaled", DesiredLRPUpdate(instances=instances))

    async def _settle(self, crashed: str = "") -> None:
        expected = {(f"web-{number}", 0): 0 for number in range(self.apps)}
        expected |= {("scaled", index): 0 for index in range(self._scaled)}
        expected |= {(each, 0): int(each == crashed) for each in self._crashers}
        await self.seen.settle(expected, self._stays)

    def _stays(self, known: Instance) -> bool:
        """Whether a round has no reason to end it."""
        if known.process_guid == "scaled":
            return known.index < self._scaled
        return known.process_guid.startswith("web-")

    async def _check(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.seen.await_lines())
            group.create_task(self.seen.until(self._no_leak, "the removal of what ended"))
        assert self._first is not None
        now = await asyncio.to_thread(self._machine.footprint, self.cell.rep.pid)
        self.seen.summary.footprints.append(now)
        for name, slack in GROWTH_MOST.items():
            was, has = getattr(self._first, name), getattr(now, name)
            if has > was + slack:
                self.seen.problem(f"{name} of the agent: {has}, at first {was}")

    async def _no_leak(self) -> str:
        """Whether the machine has what the instances have, and no more."""
        assert self._shares is not None
        inventory = await self.seen.inventory()
        if strange := inventory["containers"] ^ self.seen.instances.keys():
            return f"containers without an instance, or instances without one: {sorted(strange)}"
        leaks = self._shares.leaks(inventory, self._scaled + len(self._crashers))
        return f"more (or less) than the instances have: {leaks}" if leaks else ""

    async def _nothing_left(self) -> str:
        more = beyond(await self.seen.inventory(), self._baseline)
        return json.dumps(more) if more else ""
