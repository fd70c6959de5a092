"""The BBS service: store, controllers, convergence, event hub, Locket, HTTP application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from aiohttp import web

from bbs.embedded.calls.background import Background
from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.dependencies import Auctioneer, Dependencies
from bbs.embedded.calls.reps import RepClient
from bbs.embedded.clock import Clock, SystemClock
from bbs.embedded.controllers.converger import Converger
from bbs.embedded.controllers.desired_lrps import DesiredController
from bbs.embedded.controllers.evacuation import EvacuationController
from bbs.embedded.controllers.lrps import LRPController
from bbs.embedded.controllers.tasks import TaskController
from bbs.embedded.events.hub import Hub
from bbs.embedded.http.app import make_app
from bbs.embedded.http.calls import Controllers
from bbs.embedded.locket.server import Locket
from bbs.embedded.store.database import Store
from bbs.embedded.store.reader import Reader
from bbs.embedded.store.resources import Registry
from bbs.models.cell import CellPresence

CONVERGENCE_INTERVAL_S = 30.0

STATE_FILE = "bbs.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class BBS:
    """A running BBS.

    app: HTTP application, for any listener.
    hub: event hub for subscribers in this process.
    """

    app: web.Application
    hub: Hub
    controllers: Controllers
    _converger: Converger
    _locket: Locket

    async def converge_now(self) -> None:
        """Run one round of convergence now."""
        await self._converger.converge()

    async def settled(self) -> None:
        """Wait until all background calls are done."""
        await self.controllers.deps.background.settled()

    async def cells(self) -> list[CellPresence]:
        """The registered cells."""
        return list(self.controllers.deps.registry.cells().values())

    def locket_server(
        self, address: str, credentials: grpc.ServerCredentials | None = None
    ) -> AbstractAsyncContextManager[int]:
        """Serve Locket while the context lasts; entering returns the port."""
        return self._locket.serve(address, credentials)


@asynccontextmanager
async def run_bbs(
    state_dir: Path,
    *,
    auctioneer: Auctioneer,
    reps: RepClient,
    callbacks: HTTPCallbacks,
    clock: Clock | None = None,
    convergence_interval_s: float = CONVERGENCE_INTERVAL_S,
    held_locks: Iterable[str] = (),
) -> AsyncIterator[BBS]:
    """Run a BBS while the context lasts.

    state_dir: folder of the state file.
    held_locks: keys of locks that Locket shows as taken.

    Leaving the context ends the event streams and cancels calls in flight; convergence repeats them after the
    next start. Raises store.StoreError.
    """
    clock = clock or SystemClock()
    hub = Hub()
    async with (
        Store(state_dir / STATE_FILE, hub.publish) as store,
        Reader(state_dir / STATE_FILE) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        registry = Registry(clock)
        await registry.load(store)
        background = Background(tasks)
        deps = Dependencies(
            store=store,
            reader=reader,
            registry=registry,
            clock=clock,
            auctioneer=auctioneer,
            reps=reps,
            callbacks=callbacks,
            background=background,
        )
        task_controller = TaskController(deps)
        controllers = Controllers(
            deps=deps,
            lrps=LRPController(deps),
            desired=DesiredController(deps),
            evacuation=EvacuationController(deps),
            tasks=task_controller,
        )
        converger = Converger(deps, task_controller)
        loop = tasks.create_task(converger.run(convergence_interval_s), name="convergence")
        try:
            yield BBS(
                app=make_app(controllers, hub),
                hub=hub,
                controllers=controllers,
                _converger=converger,
                _locket=Locket(store, registry, held_locks),
            )
        finally:
            hub.close()
            loop.cancel()
            background.close()
