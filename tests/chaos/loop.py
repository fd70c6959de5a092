"""The kill loop: repeated kills of a cell under load, with a count of every loss after each start."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bbs.client.http import HTTPBBSClient
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from cell.development.local import LocalCellError
from tests.chaos.app import CRASH_STATUS
from tests.chaos.inventory import Footprint, Inventory, Machine, Shares, beyond
from tests.chaos.lines import AppLines
from tests.chaos.plans import Plan
from tests.chaos.summary import Summary
from tests.chaos.traffic import RequestFailed, Traffic, ask
from tests.chaos.work import DOMAIN, KINDS, TaskMill, lrp
from tests.support.local_reps import LocalRep

SETTLE_S = 90.0
"""Limit for a state to settle on a busy machine; the summary says how long it takes."""
FAILPOINT_S = 20.0
"""How long a life with an armed failpoint may go on; then it is killed at that moment."""
SECOND_FAILPOINT_S = 1.5
GROWTH_MOST = {"descriptors": 60, "threads": 8, "rss": 40 << 20, "journal_bytes": 4 << 20}
"""By how much the agent may hold more than in its first life: connections in use, a page of the journal."""

Missing = Callable[[], Awaitable[str]]
"""What is still missing; empty if nothing is."""


@dataclass(frozen=True)
class Instance:
    """A running instance. port: of this machine."""

    process_guid: str
    index: int
    guid: str
    port: int


@dataclass
class Loop:
    """One cell, its work, and what is known of it.

    apps: the number of apps that are there all the time. failpoints: a file that the agent looks at.
    """

    rep: LocalRep
    machine: Machine
    bbs: HTTPBBSClient
    mill: TaskMill
    lines: AppLines
    traffic: Traffic
    failpoints: Path
    apps: int
    summary: Summary = field(default_factory=Summary)
    problems: list[str] = field(default_factory=list)
    _instances: dict[str, Instance] = field(default_factory=dict)
    _pids: dict[str, int] = field(default_factory=dict)
    _scaled: int = 1
    _round: int = 0
    _crashers: list[str] = field(default_factory=list)
    """The LRP that has crashed in the last round, if there is one, and the one that will in the next."""
    _printed: dict[str, int] = field(default_factory=dict)
    """How many lines an instance had printed when it last said so."""
    _baseline: Inventory = field(default_factory=dict)
    _shares: Shares | None = None
    _first: Footprint | None = None

    async def begin(self, first_round: int = 1) -> None:
        """Start the cell and its work, and wait until everything runs."""
        self._round = first_round - 1
        await self._start()
        self._baseline = await asyncio.to_thread(self.machine.take)
        await self._desire(
            [lrp(f"web-{n}", KINDS[n % len(KINDS)], self.mill.files.url) for n in range(self.apps)]
        )
        self._scaled = 0
        await self._settle({})
        others = await self._steady()
        self._scaled, self._crashers = 1, [f"crash-{self._round + 1}"]
        await self._desire([lrp(each, "tcp", self.mill.files.url) for each in ("scaled", *self._crashers)])
        await self._settle({})
        self._shares = Shares.of(others, await self._steady(), 2)
        self._first = await asyncio.to_thread(self.machine.footprint, self.rep.pid)

    async def round(self, plan: Plan) -> None:
        """Kill the agent in the middle of work, start it again, and check everything."""
        self._round += 1
        with self.summary.phase("work"):
            await self._renew_crashers()
            self.mill.go_on()
            await self._scale(plan.instances)
            self._arm(plan.failpoint)
            if plan.crash_first:
                await self._crash()
        with self.summary.phase("death"):
            await self._die(plan.failpoint, FAILPOINT_S if plan.failpoint else plan.pause_s)
        if not plan.crash_first:
            await self._crash()
        await asyncio.sleep(plan.away_s)
        if plan.second_failpoint:
            with self.summary.phase("second death"):
                await self._start(plan.second_failpoint)
                await self._die(plan.second_failpoint, SECOND_FAILPOINT_S)
        with self.summary.phase("start"):
            await self._start()
            self.mill.pause()
        with self.summary.phase("settle"):
            async with asyncio.TaskGroup() as group:
                group.create_task(self.rep.prepare())
                group.create_task(self._drain_tasks())
                group.create_task(self._settle({self._crashers[0]: 1}))
        with self.summary.phase("check"):
            await self._check()
        self.summary.rounds += 1

    async def end(self) -> None:
        """Remove all work; nothing of it may be left."""
        self.mill.pause()
        await self._drain_tasks()
        await self.traffic.close()
        await asyncio.gather(
            *(
                self.bbs.remove_desired_lrp(desired.process_guid)
                for desired in await self.bbs.desired_lrps(domain=DOMAIN)
            )
        )
        await self._until(self._no_rows, "no actual LRP")
        await self._until(self._all_ended, "the last lines of stopped apps")
        await self._until(self._nothing_left, "an empty machine")

    async def _steady(self) -> Inventory:
        """The inventory, once it no longer changes."""
        seen: list[Inventory] = []

        async def changes() -> str:
            seen.append(await asyncio.to_thread(self.machine.take))
            return "" if len(seen) > 3 and seen[-1] == seen[-2] == seen[-3] else "it changes"

        await self._until(changes, "a steady inventory")
        return seen[-1]

    async def _desire(self, lrps: Iterable[DesiredLRP]) -> None:
        await asyncio.gather(*map(self.bbs.desire_lrp, lrps))

    def _arm(self, failpoint: str) -> None:
        """In the running agent, or in the next one."""
        new = self.failpoints.with_suffix(".new")
        new.write_text(failpoint)
        os.replace(new, self.failpoints)

    async def _start(self, failpoint: str = "") -> None:
        """Start the agent; a failpoint may end it before it is up."""
        self._arm(failpoint)
        began = time.monotonic()
        try:
            await self.rep.start()
        except LocalCellError:
            if not failpoint or not self.rep.has_ended:
                raise
        else:
            self.summary.starts_s.append(time.monotonic() - began)

    async def _die(self, failpoint: str, within_s: float) -> None:
        """At the failpoint, or at the latest after some time."""
        deadline = time.monotonic() + within_s
        while not self.rep.has_ended and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing notifies
            await asyncio.sleep(0.01)
        name = failpoint.partition("=")[0] or "random moment"
        self.summary.died(name, late=bool(failpoint) and not self.rep.has_ended)
        await self.rep.kill()

    async def _renew_crashers(self) -> None:
        """A new LRP crashes in each round, so that crash counts begin at zero. The next one starts."""
        for old in self._crashers[:-1]:
            await self.traffic.drop(self._instance(old).guid)
            await self.bbs.remove_desired_lrp(old)
        crasher, following = self._crashers[-1], f"crash-{self._round + 1}"
        await self.traffic.drop(self._instance(crasher).guid)
        self._crashers = [crasher, following]
        await self.bbs.desire_lrp(lrp(following, "tcp", self.mill.files.url))

    async def _crash(self) -> None:
        """End the only instance of an LRP with an exit status."""
        instance = self._instance(self._crashers[0])
        with suppress(RequestFailed):  # the app may end before its answer is read
            self._printed[instance.guid] = (await ask(instance.port, "/exit")).lines

    def _instance(self, process_guid: str) -> Instance:
        return next(each for each in self._instances.values() if each.process_guid == process_guid)

    async def _scale(self, instances: int) -> None:
        for each in [each for each in self._instances.values() if each.process_guid == "scaled"]:
            if each.index >= instances:
                await self.traffic.drop(each.guid)
        self._scaled = instances
        await self.bbs.update_desired_lrp("scaled", DesiredLRPUpdate(instances=instances))

    async def _drain_tasks(self) -> None:
        async def done() -> str:
            return f"waiting: {sorted(self.mill.waiting)}" if self.mill.waiting else ""

        await self._until(done, "the end of all Tasks")

    async def _settle(self, crash_counts: Mapping[str, int]) -> None:
        """Wait until exactly the desired instances run, and call the new ones. crash_counts: if not 0."""
        expected = {(f"web-{number}", 0): 0 for number in range(self.apps)}
        expected |= {("scaled", index): 0 for index in range(self._scaled)}
        expected |= {(each, 0): crash_counts.get(each, 0) for each in self._crashers}
        rows: list[ActualLRP] = []

        async def settled() -> str:
            rows[:] = await self.bbs.actual_lrps(domain=DOMAIN)
            crashes = {(row.actual_lrp_key.process_guid, row.actual_lrp_key.index): row for row in rows}
            waiting = [
                f"{row.actual_lrp_key.process_guid}/{row.actual_lrp_key.index} {row.state}"
                f" crashes={row.crash_count} {row.crash_reason} {row.placement_error}"
                for row in rows
                if row.state != "RUNNING" or row.routable is False or row.presence is not Presence.ORDINARY
            ]
            if crashes.keys() != expected.keys() or len(rows) != len(expected):
                waiting.append(f"found {sorted(crashes.keys() ^ expected.keys())}, {len(rows)} rows")
            waiting += [
                f"{key} did not crash yet"
                for key, due in expected.items()
                if key in crashes and crashes[key].crash_count < due
            ]
            return "; ".join(waiting)

        await self._until(settled, "the desired instances")
        for row in rows:
            name, index = row.actual_lrp_key.process_guid, row.actual_lrp_key.index
            if row.crash_count != (due := expected[name, index]):
                self._problem(f"{name}: {row.crash_count} crashes, not {due}: {row.crash_reason}")
            if due and f"Exited with status {CRASH_STATUS}" not in row.crash_reason:
                self._problem(f"{name} crashed because: {row.crash_reason}")
        await self._note(rows)

    async def _note(self, rows: list[ActualLRP]) -> None:
        """Compare with the instances known, and call the new ones."""
        found = {
            row.actual_lrp_instance_key.instance_guid: Instance(
                row.actual_lrp_key.process_guid,
                row.actual_lrp_key.index,
                row.actual_lrp_instance_key.instance_guid,
                row.actual_lrp_net_info.ports[0].host_port,
            )
            for row in rows
        }
        for guid, known in self._instances.items():
            if self._stays(known) and guid not in found:
                self._problem(f"{known.process_guid}/{known.index}: instance {guid} was replaced")
            elif guid in found and found[guid] != known:
                self._problem(f"{guid} was {known}, is {found[guid]}")
        pids = await asyncio.to_thread(self.machine.init_pids)
        new = []
        for guid, instance in found.items():
            if guid in self._pids and self._pids[guid] != pids.get(guid):
                self._problem(f"{instance.process_guid}: the container of {guid} has another pid")
            if not self.traffic.calls(guid):
                new.append(instance)
        await asyncio.gather(*(self.traffic.add(each.guid, each.port) for each in new))
        self._instances, self._pids = found, pids

    def _stays(self, known: Instance) -> bool:
        """Whether a round has no reason to end it."""
        if known.process_guid == "scaled":
            return known.index < self._scaled
        return known.process_guid.startswith("web-")

    async def _check(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._await_lines())
            group.create_task(self._until(self._no_leak, "the removal of what ended"))
        assert self._first is not None
        now = await asyncio.to_thread(self.machine.footprint, self.rep.pid)
        self.summary.footprints.append(now)
        for name, slack in GROWTH_MOST.items():
            was, has = getattr(self._first, name), getattr(now, name)
            if has > was + slack:
                self._problem(f"{name} of the agent: {has}, at first {was}")

    async def _await_lines(self) -> None:
        """Wait for every line that the apps have printed by now."""
        for guid, instance in self._instances.items():
            try:
                self._printed[guid] = (await ask(instance.port)).lines
            except RequestFailed as error:
                self._problem(f"{instance.process_guid}: {error}")

        async def missing() -> str:
            await asyncio.to_thread(self.lines.read)
            counts = {guid: self.lines.count(guid) for guid in self._printed}
            return "; ".join(
                f"{guid}: {counts[guid]} of {n}" for guid, n in self._printed.items() if counts[guid] < n
            )

        await self._until(missing, "the lines of all apps")

    async def _all_ended(self) -> str:
        """Whether the last line of every app came that was stopped at the end."""
        await asyncio.to_thread(self.lines.read)
        return ", ".join(sorted(self._instances.keys() - self.lines.ended.keys()))

    async def _no_leak(self) -> str:
        """Whether the machine has what the instances have, and no more."""
        assert self._shares is not None
        inventory = await asyncio.to_thread(self.machine.take)
        if strange := inventory["containers"] ^ self._instances.keys():
            return f"containers without an instance, or instances without one: {sorted(strange)}"
        leaks = self._shares.leaks(inventory, self._scaled + len(self._crashers))
        return f"more (or less) than the instances have: {leaks}" if leaks else ""

    async def _no_rows(self) -> str:
        return f"{len(rows)} rows" if (rows := await self.bbs.actual_lrps(domain=DOMAIN)) else ""

    async def _nothing_left(self) -> str:
        more = beyond(await asyncio.to_thread(self.machine.take), self._baseline)
        return json.dumps(more) if more else ""

    async def _until(self, missing: Missing, what: str) -> None:
        """Wait until nothing is missing. Raises AssertionError, with all problems so far."""
        deadline, last = time.monotonic() + SETTLE_S, ""
        while time.monotonic() < deadline:
            if not (last := await missing()):
                return
            await asyncio.sleep(0.05)
        self._problem(f"waited {SETTLE_S:g} s for {what}: {last}")
        raise AssertionError("\n".join(self.verdict()))

    def _problem(self, text: str) -> None:
        self.problems.append(f"round {self._round}: {text}")

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
