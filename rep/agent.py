"""The agent: all members of a cell, started in order and stopped in reverse order.

:mod:`rep.ending` says what an end means for the containers.

Each member is a context manager: it is ready after enter and stopped after exit. Background work of a
member runs in a task group of its context, so a failure of one member ends the agent: the members
started after it stop first, then the member itself, then those before it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.serving.address import Address
from common.liveness import Liveness
from common.metrics.instruments import Instruments
from common.tasks import leaves, running
from executor.api import ExecutorAPI
from executor.journal.api import Journal
from rep import ending
from rep.config import RepConfig, seconds, stack_map
from rep.debug import debug_application
from rep.deletions import Deletions
from rep.ecr import RegistryCredentials
from rep.ending import Ending
from rep.evacuation import Cleanup, EvacuationFlag, Evacuator, shutdown_limit_s
from rep.facts import Facts
from rep.families import EVACUATING, PRESENCE_HELD
from rep.metrics import MetricsSink, NoMetrics, RequestMetrics
from rep.outcomes.courier import Courier
from rep.outcomes.ledger import Ledger
from rep.outcomes.sender import Sender
from rep.presence import RETRY_S, LocketCalls, Presence, cell_presence
from rep.reconcile.bulk import Bulker
from rep.reconcile.consumer import consuming
from rep.reconcile.processor import Cell, Credentials, Processor
from rep.reconcile.queue import OperationQueue
from rep.reconcile.replacements import following_replacements
from rep.removals import Removals
from rep.rootfs import named_with_version
from rep.runrequest import RunRequestBuilder
from rep.server import (
    AdminRoutes,
    ListenerStore,
    MetricsRoutes,
    NetworkRoutes,
    OrphanRoutes,
    listening,
)
from rep.state import CellIdentity

RENEWALS_PER_TTL = 3
"""Renewals per lifetime of a presence: every 5 s for the usual 15 s, more often for shorter lifetimes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """The addresses on which a running agent listens."""

    admin: Address
    network: Address
    debug: Address | None = None


AdminExtension = Callable[["RepAgent", web.Application], AbstractAsyncContextManager[None]]
"""More routes of the admin listener: it adds them, and serves them while its context lasts."""


