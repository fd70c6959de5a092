"""The courier: sends the ledger's reports until the BBS has answered each of them.

A report is sent when it is recorded, at the start of the rep, and again until :mod:`rep.outcomes.answers`
ends it. There is no last attempt. The courier does not use the operation queue: the deletion of a container
may hang in the engine, and its report must not wait for that.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from bbs.backoff import Backoff
from bbs.models.errors import BBSError
from common.failpoints import failpoint
from common.logsubject import about
from common.metrics.instruments import Instruments
from common.tasks import running
from rep import families
from rep.metrics import MetricsSink
from rep.outcomes import schedule
from rep.outcomes.answers import Verdict, follow_up, verdict
from rep.outcomes.ledger import Ledger
from rep.outcomes.reports import CompleteTask, EndReport, Entry, guid_of
from rep.outcomes.sender import Sends
from rep.removals import Removals

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Attempts:
    """The attempts of one report. due_at: monotonic. answer: the last error."""

    due_at: float
    repeated: bool = False
    count: int = 0
    refusals: int = 0
    answer: str = ""


class Courier:
    """Sends reports, and notifies ``removals`` of each one that is done.

    clock: monotonic seconds. spread_s: longest delay of a report after the return of the BBS.
    """

    def __init__(
        self,
        ledger: Ledger,
        send: Sends,
        removals: Removals,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        probes: Backoff = schedule.PROBES,
        repeats: Backoff = schedule.REPEATS,
        spread_s: float = schedule.SPREAD_S,
    ) -> None:
        self._ledger = ledger
        self._send = send
        self._removals = removals
        self._clock, self._now = clock, now
        self._probes, self._repeats = probes, repeats
        self._spread_s = spread_s
        self._attempts = {guid: Attempts(due_at=0.0, repeated=True) for guid in ledger}
        self._in_flight: dict[str, asyncio.Event] = {}
        self._unanswered = 0
        self._probe_at = 0.0
        self._wake = asyncio.Event()

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def available(self) -> bool:
        """Whether the BBS answered the last report."""
        return self._unanswered == 0

    async def settle(self, report: EndReport, trace_id: str) -> bool:
        """Record a report and send it once, unless the BBS is unavailable.

        Returns whether the container may be deleted: a restart does not lose the report, or the BBS has
        answered it.
        """
        guid = guid_of(report)
        stored = await self._ledger.add(report, trace_id)
        if guid in self._ledger:
            self._attempts.setdefault(guid, Attempts(due_at=self._clock()))
            if self.available:
                await self._attempt(guid)
            self._wake.set()
        return stored or guid not in self._ledger

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send the waiting reports while inside; those of an earlier process at once."""
        if len(self._ledger):
            logger.info("outcomes.found", extra={"data": {"waiting": len(self._ledger)}})
        async with running(self._run(), "outcome courier"):
            yield

    @asynccontextmanager
    async def reporting(self, sink: MetricsSink, interval_s: float) -> AsyncIterator[None]:
        """Report the gauges every ``interval_s`` while inside."""

        async def report() -> None:
            while True:
                self.report(sink)
                await asyncio.sleep(interval_s)

        async with running(report(), "outcome gauges"):
            yield

    def report(self, sink: MetricsSink) -> None:
        """Send the gauges: how many reports wait, and how old the oldest is."""
        sink.gauge("OutcomesWaiting", len(self._ledger), "Metric")
        sink.gauge("OldestOutcomeAge", self._oldest_age_s() * 1e9, "nanos")

    def show(self, instruments: Instruments) -> None:
        """Set the same gauges for Prometheus, with the size of the reports and the state of the BBS."""
        instruments.set(families.REPORTS_WAITING, len(self._ledger))
        instruments.set(families.REPORTS_BYTES, self._ledger.bytes)
        instruments.set(families.OLDEST_REPORT_AGE, self._oldest_age_s())
        instruments.set(families.BBS_AVAILABLE, 1 if self.available else 0)

    def _oldest_age_s(self) -> float:
        oldest = min((entry.recorded_at for entry in self._ledger.entries.values()), default=None)
        return 0.0 if oldest is None else max(self._now() - oldest, 0.0)

    def overview(self, most: int | None = None) -> dict[str, object]:
        """The waiting reports for operators, at most so many. The texts that belong to apps are left out."""
        now = self._clock()
        shown = islice(self._ledger.entries.items(), most)
        return {
            "bbs_available": self.available,
            "journal_trouble": self._ledger.failure,
            "outcomes": [self._row(guid, entry, now) for guid, entry in shown],
        }

    def _row(self, guid: str, entry: Entry, now: float) -> dict[str, object]:
        attempts = self._attempts.get(guid) or Attempts(due_at=now)  # none while the entry is being stored
        due_at = attempts.due_at if self.available else max(attempts.due_at, self._probe_at)
        return {
            "container_guid": guid,
            "report": type(entry.report).__name__,
            "recorded_at": entry.recorded_at,
            "stored": self._ledger.is_stored(guid),
            "attempts": attempts.count,
            "answer": attempts.answer,
            "next_attempt_in_s": round(max(due_at - now, 0.0), 3),
        }

    async def _run(self) -> None:
        await self._ledger.discard_unreadable()
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                guids, again_at = schedule.due(
                    {guid: attempts.due_at for guid, attempts in self._attempts.items()},
                    self._in_flight,
                    self._clock(),
                    probe_at=None if self.available else self._probe_at,
                )
                for guid in guids:
                    self._in_flight[guid] = asyncio.Event()
                    group.create_task(self._send_one(guid), name=f"outcome {guid}")
                pause_s = None if again_at is None else max(again_at - self._clock(), 0.0)
                try:
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _attempt(self, guid: str) -> None:
        """Send a report, or wait for the end of its attempt in progress."""
        if guid in self._in_flight:
            await self._in_flight[guid].wait()
            return
        self._in_flight[guid] = asyncio.Event()
        await self._send_one(guid)

    async def _send_one(self, guid: str) -> None:
        """One attempt; the caller has put the guid in flight."""
        try:
            entry = self._ledger.entries[guid]
            with about(guid):
                await self._judge(entry, self._attempts[guid])
        finally:
            self._in_flight.pop(guid).set()
            self._wake.set()

    async def _judge(self, entry: Entry, attempts: Attempts) -> None:
        error: BBSError | None = None
        repeated, attempts.repeated = attempts.repeated, True
        attempts.count += 1
        try:
            await self._send(entry.report, entry.trace_id, repeated=repeated)
        except BBSError as refusal:
            error, meaning = refusal, verdict(entry.report, refusal)
        except Exception as failure:
            # A failure with one report must not end the others.
            logger.exception("outcomes.failed", extra={"data": _about(entry, failure)})
            meaning, attempts.answer = Verdict.REFUSED, type(failure).__name__
        else:
            meaning = Verdict.DONE
        if error is not None:
            attempts.answer = str(error)
            if self.available or meaning is not Verdict.UNAVAILABLE:
                _log_answer(entry, error, meaning)
        match meaning:
            case Verdict.DONE:
                await self._follow_up(entry, error)
                self._answered()
                failpoint("outcome.answered")
                del self._attempts[entry.guid]
                await self._ledger.remove(entry.guid)
                failpoint("outcome.removed")
                self._removals.notify()
            case Verdict.REFUSED:
                self._answered()
                attempts.refusals += 1
                attempts.due_at = self._clock() + self._repeats.pause_s(attempts.refusals)
            case Verdict.UNAVAILABLE:
                attempts.due_at = self._clock()
                self._unanswered += 1
                self._probe_at = self._clock() + self._probes.pause_s(self._unanswered)

    async def _follow_up(self, entry: Entry, error: BBSError | None) -> None:
        report = follow_up(entry.report, error)
        if report is None:
            return
        try:
            await self._send(report, entry.trace_id, repeated=True)
        except BBSError as refusal:
            _log_answer(entry, refusal, Verdict.DONE)
        except Exception as failure:
            # The report itself is done.
            logger.exception("outcomes.failed", extra={"data": _about(entry, failure)})

    def _answered(self) -> None:
        """The BBS is available: every report that waited for it is due."""
        if self.available:
            return
        logger.info("outcomes.bbs-answers-again", extra={"data": {"waiting": len(self._ledger)}})
        self._unanswered = 0
        now = self._clock()
        for attempts in self._attempts.values():
            if attempts.due_at <= now:
                attempts.due_at = now + random.uniform(0, self._spread_s)


def _log_answer(entry: Entry, error: BBSError, meaning: Verdict) -> None:
    cancelled = isinstance(entry.report, CompleteTask) and entry.report.stopped
    level = logging.DEBUG if cancelled and meaning is Verdict.DONE else logging.ERROR
    logger.log(level, "bbs-call-failed", extra={"data": {**_about(entry, error), "type": error.type.name}})


def _about(entry: Entry, error: Exception) -> dict[str, str]:
    return {
        "command": type(entry.report).__name__,
        "guid": entry.guid,
        "error": str(error),
    }
