"""Convergence: one transaction that checks and repairs all records, followed by the resulting calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from bbs.embedded.calls.dependencies import Dependencies, FollowUp, UpdateCall
from bbs.embedded.calls.startrequests import lrp_start, task_start
from bbs.embedded.controllers.lrps import RETIRE_ATTEMPTS, retire
from bbs.embedded.controllers.tasks import TaskController
from bbs.embedded.decisions.convergence import IndexPlan, TaskAction, World, plan_index, plan_task
from bbs.embedded.decisions.routing import internal_routes, metric_tags
from bbs.embedded.decisions.rows import Rows, by_index
from bbs.embedded.store.resources import rep_url
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRP, ActualLRPKey
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task

logger = logging.getLogger(__name__)


class Converger:
    """Convergence of LRPs and tasks."""

    def __init__(self, deps: Dependencies, tasks: TaskController) -> None:
        self._deps = deps
        self._tasks = tasks

    async def run(self, interval_s: float) -> None:
        """Converge every ``interval_s`` seconds, first after one interval."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.converge()
            except Exception:  # the next pass repeats the work
                logger.exception("failed-to-converge")

    async def converge(self) -> None:
        """Run one round. Raises the store's errors."""
        await self._deps.registry.save(self._deps.store)
        follow = await self._deps.store.run(self._work)
        self._deps.auction_lrps(follow.auctions)
        self._deps.auction_tasks(follow.task_auctions)
        self._deps.update(follow.updates)
        self._deps.stop(follow.stops, attempts=RETIRE_ATTEMPTS)
        for task in follow.callbacks:
            self._tasks.call_back(task)

    def _work(self, tables: Tables) -> FollowUp:
        now = self._deps.clock.wall()
        known = self._deps.registry.cells()
        tables.prune_domains(now)
        world = World(cells=known.keys(), fresh_domains=set(tables.fresh_domains(now)), now=now)
        follow = FollowUp()
        desired = {lrp.process_guid: lrp for lrp in tables.desired_lrps()}
        for key, rows in _indices(desired, tables.actual_lrps()):
            lrp = desired.get(key.process_guid)
            _apply_plan(tables, key, rows, lrp, plan_index(key, rows, lrp, world), known, follow)
        for task in tables.tasks():
            _converge_task(tables, task, world, follow)
        return follow


def _indices(desired: dict[str, DesiredLRP], actual: list[ActualLRP]) -> Iterator[tuple[ActualLRPKey, Rows]]:
    """Every index that has a row or is desired."""
    found = by_index(actual)
    for rows in found.values():
        yield next(iter(rows)).actual_lrp_key, rows
    for lrp in desired.values():
        for index in range(lrp.instances):
            if (lrp.process_guid, index) not in found:
                yield ActualLRPKey(process_guid=lrp.process_guid, index=index, domain=lrp.domain), Rows()


def _apply_plan(
    tables: Tables,
    key: ActualLRPKey,
    rows: Rows,
    lrp: DesiredLRP | None,
    plan: IndexPlan,
    known: dict[str, CellPresence],
    follow: FollowUp,
) -> None:
    for outcome in plan.outcomes:
        tables.apply(rows, outcome)
        rows = outcome.after
    if plan.retire:
        stop = retire(tables, key, known, "")
        follow.stops += [stop] if stop is not None else []
    if lrp is None:
        return
    if plan.auction:
        follow.auctions.append(lrp_start(lrp, [key.index]))
    row = rows.ordinary
    if row is not None and (plan.update_routes or plan.update_tags):
        follow.updates.append(
            UpdateCall(
                rep_url=rep_url(known[row.actual_lrp_instance_key.cell_id]),
                row=row,
                internal_routes=internal_routes(lrp) if plan.update_routes else None,
                metric_tags=metric_tags(lrp, row) if plan.update_tags else None,
            )
        )


def _converge_task(tables: Tables, task: Task, world: World, follow: FollowUp) -> None:
    plan = plan_task(task, world)
    if plan.after is not None:
        tables.replace_task(task, plan.after)
        task = plan.after
    match plan.action:
        case TaskAction.DELETE:
            tables.delete_task(task)
        case TaskAction.CALL_BACK:
            follow.callbacks.append(task)
        case TaskAction.AUCTION:
            request = task_start(task)
            follow.task_auctions += [request] if request is not None else []
        case TaskAction.NOTHING:
            pass
