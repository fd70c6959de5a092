"""The log sinks of a cell, which can change while it runs.

Each line goes to the sinks that are in the set when it is emitted. A sink that is removed delivers what it
has. Only then a sink that is added in the same change begins to deliver, so that a kill meanwhile loses no
line: the next agent process gives the lines that the removed sink still had to the added one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from common.metrics.instruments import Instruments
from executor.logs.api import LogSink
from executor.logs.shipper import LineShipper
from executor.logs.sinks import FanOut

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """A shipper of the set. removed: set when it has to end."""

    shipper: LineShipper
    removed: asyncio.Event = field(default_factory=asyncio.Event)


class SinkSet(FanOut):
    """Forwards every line to the shippers of some targets, and to ``others``.

    open: makes the shipper of a target; what it raises leaves the set as it is.
    """

    def __init__(self, open: Callable[[str], LineShipper], others: Sequence[LogSink] = ()) -> None:
        super().__init__(others)
        self._open = open
        self._others = tuple(others)
        self._members: list[_Member] = []
        self._tasks: dict[_Member, asyncio.Task[None]] = {}
        self._former: dict[str, LineShipper] = {}
        self._group = asyncio.TaskGroup()
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def running(self, targets: Sequence[str]) -> AsyncIterator[None]:
        """Deliver inside the context; its exit delivers the rest. Raises what ``open`` raises."""
        added = self._with(await self._opened(targets), kept=())
        async with self._group:
            self._start(added, after=())
            try:
                yield
            finally:
                for member in self._members:
                    member.removed.set()
                if self._tasks:
                    await asyncio.wait(self._tasks.values())

    async def change(self, targets: Sequence[str]) -> None:
        """Deliver to these targets from now on. Returns when removed sinks have delivered what they had.

        Raises what ``open`` raises.
        """
        async with self._changing:
            missing = Counter(targets)
            kept, removed = [], []
            for member in self._members:
                if missing[member.shipper.name] > 0:
                    missing[member.shipper.name] -= 1
                    kept.append(member)
                else:
                    removed.append(member)
            added = self._with(await self._opened([*missing.elements()]), kept)
            ending = [self._end(member) for member in removed]
            self._start(added, ending)
            if ending:
                await asyncio.wait(ending)

    def report(self, instruments: Instruments) -> None:
        """Set the metrics of the sinks. Those of a removed one stay."""
        for shipper in (*self._former.values(), *(member.shipper for member in self._members)):
            shipper.report(instruments)

    async def _opened(self, targets: Sequence[str]) -> list[LineShipper]:
        opened: list[LineShipper] = []
        try:
            for target in targets:
                opened.append(self._open(target))
            for shipper in opened:
                await shipper.recover()
        except BaseException:
            for shipper in opened:
                await shipper.close_unused()
            raise
        return opened

    def _with(self, shippers: Sequence[LineShipper], kept: Sequence[_Member]) -> Sequence[_Member]:
        """Forward lines to these shippers and to the kept members; returns the new members."""
        added = [_Member(shipper) for shipper in shippers]
        self._members = [*kept, *added]
        self.forward_to([*(member.shipper for member in self._members), *self._others])
        return added

    def _start(self, members: Sequence[_Member], after: Collection[asyncio.Task[None]]) -> None:
        for member in members:
            self._tasks[member] = self._group.create_task(self._run(member, after))

    def _end(self, member: _Member) -> asyncio.Task[None]:
        member.shipper.keeps_rest = False
        member.removed.set()
        self._former[member.shipper.name] = member.shipper
        return self._tasks[member]

    async def _run(self, member: _Member, after: Collection[asyncio.Task[None]]) -> None:
        """Deliver until the member is removed. after: what ends first."""
        if after:
            await asyncio.wait(after)
        async with member.shipper.running():
            await member.removed.wait()
        self._tasks.pop(member, None)