class RepAgent:
    """One cell. ``executor``, ``bbs``, ``locket`` and ``journal`` are ready for use and outlive the agent.

    reports_bbs: the client for reports about ended containers, which makes one attempt per call; the courier
    repeats them. Default: ``bbs``.
    metrics: takes the component metrics. instruments: keep the values that the admin listener shows.
    admin_tls, network_tls: contexts of the two listeners; None serves plain HTTP, for development.
    extend_admin: adds routes to the admin listener.
    presence_retry_s: constant in production, shorter in tests.
    liveness: receives the turns of the agent's loops. listener_store: keeps the sockets of the two listeners
    from one process to the next.
    """

    def __init__(
        self,
        config: RepConfig,
        executor: ExecutorAPI,
        bbs: BBSClient,
        locket: LocketCalls,
        journal: Journal,
        *,
        reports_bbs: BBSClient | None = None,
        admin_tls: ssl.SSLContext | None = None,
        network_tls: ssl.SSLContext | None = None,
        metrics: MetricsSink | None = None,
        instruments: Instruments | None = None,
        credentials: Credentials | None = None,
        extend_admin: AdminExtension | None = None,
        presence_retry_s: float = RETRY_S,
        liveness: Liveness | None = None,
        listener_store: ListenerStore | None = None,
    ) -> None:
        self._config = config
        self._executor = executor
        self._bbs = bbs
        self._locket = locket
        self._journal = journal
        self._reports_bbs = reports_bbs or bbs
        self._admin_tls = admin_tls
        self._network_tls = network_tls
        self._metrics = metrics or NoMetrics()
        self._instruments = instruments or Instruments()
        self._credentials = credentials or RegistryCredentials()
        self._extend_admin = extend_admin
        self._presence_retry_s = presence_retry_s
        self._liveness = liveness or Liveness()
        self._listener_store = listener_store
        self._presence: Presence | None = None
        self._facts = Facts(journal)
        self._on_stop = Ending(config.on_stop)
        self._ending = ending.of_failure(self._on_stop)
        self._ends = asyncio.Event()
        self._evacuates = asyncio.Event()
        self._start_limit = asyncio.timeout(None)
        self._listeners: Listeners | None = None
        self._courier: Courier | None = None
        self.on_end: Callable[[Ending], object] = lambda _ending: None
        self.ready = asyncio.Event()
        self.evacuation = EvacuationFlag(lambda: self._facts.keep_evacuation(time.monotonic()))

    @property
    def listeners(self) -> Listeners:
        """Raises RuntimeError until both listeners are bound."""
        if self._listeners is None:
            raise RuntimeError("the agent does not listen yet")
        return self._listeners

    @property
    def registered(self) -> bool:
        """Whether the last attempt to take or renew the presence succeeded."""
        return self._presence is not None and self._presence.held

    @property
    def ending(self) -> Ending:
        """What the end means for the containers; until it begins, what a failure would mean."""
        return self._ending

    def outcomes(self, most: int) -> Mapping[str, object]:
        """The reports that the BBS has not answered, at most so many, and their number as ``waiting``.

        Empty before the start.
        """
        if self._courier is None:
            return {}
        return {**self._courier.overview(most), "waiting": len(self._courier.ledger)}

    def stop(self) -> None:
        """Ask for the end that the configuration names; :meth:`run` returns at its end.

        ``on_end`` is called at once, or after the evacuation that comes first.
        """
        evacuating = bool(self.evacuation) or self._evacuates.is_set()
        asked = ending.of_request(self._on_stop, evacuating=evacuating)
        if asked is Ending.EVACUATE:
            self._evacuates.set()
        else:
            self._end(asked)

    async def run(self) -> None:
        """Run until stopped, cancelled or evacuated, then shut down in order.

        Returns normally after :meth:`stop` and at the end of an evacuation. Raises a flat ExceptionGroup
        of the members' failures (BBSError, CleanupFailed, OSError ...), for exit status 1.
        """
        try:
            async with AsyncExitStack() as stack:
                await self._start_unless_ended(stack)
                await self._ends.wait()
        except Exception as error:  # the edge of the process: everything is logged
            reasons = list(leaves(error))
            texts = [repr(reason) for reason in reasons]
            logger.error("exited-with-failure", extra={"data": {"errors": texts}}, exc_info=error)
            raise ExceptionGroup("the cell ended because of failures", reasons) from None
        logger.info("exited", extra={"data": {"ending": self._ending.value}})

    def _end(self, how: Ending) -> None:
        """End the agent; only the first call counts."""
        if self._ends.is_set():
            return
        self._ending = how
        self._ends.set()
        self.on_end(how)
        if how is Ending.HAND_OVER and not self.ready.is_set():
            self._start_limit.reschedule(0.0)

    async def _start_unless_ended(self, stack: AsyncExitStack) -> None:
        """Start the members. A hand-over ends a start that still waits for the presence."""
        try:
            async with self._start_limit:
                await self._start(stack)
        except TimeoutError:
            if not self._start_limit.expired():
                raise
            return
        self.ready.set()
        logger.info("started", extra={"data": {"cell-id": self._config.cell_id}})

    async def _evacuate_when_asked(self) -> None:
        await self._evacuates.wait()
        await self.evacuation.begin()

    def _resume_evacuation(self) -> float:
        """Go on with the evacuation of an earlier process; the seconds since it began."""
        begun = self._facts.evacuation_begun
        if begun is None:
            return 0.0
        elapsed_s = max(time.monotonic() - begun, 0.0)
        logger.info("evacuation-goes-on", extra={"data": {"begun-s-ago": round(elapsed_s, 3)}})
        self.evacuation.set()
        return elapsed_s

    @asynccontextmanager
    async def _cleaned_up(self, cleanup: Cleanup) -> AsyncIterator[None]:
        """Destroy the containers on exit, unless the next process adopts them."""
        try:
            yield
        finally:
            if self._ending is not Ending.HAND_OVER:
                await cleanup.run()
                await self._facts.forget_evacuation()

    async def _start(self, stack: AsyncExitStack) -> None:
        config, executor, evacuation = self._config, self._executor, self.evacuation
        stacks = stack_map(config)
        removals = Removals()
        instruments = self._instruments
        requests = RequestMetrics(instruments)
        deletions = Deletions(executor, removals)
        ledger = Ledger(self._journal)
        courier = self._courier = Courier(ledger, Sender(self._reports_bbs, config.cell_id), removals)
        identity = CellIdentity(config=config, rep_url=rep_url(config), stacks=stacks)
        processor = Processor(
            Cell(cell_id=config.cell_id, zone=config.zone, evacuating=lambda: bool(evacuation)),
            executor,
            self._bbs,
            RunRequestBuilder(stacks=stacks, layering_mode=config.layering_mode),
            self._credentials,
            removals,
            courier,
        )
        queue = OperationQueue(processor.execute)
        stacks_with_versions = await asyncio.to_thread(named_with_version, stacks)
        record = cell_presence(
            config,
            identity.rep_url,
            Address.parse(config.listen_addr).port,
            executor.total_resources(),
            stacks_with_versions,
        )
        ttl_s = int(seconds(config.lock_ttl))
        presence = self._presence = Presence(
            locket=self._locket,
            record=record,
            owner=await self._facts.presence_owner(),
            releases=lambda: self._ending is not Ending.HAND_OVER,
            instruments=instruments,
            ttl_s=ttl_s,
            # a presence of less than 15 s would expire between two renewals
            retry_s=min(self._presence_retry_s, ttl_s / RENEWALS_PER_TTL),
            liveness=self._liveness,
        )
        bulker = Bulker(
            config.cell_id,
            executor,
            self._bbs,
            queue.push,
            evacuation,
            self._metrics,
            instruments=instruments,
            interval_s=seconds(config.polling_interval),
            evacuation_interval_s=seconds(config.evacuation_polling_interval),
            unreported=ledger,
            liveness=self._liveness,
        )
        removal_limit_s = shutdown_limit_s(config)
        cleanup = Cleanup(
            config.cell_id,
            executor,
            self._bbs,
            removals,
            deletions,
            self._metrics,
            timeout_s=removal_limit_s,
        )
        evacuator = Evacuator(
            executor,
            evacuation,
            removals,
            deletions,
            ledger,
            polling_interval_s=seconds(config.evacuation_polling_interval),
            timeout_s=max(seconds(config.evacuation_timeout) - self._resume_evacuation(), 0.0),
            removal_limit_s=removal_limit_s,
        )
        admin = AdminRoutes(evacuation, courier).application(
            [*OrphanRoutes(executor).routes(), *MetricsRoutes(instruments).routes()]
        )
        network = NetworkRoutes(identity, executor, evacuation, deletions, requests, ledger).application()
        start = stack.enter_async_context

        def show() -> None:
            requests.show(instruments)
            courier.show(instruments)
            instruments.set(PRESENCE_HELD, 1 if presence.held else 0)
            instruments.set(EVACUATING, 1 if evacuation else 0)

        stack.enter_context(instruments.refreshed_by(show))

        debug_address = None
        if config.debug_address:
            debug_address = await start(listening(debug_application(), config.debug_address, None))
        await start(running(self._evacuate_when_asked(), "evacuation at a signal"))
        await start(courier.running())
        await start(courier.reporting(self._metrics, seconds(config.report_interval)))
        await start(queue.open())
        await start(deletions.open())
        await start(presence.holding())
        if self._extend_admin is not None:
            await start(self._extend_admin(self, admin))
        store = self._listener_store
        admin_address = await start(
            listening(admin, config.listen_addr, self._admin_tls, name="admin", store=store)
        )
        called = urlsplit(identity.rep_url).hostname or ""
        network_address = await start(
            listening(
                network,
                config.listen_addr_securable,
                self._network_tls,
                hosts=(called,),
                name="network",
                store=store,
            )
        )
        self._listeners = Listeners(admin=admin_address, network=network_address, debug=debug_address)
        await start(self._cleaned_up(cleanup))
        await start(bulker.running())
        await start(consuming(executor, queue.push))
        await start(following_replacements(config.cell_id, self._bbs, evacuation, queue.push))
        await start(evacuator.running(lambda: self._end(Ending.DESTROY)))
        await start(requests.reporting(self._metrics, seconds(config.report_interval)))


def rep_url(config: RepConfig) -> str:
    """The URL of the network listener for peers: the configured URL, else the cell's name in its domain.

    Without certificates the listener is on loopback, and so is the URL.
    """
    if config.rep_url:
        return config.rep_url
    port = Address.parse(config.listen_addr_securable).port
    if config.plain:
        return f"http://127.0.0.1:{port}"
    return f"https://{config.cell_id.replace('_', '-')}.{config.advertise_domain}:{port}"
