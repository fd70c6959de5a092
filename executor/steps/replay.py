"""Replay: a step tree goes on where the previous agent process left it.

A step tree is a pure function of its run info. The same tree, run again, takes the same course if its leaves
answer as they did, in the same order. So the events of a container are recorded, each with its position:

- a leaf (run, download, upload) began, before its effect, and ended, with its result;
- a timeout expired, a health check ended, the container was interrupted.

Each event waits for its turn in the recorded order. A leaf that ended answers at once, without an effect; one
that began goes on. Other composites come out right because their children do. Some facts have no position:
when a timeout began, that a check passed, that a message is in the app's log.

An interrupt during the replay has no effect before the recorded events: those after it are recorded, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from common.failpoints import failpoint
from executor.clock import Clock
from executor.errors import ExecutorError
from executor.steps.base import Step, StepError, interrupted, outlast
from executor.steps.records import NoStore, StepRecord, StepStore, failure, nanoseconds
from executor.steps.trace import Node, Outcome

logger = logging.getLogger(__name__)

STALL_S = 10.0
"""Longest wait for a recorded event. Events follow within ms; only a record that does not belong to the tree
makes it longer.
"""

SETTLE = 32
"""Loop iterations between two recorded events: composites take a few for each level to react to the first."""

INTERRUPT = "interrupt"
"""Path of the record of the container's interrupt."""


class History:
    """The recorded events of one container: those of previous agent processes, and the present ones.

    durable: whether they are stored. continues: whether there are events of previous agent processes.
    """

    def __init__(self, past: Mapping[str, StepRecord] | None = None, store: StepStore | None = None) -> None:
        self._records = dict(past or {})
        self._store = store or NoStore()
        self.durable = store is not None
        self.continues = bool(self._records)
        positions = [at for record in self._records.values() for at in (record.begun, record.ended) if at]
        self._pending = deque(sorted(positions))
        self._turns: dict[int, asyncio.Event] = {}
        self._next = max(positions, default=0) + 1
        self._resumed = {path for path, record in self._records.items() if record.begun and not record.ended}

    @property
    def replaying(self) -> bool:
        """Whether recorded events are still to happen again."""
        return bool(self._pending)

    def record(self, path: str) -> StepRecord | None:
        """The record of a step; None if it has not begun."""
        return self._records.get(path)

    def resumed(self, path: str) -> bool:
        """Whether a previous agent process began the step, and none ended it."""
        return path in self._resumed

    def process_name(self, path: str) -> str:
        """The name of the process of a run step, unique in the container. Empty: it is not durable."""
        record = self._records.get(path)
        return f"step-{record.begun}" if self.durable and record is not None else ""

    def process_names(self) -> set[str]:
        """The names of the processes that may run."""
        return {self.process_name(path) for path in self._resumed}

    async def begin(self, path: str, at: float) -> None:
        """Record the beginning of a step, before its effect, and after the replay. Raises JournalError."""
        await self.replayed()
        if interrupted():
            raise asyncio.CancelledError
        self._records[path] = record = StepRecord(begun=self._position(), at_ns=nanoseconds(at))
        self._resumed.discard(path)
        await self._store.write(path, record)

    async def end(self, path: str, record: StepRecord) -> None:
        """Record the end of a step; returns when it is stored."""
        self._records[path] = record = replace(record, ended=self._position())
        await self._store.record(path, record)

    def note(self, path: str, *, at: float = 0.0, ready: bool = False) -> None:
        """Record a fact without a position: the beginning of a step, or its readiness."""
        if not self.durable:
            return
        known = self._records.get(path)
        self._records[path] = record = replace(known or StepRecord(at_ns=nanoseconds(at)), ready=ready)
        self._store.post(path, record)

    def note_end(self, path: str, error: StepError | None = None) -> None:
        """Record the end of a step without an effect of its own, the expiry of a timeout or the interrupt."""
        if not self.durable:
            return
        known = self._records.get(path) or StepRecord()
        result = StepRecord() if error is None else failure(error)
        record = replace(
            result, begun=known.begun, at_ns=known.at_ns, ready=known.ready, ended=self._position()
        )
        self._records[path] = record
        self._store.post(path, record)

    def once(self, path: str) -> bool:
        """Whether this is the first call for ``path``, also across restarts."""
        if path in self._records:
            return False
        self.note(path, ready=True)
        return True

    async def turn(self, position: int) -> None:
        """Wait until all recorded events before ``position`` have happened again.

        An interrupt does not end the wait; see :func:`executor.steps.base.interrupted`.
        """
        while self._pending and self._pending[0] < position:
            with suppress(asyncio.CancelledError):
                await self._wait(position)
        self._pass(position)

    async def replayed(self) -> None:
        """Wait until all recorded events have happened again; an interrupt does not end the wait."""
        if self._pending:
            await self.turn(self._pending[-1] + 1)

    async def replayed_or_ended(self, child: asyncio.Task[None]) -> None:
        """The same, or until the child has ended: later events may wait for that."""
        while self._pending and not child.done():
            replay = asyncio.create_task(self._wait(self._pending[-1] + 1))
            with suppress(asyncio.CancelledError):
                await asyncio.wait({child, replay}, return_when=asyncio.FIRST_COMPLETED)
            replay.cancel()
            await outlast(replay)

    async def _wait(self, position: int) -> None:
        """Wait once for the turn of ``position``; give up the records before it if they do not happen."""
        event = self._turns.setdefault(position, asyncio.Event())
        try:
            async with asyncio.timeout(STALL_S):
                await event.wait()
            for _ in range(SETTLE):
                await asyncio.sleep(0)
        except TimeoutError:
            data = {"missing": self._pending[0], "waiting": position}
            logger.error("replay.record-does-not-fit", extra={"data": data})
            self._pass(self._pending[-1])

    def _pass(self, position: int) -> None:
        while self._pending and self._pending[0] <= position:
            self._pending.popleft()
        due = [self._pending[0]] if self._pending else list(self._turns)
        for waiting in due:
            if (event := self._turns.pop(waiting, None)) is not None:
                event.set()

    def _position(self) -> int:
        position, self._next = self._next, self._next + 1
        return position


