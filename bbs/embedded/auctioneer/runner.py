"""The batch cycle: queue, cells, states, schedule, work, failures.

The first request starts a cycle at once. Requests that arrive while the runner fetches the cell states join
the batch. Work that a cell refuses, or that does not reach it, is left to the BBS's convergence: there is no
failure text to report, and the BBS rejects a failure without text. With ``explain`` the runner reports a
refused instance with the refusing cell's id; it does not report refused tasks, because rejections of a task
are counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Final, Never, TypeVar

import tenacity

from bbs.backoff import Backoff
from bbs.client.api import BBSClient
from bbs.embedded.auctioneer.schedule import OBJECTIONS, Failure, Schedule, identifier, schedule
from bbs.embedded.calls.reps import RepClient, RepError
from bbs.embedded.calls.startrequests import LRPStartRequest, TaskStartRequest
from bbs.embedded.store.resources import rep_url
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.auction import LRP, CellState, Task, Work
from bbs.models.cell import CellPresence
from bbs.models.errors import BBSError

logger = logging.getLogger(__name__)

Request = TypeVar("Request", LRPStartRequest, TaskStartRequest)

Call = Callable[[], Awaitable[None]]

CELLS_RETRY_S: Final = 1.0
CELLS_RETRY_MOST_S: Final = 8.0
"""First and longest pause before the next request for the BBS's cells, and after a failed auction."""

UNHEALTHY: Final = "its container engine or its journal fails"

UNREACHABLE: Final = "it could not be asked for its state"

CALLS: Final = 64
"""Most requests to reps at the same time, and most failures that are being reported to the BBS."""

LOGGED_ITEMS: Final = 20
"""Most items of a failure that its log line names."""

STATE_ROUNDS: Final = 4
"""Maximum rounds of state requests while no cell returns a usable state."""


@dataclass(slots=True)
class Batch:
    """Requests waiting for a cell: one per instance and task. The first of several equal requests is kept."""

    lrps: dict[tuple[str, int], LRP] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    traces: dict[tuple[str, int] | str, str] = field(default_factory=dict)

    def add_lrps(self, requests: Iterable[LRPStartRequest], trace_id: str) -> None:
        for request in requests:
            for index in request.indices:
                identifier = (request.process_guid, index)
                if identifier not in self.lrps:
                    self.traces[identifier] = trace_id
                    self.lrps[identifier] = LRP(
                        process_guid=request.process_guid,
                        index=index,
                        domain=request.domain,
                        demand=request.demand,
                    )

    def add_tasks(self, requests: Iterable[TaskStartRequest], trace_id: str) -> None:
        for request in requests:
            if request.task_guid not in self.tasks:
                self.traces[request.task_guid] = trace_id
                self.tasks[request.task_guid] = Task(
                    task_guid=request.task_guid, domain=request.domain, demand=request.demand
                )

    def __bool__(self) -> bool:
        return bool(self.lrps or self.tasks)

    def trace_of(self, item: LRP | Task) -> str:
        return self.traces[identifier(item)]

    def trace(self) -> str:
        """The trace id that all requests of the batch share, otherwise empty."""
        return _shared(self.traces.values())

    def trace_of_work(self, work: Work) -> str:
        items: tuple[LRP | Task, ...] = (*work.lrps, *work.tasks)
        return _shared(self.trace_of(item) for item in items)


