"""Controller of desired LRPs; also creates, updates and stops their instances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bbs.embedded.calls.dependencies import Dependencies, FollowUp, StopCall, UpdateCall, stop_call
from bbs.embedded.calls.startrequests import LRPStartRequest, lrp_start
from bbs.embedded.decisions import lrps as transitions
from bbs.embedded.decisions.routing import internal_routes, metric_tags, stored
from bbs.embedded.decisions.rows import ON_A_CELL, Rows, by_index, new_tag, next_tag
from bbs.embedded.store.limits import check_guid, check_instances, check_root_fs
from bbs.embedded.store.resources import rep_url
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRPKey, Presence
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import INTERNAL_ROUTER, DesiredLRP, DesiredLRPUpdate


class DesiredController:
    """Operations on desired LRPs."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    async def desire(self, lrp: DesiredLRP, trace_id: str) -> None:
        """Raises BBSError: ResourceExists, or InvalidRequest if a field is too long to store."""
        check_guid(lrp.process_guid, lrp.domain, lrp.log_guid)
        check_root_fs(lrp.root_fs)
        check_instances(lrp.instances)
        record = replace(
            lrp,
            routes=stored(lrp.routes or {}),
            ports=tuple(dict.fromkeys(lrp.ports)),
            modification_tag=new_tag(),
        )

        def work(tables: Tables) -> FollowUp:
            tables.insert_desired_lrp(record, trace_id)
            return FollowUp(auctions=self._create(tables, record, range(record.instances), trace_id))

        self._follow(await self._deps.store.run(work), trace_id)

    async def update(self, process_guid: str, update: DesiredLRPUpdate, trace_id: str) -> None:
        """Raises ResourceNotFound, InvalidRequest for too many instances."""
        check_instances(update.instances or 0)

        def work(tables: Tables) -> FollowUp:
            before = tables.desired_lrp(process_guid)
            after = updated(before, update)
            tables.replace_desired_lrp(before, after, trace_id)
            known = self._deps.registry.cells()
            surplus = _instances(tables, process_guid, from_index=after.instances)
            follow = FollowUp(
                auctions=self._create(tables, after, range(before.instances, after.instances), trace_id),
                updates=_update_calls(tables, before, after, update, known),
            )
            if after.instances < before.instances:
                follow.stops = stop_instances(tables, surplus, known, trace_id)
            return follow

        self._follow(await self._deps.store.run(work), trace_id)

    async def remove(self, process_guid: str, trace_id: str) -> None:
        """Raises ResourceNotFound."""

        def work(tables: Tables) -> FollowUp:
            tables.delete_desired_lrp(tables.desired_lrp(process_guid), trace_id)
            known = self._deps.registry.cells()
            instances = _instances(tables, process_guid)
            return FollowUp(stops=stop_instances(tables, instances, known, trace_id))

        self._follow(await self._deps.store.run(work), trace_id)

    def _create(
        self, tables: Tables, lrp: DesiredLRP, indices: Iterable[int], trace_id: str
    ) -> list[LRPStartRequest]:
        now = self._deps.clock.wall()
        created = []
        for index in indices:
            key = ActualLRPKey(process_guid=lrp.process_guid, index=index, domain=lrp.domain)
            before = tables.rows(lrp.process_guid, index)
            outcome = transitions.create(before, key, now, trace_id)
            tables.apply(before, outcome)
            if outcome.auction:
                created.append(index)
        return [lrp_start(lrp, created, requested=True)] if created else []

    def _follow(self, follow: FollowUp, trace_id: str) -> None:
        self._deps.auction_lrps(follow.auctions, trace_id)
        self._deps.stop(follow.stops, trace_id)
        self._deps.update(follow.updates, trace_id)


def updated(lrp: DesiredLRP, update: DesiredLRPUpdate) -> DesiredLRP:
    """The LRP with an update applied. Fields that are not set stay unchanged; the tag always advances."""
    return replace(
        lrp,
        instances=lrp.instances if update.instances is None else update.instances,
        routes=lrp.routes if update.routes is None else stored(update.routes),
        annotation=lrp.annotation if update.annotation is None else update.annotation,
        metric_tags=update.metric_tags or lrp.metric_tags,
        image_username=lrp.image_username if update.image_username is None else update.image_username,
        image_password=lrp.image_password if update.image_password is None else update.image_password,
        modification_tag=next_tag(lrp.modification_tag),
    )


def stop_instances(
    tables: Tables, instances: Iterable[Rows], known: dict[str, CellPresence], trace_id: str
) -> list[StopCall]:
    """Delete rows that are on no cell; return stop calls for the others, which their cells remove.

    EVACUATING rows are not changed. Rows whose cell is missing are left to convergence.
    """
    stops = []
    for rows in instances:
        if rows.ordinary is not None and rows.ordinary.state not in ON_A_CELL:
            tables.apply(rows, transitions.drop(rows, Presence.ORDINARY, trace_id))
        for row in (rows.ordinary, rows.suspect):
            stop = stop_call(row, known) if row is not None and row.state in ON_A_CELL else None
            if stop is not None:
                stops.append(stop)
    return stops


def _instances(tables: Tables, process_guid: str, from_index: int = 0) -> list[Rows]:
    found = by_index(tables.actual_lrps(process_guid=process_guid))
    return [rows for (_, index), rows in sorted(found.items()) if index >= from_index]


def _update_calls(
    tables: Tables,
    before: DesiredLRP,
    after: DesiredLRP,
    update: DesiredLRPUpdate,
    known: dict[str, CellPresence],
) -> list[UpdateCall]:
    """Update calls for each instance on a cell, with only the internal routes or metric tags that changed."""
    routes_changed = update.routes is not None and _internal_differs(before, after)
    tags_changed = before.metric_tags != after.metric_tags
    if not routes_changed and not tags_changed:
        return []
    updates = []
    for row in tables.actual_lrps(process_guid=after.process_guid):
        cell = known.get(row.actual_lrp_instance_key.cell_id)
        if row.presence == Presence.EVACUATING or row.state not in ON_A_CELL or cell is None:
            continue
        updates.append(
            UpdateCall(
                rep_url=rep_url(cell),
                row=row,
                internal_routes=internal_routes(after) if routes_changed else None,
                metric_tags=metric_tags(after, row) if tags_changed else None,
            )
        )
    return updates


def _internal_differs(before: DesiredLRP, after: DesiredLRP) -> bool:
    """Routes without internal ones, both before and after, count as a change: peers expect it."""
    old, new = (before.routes or {}).get(INTERNAL_ROUTER), (after.routes or {}).get(INTERNAL_ROUTER)
    return old != new or (old is None and new is None)
