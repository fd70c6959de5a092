"""Dependencies that all controllers share: the store, clocks, clients, background calls.

Requests do not wait for the calls that they start, see :mod:`bbs.embedded.calls.background`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bbs.embedded.calls.background import Background
from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.reps import RepClient
from bbs.embedded.calls.startrequests import LRPStartRequest, TaskStartRequest
from bbs.embedded.clock import Clock
from bbs.embedded.store.database import Store
from bbs.embedded.store.reader import Reader
from bbs.embedded.store.resources import Registry, rep_url
from bbs.models.actual_lrp import ActualLRP, ActualLRPInternalRoute
from bbs.models.cell import CellPresence
from bbs.models.task import Task


class Auctioneer(Protocol):
    """Accepts start requests. The result arrives later, as a call from a cell or as a failure."""

    async def request_lrps(self, requests: list[LRPStartRequest], trace_id: str = "") -> None: ...

    async def request_tasks(self, requests: list[TaskStartRequest], trace_id: str = "") -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StopCall:
    """A pending stop call: the instance and its rep."""

    rep_url: str
    row: ActualLRP


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCall:
    """A pending update call; None leaves routes or tags unchanged."""

    rep_url: str
    row: ActualLRP
    internal_routes: tuple[ActualLRPInternalRoute, ...] | None
    metric_tags: dict[str, str] | None


@dataclass(slots=True, kw_only=True)
class FollowUp:
    """Calls to make once a transaction is durable."""

    auctions: list[LRPStartRequest] = field(default_factory=list)
    task_auctions: list[TaskStartRequest] = field(default_factory=list)
    stops: list[StopCall] = field(default_factory=list)
    updates: list[UpdateCall] = field(default_factory=list)
    callbacks: list[Task] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """The shared dependencies; one set per service."""

    store: Store
    reader: Reader
    registry: Registry
    clock: Clock
    auctioneer: Auctioneer
    reps: RepClient
    callbacks: HTTPCallbacks
    background: Background

    def auction_lrps(self, requests: Sequence[LRPStartRequest], trace_id: str = "") -> None:
        """Request auctions in the background."""
        if requests:
            call = partial(self.auctioneer.request_lrps, list(requests), trace_id)
            self.background.start("request-lrp-auctions", call)

    def auction_tasks(self, requests: Sequence[TaskStartRequest]) -> None:
        """Request auctions in the background."""
        if requests:
            call = partial(self.auctioneer.request_tasks, list(requests))
            self.background.start("request-task-auctions", call)

    def stop(self, stops: Sequence[StopCall], trace_id: str = "", *, attempts: int = 1) -> None:
        """Stop instances in the background. attempts: tries of each call."""
        for stop in stops:
            call = partial(
                self.reps.stop_lrp,
                stop.rep_url,
                stop.row.actual_lrp_key,
                stop.row.actual_lrp_instance_key,
                trace_id,
                attempts=attempts,
            )
            self.background.start("stop-lrp", call, stop.rep_url)

    def update(self, updates: Sequence[UpdateCall], trace_id: str = "") -> None:
        """Update instances in the background."""
        for update in updates:
            call = partial(
                self.reps.update_lrp,
                update.rep_url,
                update.row.actual_lrp_key,
                update.row.actual_lrp_instance_key,
                update.internal_routes,
                update.metric_tags,
                trace_id,
            )
            self.background.start("update-lrp", call, update.rep_url)


def stop_call(row: ActualLRP, cells: dict[str, CellPresence]) -> StopCall | None:
    """The stop call for an instance; None if its cell is missing."""
    cell = cells.get(row.actual_lrp_instance_key.cell_id)
    return None if cell is None else StopCall(rep_url=rep_url(cell), row=row)
