"""The kill loop: repeated kills of a cell under load, with a count of every loss after each start."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker

from bbs.client.http import HTTPBBSClient
from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.desired_lrp import DesiredLRPUpdate
from cell.development.local import LocalCellError
from cell.development.slots import Slot
from common.failpoints import NAMES, VARIABLE
from executor.engine.createrequest import LABEL_CELL, LABEL_GUID
from tests.chaos import inventory
from tests.chaos.app import CRASH_STATUS
from tests.chaos.inventory import Footprint, Inventory
from tests.chaos.lines import AppLines
from tests.chaos.traffic import RequestFailed, Traffic, ask
from tests.chaos.work import DOMAIN, KINDS, TaskMill, lrp
from tests.support.local_reps import LocalRep

APPS = 10
SCALED_MOST = 3
SETTLE_S = 90.0
"""Limit for a state to settle on a busy machine; the figures of the loop say how long it takes."""
FAILPOINT_S = 8.0
"""How long a life with an armed failpoint may go on; then it is killed at that moment."""
LATEST_PASS = {
    "journal.before-commit": 60,
    "journal.after-commit": 60,
    "output.spliced": 2000,
    "output.written": 500,
    "output.saved": 200,
}
"""The latest pass at which a failpoint kills, if it is passed more often than a few times in a round."""

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
    """One cell, its work, and what is known of it."""

    rep: LocalRep
    slot: Slot
    state: Path
    bbs: HTTPBBSClient
    mill: TaskMill
    lines: AppLines
    traffic: Traffic
    random: random.Random
    problems: list[str] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    _instances: dict[str, Instance] = field(default_factory=dict)
    _pids: dict[str, int] = field(default_factory=dict)
    _scaled: int = 1
    _round: int = 0
    _baseline: Inventory | None = None
    _first: Footprint | None = None
    _crasher: str = "crash-0"

    async def begin(self) -> None:
        """Start the cell and its work, and wait until everything runs."""
        await self._start()
        self._baseline = await asyncio.to_thread(self._take)
        for number in range(APPS):
            await self.bbs.desire_lrp(lrp(f"web-{number}", KINDS[number % len(KINDS)], self.mill.files.url))
        await self.bbs.desire_lrp(lrp("scaled", "tcp", self.mill.files.url, self._scaled))
        await self.bbs.desire_lrp(lrp(self._crasher, "tcp", self.mill.files.url))
        await self._settle(crashes=0)
        self._first = await asyncio.to_thread(inventory.footprint, self.rep.pid, self.state)

    async def round(self) -> None:
        """Kill the agent in the middle of work, start it again, and check everything.

        In half of the rounds it dies at a failpoint, which is armed when the round begins.
        """
        self._round += 1
        crasher = self._instance(self._crasher)
        await self.traffic.drop(crasher.guid)
        failpoint = self._failpoint() if self.random.random() < 0.5 else ""
        if failpoint:
            await self.rep.kill()
            await self._start(failpoint)
        self.mill.go_on()
        await self._scale(self.random.randint(1, SCALED_MOST))
        crash_first = self.random.random() < 0.5
        if crash_first:
            await self._crash(crasher)
        await self._die(failpoint)
        if not crash_first:
            await self._crash(crasher)
        await asyncio.sleep(self.random.uniform(0, 1))
        await self._start()
        await self._drain_tasks()
        await self._settle(crashes=1)
        await self._check()
        await self._renew_crasher()

    async def end(self) -> None:
        """Remove all work; nothing of it may be left."""
        self.mill.pause()
        await self._drain_tasks()
        await self.traffic.close()
        for desired in await self.bbs.desired_lrps(domain=DOMAIN):
            await self.bbs.remove_desired_lrp(desired.process_guid)
        await self._until(self._no_rows, "no actual LRP")
        await self._until(self._all_ended, "the last lines of stopped apps")
        await self._until(self._nothing_left, "an empty machine")

    def _instance(self, process_guid: str) -> Instance:
        return next(each for each in self._instances.values() if each.process_guid == process_guid)

    def _failpoint(self) -> str:
        name = self.random.choice(NAMES)
        return f"{name}=kill@{self.random.randint(1, LATEST_PASS.get(name, 4))}"

    async def _start(self, failpoint: str = "") -> None:
        """Start the agent; a failpoint may end it before it is up."""
        began = time.monotonic()
        try:
            await self.rep.start({VARIABLE: failpoint} if failpoint else None)
        except LocalCellError:
            if not failpoint or not self.rep.has_ended:
                raise
        else:
            self.starts_s.append(time.monotonic() - began)

    async def _die(self, failpoint: str) -> None:
        """At the failpoint, or at a random moment."""
        if failpoint:
            deadline = time.monotonic() + FAILPOINT_S
            while not self.rep.has_ended and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing notifies
                await asyncio.sleep(0.02)
            self.deaths[failpoint.partition("=")[0] if self.rep.has_ended else "late"] += 1
        else:
            await asyncio.sleep(self.random.uniform(0, 2))
            self.deaths["random"] += 1
        await self.rep.kill()

    async def _crash(self, crasher: Instance) -> None:
        with suppress(RequestFailed):  # the app may end before its answer is read
            await ask(crasher.port, "/exit")

    async def _scale(self, instances: int) -> None:
        for each in [each for each in self._instances.values() if each.process_guid == "scaled"]:
            if each.index >= instances:
                await self.traffic.drop(each.guid)
        self._scaled = instances
        await self.bbs.update_desired_lrp("scaled", DesiredLRPUpdate(instances=instances))

    async def _renew_crasher(self) -> None:
        """Each round has its own app that crashes, so that crash counts begin at zero."""
        await self.traffic.drop(self._instance(self._crasher).guid)
        await self.bbs.remove_desired_lrp(self._crasher)
        self._crasher = f"crash-{self._round}"
        await self.bbs.desire_lrp(lrp(self._crasher, "tcp", self.mill.files.url))
        await self._settle(crashes=0)

    async def _drain_tasks(self) -> None:
        self.mill.pause()

        async def done() -> str:
            return f"waiting: {sorted(self.mill.waiting)}" if self.mill.waiting else ""

        await self._until(done, "the end of all Tasks")

    async def _settle(self, *, crashes: int) -> None:
        """Wait until exactly the desired instances run, and call the new ones."""
        crasher = self._crasher
        expected = {(f"web-{number}", 0) for number in range(APPS)}
        expected |= {("scaled", index) for index in range(self._scaled)} | {(crasher, 0)}
        rows: list[ActualLRP] = []

        async def settled() -> str:
            rows[:] = await self.bbs.actual_lrps(domain=DOMAIN)
            found = {(row.actual_lrp_key.process_guid, row.actual_lrp_key.index) for row in rows}
            waiting = [
                f"{row.actual_lrp_key.process_guid}/{row.actual_lrp_key.index} {row.state}"
                f" crashes={row.crash_count} {row.crash_reason} {row.placement_error}"
                for row in rows
                if row.state != "RUNNING" or row.routable is False or row.presence is not Presence.ORDINARY
            ]
            if found != expected or len(rows) != len(expected):
                waiting.append(f"found {sorted(found ^ expected)}, {len(rows)} rows")
            crashed = [row for row in rows if row.actual_lrp_key.process_guid == crasher]
            if not crashed or crashed[0].crash_count < crashes:
                waiting.append(f"{crasher} did not crash yet")
            return "; ".join(waiting)

        await self._until(settled, "the desired instances")
        for row in rows:
            due = crashes if row.actual_lrp_key.process_guid == crasher else 0
            if row.crash_count != due:
                self._problem(
                    f"{row.actual_lrp_key.process_guid}: {row.crash_count} crashes, not {due}:"
                    f" {row.crash_reason}"
                )
            if due and not row.crash_reason.endswith(f"Exited with status {CRASH_STATUS}"):
                self._problem(f"{crasher} crashed because: {row.crash_reason}")
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
            stays = known.process_guid.startswith("web-") or known.process_guid == "scaled"
            if stays and guid not in found and not self._is_scaled_away(known):
                self._problem(f"{known.process_guid}/{known.index}: instance {guid} was replaced")
            elif guid in found and found[guid] != known:
                self._problem(f"{guid} was {known}, is {found[guid]}")
        pids = await asyncio.to_thread(_init_pids, self.rep.cell_id)
        for guid, instance in found.items():
            if guid in self._pids and self._pids[guid] != pids.get(guid):
                self._problem(f"{instance.process_guid}: the container of {guid} has another pid")
            if guid not in self._instances:
                await self.traffic.add(guid, instance.port)
        self._instances, self._pids = found, pids

    def _is_scaled_away(self, instance: Instance) -> bool:
        """Whether it was removed meanwhile: the agent may have died before it did so, or after."""
        return instance.process_guid == "scaled" and instance.index >= self._scaled

    async def _check(self) -> None:
        await self._await_lines()
        await self._until(self._only_instances, "the removal of what ended")
        assert self._first is not None
        now = await asyncio.to_thread(inventory.footprint, self.rep.pid, self.state)
        for name, slack in (
            ("descriptors", 60),
            ("threads", 8),
            ("rss", 40 << 20),
            ("journal_bytes", 4 << 20),
        ):
            was, has = getattr(self._first, name), getattr(now, name)
            if has > was + slack:
                self._problem(f"{name} of the agent: {has}, at first {was}")

    async def _await_lines(self) -> None:
        """Wait for every line that the apps have printed by now."""
        printed: dict[str, int] = {}
        for guid, instance in self._instances.items():
            try:
                printed[guid] = (await ask(instance.port)).lines
            except RequestFailed as error:
                self._problem(f"{instance.process_guid}: {error}")

        async def missing() -> str:
            await asyncio.to_thread(self.lines.read)
            counts = {guid: self.lines.count(guid) for guid in printed}
            return "; ".join(
                f"{guid}: {counts[guid]} of {n}" for guid, n in printed.items() if counts[guid] < n
            )

        await self._until(missing, "the lines of all apps")

    async def _all_ended(self) -> str:
        """Whether the last line of every app came that was stopped at the end."""
        await asyncio.to_thread(self.lines.read)
        return ", ".join(sorted(self._instances.keys() - self.lines.ended.keys()))

    async def _only_instances(self) -> str:
        names = await asyncio.to_thread(_init_pids, self.rep.cell_id)
        return (
            ""
            if names.keys() == self._instances.keys()
            else f"{sorted(names.keys() ^ self._instances.keys())}"
        )

    async def _no_rows(self) -> str:
        return f"{len(rows)} rows" if (rows := await self.bbs.actual_lrps(domain=DOMAIN)) else ""

    async def _nothing_left(self) -> str:
        assert self._baseline is not None
        more = (await asyncio.to_thread(self._take)).beyond(self._baseline)
        return json.dumps(more) if more else ""

    async def clear(self) -> None:
        """Remove the containers of the cell, whatever state a failure left."""
        await asyncio.to_thread(_remove_containers, self.rep.cell_id)

    def _take(self) -> Inventory:
        return inventory.take(self.rep, self.slot.nft_table, self.state)

    async def _until(self, missing: Missing, what: str) -> None:
        """Wait until nothing is missing. Raises AssertionError, with all problems so far."""
        deadline, last = time.monotonic() + SETTLE_S, ""
        while time.monotonic() < deadline:
            if not (last := await missing()):
                return
            await asyncio.sleep(0.1)
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

    def _ran(self, task_guid: str) -> int:
        return self.lines.words[f"ran {task_guid}"]


def _init_pids(cell_id: str) -> dict[str, int]:
    """The first process of each container, by guid."""
    client = docker.APIClient(version="auto")
    try:
        found = client.containers(all=True, filters={"label": f"{LABEL_CELL}={cell_id}"})
        pids = {}
        for each in found:
            with suppress(docker.errors.NotFound):
                pids[each["Labels"][LABEL_GUID]] = client.inspect_container(each["Id"])["State"]["Pid"]
        return pids
    finally:
        client.close()


def _remove_containers(cell_id: str) -> None:
    client = docker.APIClient(version="auto")
    try:
        for each in client.containers(all=True, filters={"label": f"{LABEL_CELL}={cell_id}"}):
            client.remove_container(each["Id"], force=True, v=True)
    finally:
        client.close()
