"""Controller for evacuating cells: each call is one transaction, possibly followed by an auction."""

from __future__ import annotations

from collections.abc import Callable

from bbs.embedded.calls.dependencies import Dependencies
from bbs.embedded.calls.startrequests import LRPStartRequest
from bbs.embedded.controllers.lrps import auction_of, change
from bbs.embedded.decisions import evacuation
from bbs.embedded.decisions.evacuation import Evacuation, Replaceability
from bbs.embedded.decisions.rows import RUNNING, Rows
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, RunningData


class EvacuationController:
    """Instances of evacuating cells. Every method except ``remove`` returns ``keep_container``."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    async def claimed(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey) -> bool:
        """Raises evacuation.Refused."""
        return await self._change(
            key, lambda _, rows, now: evacuation.evacuate_claimed(rows, instance_key, now)
        )

    async def crashed(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, reason: str) -> bool:
        """Raises evacuation.Refused."""
        return await self._change(
            key, lambda _, rows, now: evacuation.evacuate_crashed(rows, instance_key, reason, now)
        )

    async def stopped(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey) -> bool:
        """Raises evacuation.Refused."""
        return await self._change(key, lambda _, rows, __: evacuation.evacuate_stopped(rows, instance_key))

    async def running(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, data: RunningData) -> bool:
        """Returns whether the instance must keep running."""
        return await self._change(
            key,
            lambda tables, rows, now: evacuation.evacuate_running(
                rows, key, instance_key, data, _replaceability(tables, key.process_guid), now
            ),
        )

    async def remove(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey) -> None:
        """Raises ResourceNotFound."""

        def work(tables: Tables) -> None:
            change(
                tables,
                key.process_guid,
                key.index,
                lambda rows: evacuation.remove_evacuating(rows, instance_key),
            )

        await self._deps.store.run(work)

    async def _change(self, key: ActualLRPKey, decide: Callable[[Tables, Rows, int], Evacuation]) -> bool:
        def work(tables: Tables) -> tuple[bool, list[LRPStartRequest]]:
            before = tables.rows(key.process_guid, key.index)
            decision = decide(tables, before, self._deps.clock.wall())
            tables.apply(before, decision.outcome)
            auction = auction_of(tables, key.process_guid, key.index, decision.outcome)
            return decision.keep_container, auction

        keep_container, auction = await self._deps.store.run(work)
        self._deps.auction_lrps(auction)
        return keep_container


def _replaceability(tables: Tables, process_guid: str) -> Replaceability:
    desired = tables.find_desired_lrp(process_guid)
    if desired is None:
        return Replaceability()
    return Replaceability(
        strategy=desired.update_strategy,
        running=tables.count_ordinary(process_guid, RUNNING),
        desired=desired.instances,
    )
