"""The soak: two cells on one engine live through laps of random events; each lap ends with a count of losses.

The events of a lap: LRPs are desired, removed and scaled, instances crash, an agent is killed or hands over
to the next one, a cell is evacuated, the engine restarts below running containers. Tasks run meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bbs.models.desired_lrp import DesiredLRPUpdate
from tests.chaos.cells import Killable
from tests.chaos.inventory import Inventory, beyond
from tests.chaos.observer import Instance, Observer
from tests.chaos.work import KINDS, lrp
from tests.support.engines import OwnEngine

LRPS_FIRST, LRPS_MOST = 4, 7
INSTANCES_MOST = 3
EVENTS_MOST = 5
"""In one lap."""
PAUSE_MOST_S = 0.7
EVACUATION_S = 180.0
"""Limit for an evacuation on a busy machine."""
CRASHES_MOST = 2
"""An index that has crashed more often is restarted only after a back-off."""


@dataclass
class Desired:
    """An LRP. crashes: by index."""

    instances: int
    crashes: list[int] = field(default_factory=lambda: [0] * INSTANCES_MOST)


@dataclass
class Soak:
    """Cells and what happens to them. One cell at most is evacuated at a time."""

    cells: Sequence[Killable]
    engine: OwnEngine
    seen: Observer
    its: random.Random
    _lrps: dict[str, Desired] = field(default_factory=dict)
    _touched: set[str] = field(default_factory=set)
    """Guids of instances that need not be there at the end of the lap."""
    _leaving: asyncio.Task[None] | None = None
    _evacuated: Killable | None = None
    _lap: int = 0
    _desired: int = 0
    _baseline: Inventory = field(default_factory=dict)

    async def begin(self) -> None:
        """Start the cells, and wait until the first work runs."""
        self.seen.when = "begin"
        for cell in self.cells:
            await cell.start()
        self._baseline = await self.seen.inventory()
        for _ in range(LRPS_FIRST):
            await self._desire()
        await self._settle()

    async def lap(self) -> None:
        """Some events, one after the other; then a check that nothing was lost."""
        self._lap += 1
        self.seen.when = f"lap {self._lap}"
        self._touched.clear()
        self.seen.mill.go_on()
        with self.seen.summary.phase("events"):
            for _ in range(self.its.randint(1, EVENTS_MOST)):
                name, event = self.its.choice(self._events())
                self.seen.summary.events[name] += 1
                self.seen.when += f", {name}"
                await event()
                await asyncio.sleep(self.its.uniform(0, PAUSE_MOST_S))
        with self.seen.summary.phase("settle"):
            self.seen.mill.pause()
            if self._leaving is not None:
                await self._leaving
                self._leaving = self._evacuated = None
            await self.seen.drain_tasks()
            await self._settle()
        with self.seen.summary.phase("check"):
            await self.seen.await_lines()
            await self.seen.until(self._no_stray, "the removal of what ended")
        self.seen.summary.rounds += 1

    async def end(self) -> None:
        """Remove all work; nothing of it may be left."""
        self.seen.when = "end"
        await self.seen.remove_all()
        await self.seen.until(self._nothing_left, "an empty machine")

    def _events(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """What may happen now, with the more frequent ones repeated."""
        events: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("crash", self._crash),
            ("scale", self._scale),
            ("scale", self._scale),
            ("kill", self._kill),
            ("kill", self._kill),
            ("hand-over", self._hand_over),
            ("engine restart", self._restart_engine),
        ]
        if len(self._lrps) < LRPS_MOST:
            events.append(("desire", self._desire))
        if len(self._lrps) > 2:
            events.append(("remove", self._remove))
        if self._leaving is None:
            events.append(("evacuation", self._evacuate))
        return events

    async def _desire(self) -> None:
        name = f"web-{self._desired}"
        kind = KINDS[self._desired % len(KINDS)]
        self._desired += 1
        self._lrps[name] = Desired(self.its.randint(1, INSTANCES_MOST))
        await self.seen.desire([lrp(name, kind, self.seen.mill.files.url, self._lrps[name].instances)])

    async def _remove(self) -> None:
        name = self.its.choice(sorted(self._lrps))
        del self._lrps[name]
        await self._touch(self.seen.of(name))
        await self.seen.bbs.remove_desired_lrp(name)

    async def _scale(self) -> None:
        name = self.its.choice(sorted(self._lrps))
        desired = self._lrps[name]
        desired.instances = self.its.randint(1, INSTANCES_MOST)
        gone = [each for each in self.seen.of(name) if each.index >= desired.instances]
        await self._touch(gone)
        for index in range(desired.instances, INSTANCES_MOST):
            desired.crashes[index] = 0
        await self.seen.bbs.update_desired_lrp(name, DesiredLRPUpdate(instances=desired.instances))

    async def _crash(self) -> None:
        """An instance that has run since the begin of the lap."""
        known = [
            each
            for each in self.seen.instances.values()
            if each.guid not in self._touched
            and self._lrps[each.process_guid].crashes[each.index] < CRASHES_MOST
        ]
        if known:
            instance = self.its.choice(sorted(known, key=lambda each: (each.process_guid, each.index)))
            await self._touch([instance])
            self._lrps[instance.process_guid].crashes[instance.index] += 1
            await self.seen.crash(instance)

    async def _kill(self) -> None:
        cell = self._staying()
        await cell.rep.kill()
        await asyncio.sleep(self.its.uniform(0, PAUSE_MOST_S))
        await cell.start()

    async def _hand_over(self) -> None:
        cell = self._staying()
        cell.rep.signal(signal.SIGTERM)
        if await cell.rep.ended():
            self.seen.problem(f"{cell.rep.cell_id} failed at a hand-over:\n{cell.rep.log_tail()}")
        await cell.start()

    async def _evacuate(self) -> None:
        """Its instances move to the other cell; then it comes back, empty."""
        cell = self._evacuated = self.its.choice(list(self.cells))
        await self._touch([each for each in self.seen.instances.values() if each.cell_id == cell.rep.cell_id])
        await cell.rep.evacuate()

        async def leave() -> None:
            if await cell.rep.ended(EVACUATION_S):
                self.seen.problem(f"{cell.rep.cell_id} failed at an evacuation:\n{cell.rep.log_tail()}")
            await cell.start()

        self._leaving = asyncio.create_task(leave())

    async def _restart_engine(self) -> None:
        await asyncio.to_thread(self.engine.stop)
        await asyncio.sleep(self.its.uniform(0, PAUSE_MOST_S))
        await asyncio.to_thread(self.engine.start)

    def _staying(self) -> Killable:
        return self.its.choice([each for each in self.cells if each is not self._evacuated])

    async def _touch(self, instances: Sequence[Instance]) -> None:
        """Instances that are about to end are called no more."""
        for each in instances:
            self._touched.add(each.guid)
            await self.seen.traffic.drop(each.guid)

    async def _settle(self) -> None:
        expected = {
            (name, index): desired.crashes[index]
            for name, desired in self._lrps.items()
            for index in range(desired.instances)
        }
        await self.seen.settle(expected, lambda known: known.guid not in self._touched)

    async def _no_stray(self) -> str:
        """Whether each container is that of an instance, and each instance has its things once."""
        inventory = await self.seen.inventory()
        if strange := inventory["containers"] ^ self.seen.instances.keys():
            return f"containers without an instance, or instances without one: {sorted(strange)}"
        links = len(inventory["links"]) - len(self._baseline["links"])
        if links != len(self.seen.instances):
            return f"{links} links of {len(self.seen.instances)} instances"
        return ""

    async def _nothing_left(self) -> str:
        more = beyond(await self.seen.inventory(), self._baseline)
        return json.dumps(more) if more else ""
