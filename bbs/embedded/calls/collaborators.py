"""Dependencies that all controllers share: store, clock, clients and background calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from bbs.embedded.auctioneer.types import LRPStartRequest, TaskStartRequest
from bbs.embedded.calls.background import Background
from bbs.embedded.calls.callbacks import Auctioneer, Callbacks, RepCalls
from bbs.embedded.clock import Clock
from bbs.embedded.store.database import Store
from bbs.embedded.store.resources import rep_url
from bbs.models.actual_lrp import ActualLRP, ActualLRPInternalRoute
from bbs.models.cell import CellPresence
from bbs.models.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A pending stop call: the instance and its rep."""

    rep_url: str
    row: ActualLRP


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
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
    stops: list[Stop] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    callbacks: list[Task] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """The shared dependencies; one set per service."""

    store: Store
    clock: Clock
    auctioneer: Auctioneer
    reps: RepCalls
    callbacks: Callbacks
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

    def stop(self, stops: Sequence[Stop], trace_id: str = "", *, attempts: int = 1) -> None:
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
            self.background.start("stop-lrp", call)

    def push(self, pushes: Sequence[Push], trace_id: str = "") -> None:
        """Update instances in the background."""
        for push in pushes:
            call = partial(
                self.reps.update_lrp,
                push.rep_url,
                push.row.actual_lrp_key,
                push.row.actual_lrp_instance_key,
                push.internal_routes,
                push.metric_tags,
                trace_id,
            )
            self.background.start("update-lrp", call)


def stop_of(row: ActualLRP, cells: dict[str, CellPresence]) -> Stop | None:
    """The stop call for an instance; None if its cell is missing."""
    cell = cells.get(row.actual_lrp_instance_key.cell_id)
    return None if cell is None else Stop(rep_url=rep_url(cell), row=row)
