"""The cell's presence in Locket: the registration of the cell, renewed while the cell runs.

Unlike a lost lock, a lost presence does not end the process: containers continue, and the loop retries.
A process that hands its containers over to the next one does not release the presence. The next process
takes it as the same owner, so the control plane sees no gap.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from grpc import StatusCode

from bbs.backoff import Backoff
from bbs.client.locket import LocketError
from bbs.models.cell import CellCapacity, CellPresence, Provider
from bbs.models.codec import dumps
from bbs.models.locket import Resource, TypeCode
from common.liveness import Liveness
from common.metrics.instruments import Instruments
from common.tasks import running
from executor.model import Resources
from rep.config import RepConfig
from rep.families import PRESENCE_RENEWAL_DURATION
from rep.rootfs import PRELOADED, PRELOADED_LAYER

RETRY_S = 5.0
"""Interval of renewals, longest pause between failed attempts, deadline of all attempts but the first."""
TURN_LIMIT_S = 60.0
"""Longest time from one attempt to the next, far above the pause and the deadlines of an attempt."""
PUBLIC_ADDRESS = "8.8.8.8"

logger = logging.getLogger(__name__)


class LocketCalls(Protocol):
    """The calls of Locket that the presence uses. Every call raises LocketError."""

    async def lock(
        self,
        resource: Resource,
        ttl_s: int,
        *,
        uuid: str = "",
        timeout_s: float | None = None,
        wait_for_ready: bool = False,
    ) -> None: ...

    async def fetch(self, key: str, *, uuid: str = "", timeout_s: float | None = None) -> Resource: ...

    async def release(self, resource: Resource, *, timeout_s: float | None = None) -> None: ...


def cell_presence(
    config: RepConfig, rep_url: str, admin_port: int, capacity: Resources, stacks: list[str]
) -> CellPresence:
    """The presence record; ``stacks`` as ``name`` or ``name@version``."""
    properties = tuple(stacks)
    return CellPresence(
        cell_id=config.cell_id,
        rep_address=f"http://{outbound_address()}:{admin_port}",
        zone=config.zone,
        capacity=CellCapacity(
            memory_mb=capacity.memory_mb, disk_mb=capacity.disk_mb, containers=capacity.containers
        ),
        rootfs_providers=(
            Provider(name=PRELOADED, properties=properties),
            Provider(name=PRELOADED_LAYER, properties=properties),
            Provider(name="extra"),
            *(Provider(name=scheme) for scheme in config.supported_providers),
        ),
        placement_tags=config.placement_tags,
        optional_placement_tags=config.optional_placement_tags,
        rep_url=rep_url,
    )


def outbound_address() -> str:
    """The source address of this host for a public destination; loopback if it has no route."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((PUBLIC_ADDRESS, 53))
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return "127.0.0.1"


@dataclass(slots=True, kw_only=True)
class Presence:
    """Holds the presence of one cell.

    owner: of the lock; that of the previous process takes the presence again at once. releases: whether the
    presence is released at the end. sleep: replaced in tests. liveness: receives the turns of the renewal.
    """

    locket: LocketCalls
    record: CellPresence
    owner: str
    ttl_s: int
    retry_s: float = RETRY_S
    releases: Callable[[], bool] = lambda: True
    instruments: Instruments = field(default_factory=Instruments)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    liveness: Liveness = field(default_factory=Liveness)
    held: bool = field(default=False, init=False)
    _collisions: int = field(default=0, init=False)

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Entered when the presence is first held; released on exit, unless the next process takes it."""
        first = asyncio.Event()
        try:
            async with running(self._renew(first), "presence"):
                await first.wait()
                yield
        finally:
            if self.releases():
                await self._release()
            else:
                logger.info("locket-lock.left-to-the-next-process", extra=self._about())

    def _resource(self) -> Resource:
        return Resource(
            key=self.record.cell_id,
            owner=self.owner,
            value=dumps(self.record),
            type_code=TypeCode.PRESENCE,
        )

    async def _renew(self, first: asyncio.Event) -> None:
        logger.info("locket-lock.started", extra=self._about())
        await self._attempt(first, None)
        with self.liveness.loop("presence", self.retry_s + TURN_LIMIT_S) as turned:
            while True:
                await self.sleep(self.retry_s if self.held else self._backoff.pause_s(1))
                await self._attempt(first, self.retry_s)
                turned()

    @property
    def _backoff(self) -> Backoff:
        """Random pauses between failed attempts, up to the renewal interval: the presence must not expire."""
        return Backoff(attempts=0, first_s=self.retry_s, most_s=self.retry_s)

    async def _attempt(self, first: asyncio.Event, timeout_s: float | None) -> None:
        attempt = str(uuid.uuid4())
        try:
            with self.instruments.timed(PRESENCE_RENEWAL_DURATION):
                await self.locket.lock(
                    self._resource(),
                    self.ttl_s,
                    uuid=attempt,
                    timeout_s=timeout_s,
                    wait_for_ready=timeout_s is not None,
                )
        except LocketError as error:
            await self._failed(error, attempt, first_attempt=timeout_s is None)
            return
        except Exception as error:
            # A cell without a presence is better than no cell; the next attempt can succeed.
            logger.exception("locket-lock.attempt-failed", extra=self._about(error=str(error)))
            self.held = False
            return
        if not self.held:
            logger.info("locket-lock.acquired-lock", extra=self._about())
        self.held = True
        self._collisions = 0
        first.set()

    async def _failed(self, error: LocketError, attempt: str, *, first_attempt: bool) -> None:
        if error.code is StatusCode.ALREADY_EXISTS:
            self._collisions += 1
        if self.held:
            logger.error("locket-lock.lost-lock", extra=self._about(error=str(error)))
        elif first_attempt:
            owner = await self._current_owner(attempt)
            about = self._about(error=str(error), held_by=owner)
            logger.error("locket-lock.failed-to-acquire-lock", extra=about)
        else:
            logger.debug("locket-lock.failed-to-acquire-lock", extra=self._about(error=str(error)))
        self.held = False
        if self._collisions == self._collision_limit:
            # the presence of a previous process of this cell has expired by now
            owner = await self._current_owner(attempt)
            logger.error("locket-lock.cell-id-used-by-another-cell", extra=self._about(held_by=owner))

    @property
    def _collision_limit(self) -> int:
        """Number of consecutive collisions that a previous process of this cell cannot cause.

        Its presence has expired by then, even if all pauses between attempts were the shortest.
        """
        return math.ceil(self.ttl_s / (self.retry_s / 2)) + 2

    async def _current_owner(self, attempt: str) -> str:
        try:
            return (await self.locket.fetch(self.record.cell_id, uuid=attempt, timeout_s=self.retry_s)).owner
        except LocketError as error:
            return f"unknown ({error})"

    async def _release(self) -> None:
        try:
            await self.locket.release(self._resource(), timeout_s=self.ttl_s)
        except LocketError as error:
            logger.error("locket-lock.failed-to-release-lock", extra=self._about(error=str(error)))
        else:
            logger.info("locket-lock.released-lock", extra=self._about())
        self.held = False

    def _about(self, **data: object) -> dict[str, object]:
        lock = {"key": self.record.cell_id, "owner": self.owner}
        return {"data": {"lock": lock, "ttl_in_seconds": self.ttl_s, **data}}
