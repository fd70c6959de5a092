"""Controller of actual LRPs: each call is one transaction, possibly followed by an auction or a stop."""

from __future__ import annotations

from collections.abc import Callable

from bbs.embedded.calls.dependencies import Dependencies, StopCall, stop_call
from bbs.embedded.calls.reps import RepError
from bbs.embedded.calls.startrequests import LRPStartRequest, lrp_start
from bbs.embedded.decisions import lrps as transitions
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.decisions.rows import ON_A_CELL, Rows
from bbs.embedded.store.limits import check_guid
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, Presence, RunningData
from bbs.models.cell import CellPresence
from bbs.models.errors import BBSError, ErrorType

RETIRE_ATTEMPTS = 5
"""Attempts of the stop call that retires an instance."""


class LRPController:
    """Operations on actual LRPs."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    async def claim(self, process_guid: str, index: int, instance_key: ActualLRPInstanceKey) -> None:
        """Raises ResourceNotFound, ActualLRPCannotBeClaimed, InvalidRequest for names that are too long."""
        check_guid(instance_key.instance_guid, instance_key.cell_id)
        await self._change(process_guid, index, lambda rows, now: transitions.claim(rows, instance_key, now))

    async def start(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, data: RunningData) -> None:
        """Raises ActualLRPCannotBeStarted, InvalidRequest for names that are too long."""
        check_guid(key.process_guid, key.domain, instance_key.instance_guid, instance_key.cell_id)
        await self._change(
            key.process_guid,
            key.index,
            lambda rows, now: transitions.start(rows, key, instance_key, data, now),
        )

    async def crash(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, reason: str) -> None:
        """Raises ResourceNotFound, ActualLRPCannotBeCrashed."""
        await self._change(
            key.process_guid, key.index, lambda rows, now: transitions.crash(rows, instance_key, reason, now)
        )

    async def fail(self, key: ActualLRPKey, message: str) -> None:
        """Raises ActualLRPCannotBeFailed."""
        await self._change(
            key.process_guid, key.index, lambda rows, now: transitions.fail(rows, message, now)
        )

    async def remove(self, process_guid: str, index: int, instance_key: ActualLRPInstanceKey | None) -> None:
        """Raises ResourceNotFound."""
        await self._change(process_guid, index, lambda rows, _: transitions.remove(rows, instance_key))

    async def retire(self, key: ActualLRPKey, trace_id: str) -> None:
        """Delete the row, or have its cell stop the instance.

        Raises BBSError: ResourceNotFound, or UnknownError if the stop call to the cell fails.
        """

        def work(tables: Tables) -> StopCall | None:
            return retire(tables, key, self._deps.registry.cells(), trace_id)

        stop = await self._deps.store.run(work)
        if stop is None:
            return
        try:
            await self._deps.reps.stop_lrp(
                stop.rep_url,
                stop.row.actual_lrp_key,
                stop.row.actual_lrp_instance_key,
                trace_id,
                attempts=RETIRE_ATTEMPTS,
            )
        except RepError as error:
            raise BBSError(ErrorType.UnknownError, str(error)) from error

    async def _change(self, process_guid: str, index: int, decide: Callable[[Rows, int], Outcome]) -> None:
        def work(tables: Tables) -> list[LRPStartRequest]:
            now = self._deps.clock.wall()
            outcome = change(tables, process_guid, index, lambda rows: decide(rows, now))
            return auction_of(tables, process_guid, index, outcome)

        self._deps.auction_lrps(await self._deps.store.run(work))


def change(tables: Tables, process_guid: str, index: int, decide: Callable[[Rows], Outcome]) -> Outcome:
    """Apply a decision to an index and store the result."""
    before = tables.rows(process_guid, index)
    outcome = decide(before)
    tables.apply(before, outcome)
    return outcome


def auction_of(tables: Tables, process_guid: str, index: int, outcome: Outcome) -> list[LRPStartRequest]:
    """The start request an outcome requires; empty if the LRP is no longer desired."""
    desired = tables.find_desired_lrp(process_guid) if outcome.auction else None
    return [] if desired is None else [lrp_start(desired, [index])]


def retire(
    tables: Tables, key: ActualLRPKey, known: dict[str, CellPresence], trace_id: str
) -> StopCall | None:
    """Retire the ordinary row: delete it, or return a stop call if the instance is on a registered cell.

    Raises ResourceNotFound.
    """
    rows = tables.rows(key.process_guid, key.index)
    row = rows.ordinary
    if row is None:
        raise BBSError(ErrorType.ResourceNotFound)
    stop = stop_call(row, known) if row.state in ON_A_CELL else None
    if stop is None:
        tables.apply(rows, transitions.drop(rows, Presence.ORDINARY, trace_id))
    else:
        tables.publish_retired(row, trace_id)
    return stop