UNRECORDED = History()
"""The history of probes: each is built anew."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of one composite step. path: as of its node."""

    history: History
    path: str

    @property
    def past(self) -> StepRecord | None:
        """The record; None unless a previous agent process began the step."""
        return self.history.record(self.path)

    def note(self, *, at: float = 0.0, ready: bool = False) -> None:
        """See :meth:`History.note`."""
        self.history.note(self.path, at=at, ready=ready)

    def end(self, error: StepError | None = None) -> None:
        """See :meth:`History.note_end`."""
        self.history.note_end(self.path, error)

    def once(self, what: str) -> bool:
        """Whether this is the first call for ``what``, also across restarts."""
        return self.history.once(f"{self.path}#{what}")

    async def answer(self) -> None:
        """End as the record says; or return after the replay, if the step has not ended."""
        past = self.past
        if past is not None and past.ended:
            await self.history.turn(past.ended)
            error = past.result()
            if error is not None:
                raise error
        if past is not None:
            await self.history.replayed()
            if interrupted():
                raise asyncio.CancelledError


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """A leaf of a step tree: its effect happens once, however often the agent is restarted.

    adopts: the step goes on with what a previous agent process began, and then looks itself whether it is
    interrupted. release: called once the end of the step is stored.
    """

    step: Step
    node: Node
    history: History
    clock: Clock
    adopts: bool = False
    release: Callable[[], Awaitable[None]] | None = None

    @property
    def ready(self) -> asyncio.Event:
        return self.step.ready

    async def run(self) -> None:
        record = self.history.record(self.node.path)
        if record is not None:
            await self.history.turn(record.begun)
            if record.ended:
                await self.history.turn(record.ended)
                self._answer(record)
                return
        try:
            if record is None:
                await self._begin()
                failpoint("step.begun")
            elif interrupted() and not self.adopts:
                raise asyncio.CancelledError
            await self.step.run()
        except asyncio.CancelledError:
            await self._end(StepRecord(outcome=Outcome.CANCELLED))
            raise
        except StepError as error:
            await self._end(failure(error))
            raise
        await self._end(StepRecord())

    def _answer(self, record: StepRecord) -> None:
        record.fill_in(self.node.facts)
        if record.ready:
            self.step.ready.set()
        error = record.result()
        if error is not None:
            raise error

    async def _begin(self) -> None:
        try:
            await self.history.begin(self.node.path, self.clock.monotonic())
        except ExecutorError as error:
            raise StepError(str(error)) from error

    async def _end(self, result: StepRecord) -> None:
        """Store the end; ignore further interrupts, as the result no longer changes."""
        begun, facts = self.history.record(self.node.path) or StepRecord(), self.node.facts
        record = replace(
            result,
            begun=begun.begun,
            at_ns=begun.at_ns,
            ready=self.step.ready.is_set(),
            exit_status=facts.exit_status,
            transferred_bytes=facts.transferred_bytes,
            artifact=facts.artifact,
        )
        ending = asyncio.create_task(self._stored(record))
        await outlast(ending)
        ending.result()

    async def _stored(self, record: StepRecord) -> None:
        await self.history.end(self.node.path, record)
        failpoint("step.ended")
        if self.release is not None:
            await self.release()
            failpoint("step.released")


@dataclass(frozen=True, slots=True, eq=False)
class Interruptible:
    """The root of a step tree: records the interrupt of the container, and repeats a recorded one.

    sweep: ends the processes of a previous agent process, but for those of the given names.
    """

    step: Step
    history: History
    sweep: Callable[[Collection[str]], Awaitable[None]]

    @property
    def ready(self) -> asyncio.Event:
        return self.step.ready

    async def run(self) -> None:
        if self.history.replaying:
            await self.sweep(self.history.process_names())
        child = asyncio.create_task(self.step.run())
        record = self.history.record(INTERRUPT)
        try:
            if record is not None:
                await self.history.turn(record.ended)
                child.cancel()
            await asyncio.wait({child})
        except asyncio.CancelledError:
            if record is None:
                await self.history.replayed()
                self.history.note_end(INTERRUPT)
                child.cancel()
            await outlast(child)
        child.result()