@dataclass(frozen=True, slots=True)
class States:
    """Usable cell states, and reasons why other cells are left out; both by cell id."""

    usable: dict[str, CellState] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class AuctionRunner:
    """Accepts requests at any time; ``run`` places them until it is cancelled.

    explain: add the reasons of each cell to failure texts.
    """

    def __init__(
        self,
        bbs: BBSClient,
        reps: RepClient,
        *,
        explain: bool = False,
        cells_retry_s: float = CELLS_RETRY_S,
    ) -> None:
        self._bbs = bbs
        self._reps = reps
        self._explain = explain
        self._backoff = Backoff(attempts=0, first_s=cells_retry_s, most_s=CELLS_RETRY_MOST_S)
        self._batch = Batch()
        self._wake = asyncio.Event()

    async def request_lrps(self, requests: Iterable[LRPStartRequest], trace_id: str = "") -> None:
        """Queue instances and wake the runner. Invalid requests are dropped and logged."""
        self._batch.add_lrps(_valid(requests), trace_id)
        self._wake_up()

    async def request_tasks(self, requests: Iterable[TaskStartRequest], trace_id: str = "") -> None:
        """Queue tasks and wake the runner. Invalid requests are dropped and logged."""
        self._batch.add_tasks(_valid(requests), trace_id)
        self._wake_up()

    async def run(self) -> Never:
        """Run a cycle whenever requests are queued."""
        failures = 0
        while True:
            await self._wake.wait()
            try:
                await self._cycle()
                failures = 0
            except Exception:
                # Convergence requests unplaced work again.
                logger.exception("auction-failed")
                failures += 1
                await asyncio.sleep(self._backoff.pause_s(failures))

    def _wake_up(self) -> None:
        if self._batch:
            self._wake.set()

    def _drain(self) -> Batch:
        batch, self._batch = self._batch, Batch()
        self._wake.clear()
        return batch

    async def _cycle(self) -> None:
        trace_id = self._batch.trace()
        cells = await self._cells(trace_id)
        states = await self._states(cells, trace_id)
        batch = self._drain()
        # In a thread: a large batch takes seconds, and locks and presences are renewed meanwhile.
        placed = await asyncio.to_thread(
            schedule, list(states.usable.values()), list(batch.lrps.values()), list(batch.tasks.values())
        )
        logger.info(
            "auction-scheduled",
            extra={
                "data": {
                    "cells": sorted(placed.work),
                    "lrps": len(batch.lrps),
                    "tasks": len(batch.tasks),
                    "failed": len(placed.failed),
                }
            },
        )
        urls = {cell.cell_id: rep_url(cell) for cell in cells}
        calls = [
            partial(self._perform, urls[cell_id], work, batch.trace_of_work(work))
            for cell_id, work in placed.work.items()
        ]
        await self._concurrently(calls + self._reports(placed, batch, states.left_out))

    async def _concurrently(self, calls: Sequence[Call]) -> None:
        """Make the calls in their order, up to :data:`CALLS` at the same time."""
        waiting = iter(calls)

        async def worker() -> None:
            for call in waiting:
                await call()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(CALLS, len(calls))):
                group.create_task(worker())

    async def _cells(self, trace_id: str) -> list[CellPresence]:
        retrying = self._backoff.retrying(
            tenacity.retry_if_exception_type(BBSError), before_sleep=_log_cells_failure
        )
        return await retrying(self._bbs.cells, trace_id=trace_id)

    async def _states(self, cells: Sequence[CellPresence], trace_id: str) -> States:
        found = States()
        for _ in range(STATE_ROUNDS if cells else 0):
            found = States()
            await self._concurrently([partial(self._add_state, cell, found, trace_id) for cell in cells])
            if found.usable:
                break
        return found

    async def _add_state(self, cell: CellPresence, found: States, trace_id: str) -> None:
        state = await self._state(cell, trace_id)
        if isinstance(state, CellState):
            found.usable[cell.cell_id] = state
        else:
            found.left_out[cell.cell_id] = state

    async def _state(self, cell: CellPresence, trace_id: str) -> CellState | str:
        """The state of a usable cell, with the cell id of its presence, or why the cell is left out."""
        try:
            state = await self._reps.state(rep_url(cell), trace_id)
        except RepError as error:
            logger.error(
                "failed-to-get-state", extra={"data": {"cell-id": cell.cell_id, "error": str(error)}}
            )
            return UNHEALTHY if error.status == 503 else UNREACHABLE
        except Exception:  # any failure to ask one cell must not end the auction
            logger.exception("failed-to-get-state", extra={"data": {"cell-id": cell.cell_id}})
            return UNREACHABLE
        problem = _unusable(cell, state)
        if problem:
            logger.info("ignored-cell", extra={"data": {"cell-id": cell.cell_id, "reason": problem}})
            return problem
        return replace(state, cell_id=cell.cell_id)

    async def _perform(self, url: str, work: Work, trace_id: str) -> None:
        try:
            refused = await self._reps.perform(url, work, trace_id)
        except RepError as error:
            logger.error("failed-to-commit", extra={"data": {"cell-id": work.cell_id, "error": str(error)}})
            return
        except Exception:  # convergence requests the work again
            logger.exception("failed-to-commit", extra={"data": {"cell-id": work.cell_id}})
            return
        if refused.lrps or refused.tasks:
            logger.info(
                "cell-refused-work",
                extra={
                    "data": {
                        "cell-id": work.cell_id,
                        "lrps": [f"{lrp.process_guid}.{lrp.index}" for lrp in refused.lrps],
                        "tasks": [task.task_guid for task in refused.tasks],
                    }
                },
            )
        if self._explain:
            text = f"cell {work.cell_id} refused it, its log says why"
            for lrp in refused.lrps:
                await self._fail_lrp(lrp, text, trace_id)

    def _reports(self, placed: Schedule, batch: Batch, left_out: Mapping[str, str]) -> list[Call]:
        """The calls that report unplaced items to the BBS. Each failure is logged once, for all its items."""
        reports: list[Call] = []
        for failure in placed.failures:
            text = self._failure_text(failure, left_out)
            for item in failure.items:
                trace_id = batch.trace_of(item)
                if isinstance(item, Task):
                    reports.append(partial(self._reject_task, item, text, trace_id))
                else:
                    reports.append(partial(self._fail_lrp, item, text, trace_id))
        return reports

    def _failure_text(self, failure: Failure, left_out: Mapping[str, str]) -> str:
        """The failure text for the BBS. The objections are always logged."""
        objections = dict(islice(sorted({**left_out, **failure.objections}.items()), OBJECTIONS))
        work = [str(identifier(item)) for item in islice(failure.items, LOGGED_ITEMS)]
        logger.info(
            "could-not-place",
            extra={
                "data": {
                    "work": work,
                    "count": len(failure.items),
                    "error": failure.text,
                    "objections": objections,
                }
            },
        )
        if not self._explain or not objections:
            return failure.text
        return f"{failure.text} ({', '.join(f'{cell}: {why}' for cell, why in objections.items())})"

    async def _fail_lrp(self, lrp: LRP, text: str, trace_id: str) -> None:
        key = ActualLRPKey(process_guid=lrp.process_guid, index=lrp.index, domain=lrp.domain)
        try:
            await self._bbs.fail_actual_lrp(key, text, trace_id=trace_id)
        except BBSError as error:
            logger.error(
                "failed-to-fail-actual-lrp",
                extra={"data": {"process-guid": lrp.process_guid, "index": lrp.index, "error": str(error)}},
            )

    async def _reject_task(self, task: Task, text: str, trace_id: str) -> None:
        try:
            await self._bbs.reject_task(task.task_guid, text, trace_id=trace_id)
        except BBSError as error:
            logger.error(
                "failed-to-reject-task", extra={"data": {"task-guid": task.task_guid, "error": str(error)}}
            )


def _valid(requests: Iterable[Request]) -> list[Request]:
    kept: list[Request] = []
    for request in requests:
        problem = request.problem()
        if problem:
            logger.error(
                "invalid-start-request", extra={"data": {"error": problem, "request": request.to_json()}}
            )
        else:
            kept.append(request)
    return kept


def _unusable(cell: CellPresence, state: CellState) -> str:
    if state.cell_id and state.cell_id != cell.cell_id:
        return f"it says it is {state.cell_id}"
    return "it is evacuating" if state.evacuating else ""


def _shared(traces: Iterable[str]) -> str:
    distinct = set(traces)
    return distinct.pop() if len(distinct) == 1 else ""


def _log_cells_failure(retry: tenacity.RetryCallState) -> None:
    error = retry.outcome.exception() if retry.outcome else None
    logger.error("failed-to-fetch-cells", extra={"data": {"error": str(error)}})
