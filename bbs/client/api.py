"""The calls of a BBS, for rep, auctioneer, REST API and command line.

``bbs.client.http`` and ``bbs.client.oneshot`` add a transport. Errors that remain after the retries of a
transport have type ``InvalidResponse``, ``Timeout`` or ``RouterError``. ``trace_id`` is sent as
``X-Vcap-Request-Id``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from google.protobuf.empty_pb2 import Empty

from bbs.client.actual_lrps import ActualLRPClient, EvacuationClient
from bbs.client.desired_lrps import DesiredLRPClient
from bbs.client.events import subscribe
from bbs.client.tasks import TaskClient
from bbs.models.cell import CellPresence
from bbs.models.events import Event
from bbs.wire import routes, sse
from bbs.wire.mapping import to_model
from bbs.wire.proto.domain_pb2 import UpsertDomainRequest


class BBSClient(ActualLRPClient, EvacuationClient, DesiredLRPClient, TaskClient):
    """All calls of a BBS. Use as an async context manager.

    Every call raises :class:`~bbs.models.errors.BBSError`; without any response from the BBS it is an
    :class:`~bbs.client.transport.UnansweredError`.
    """

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def ping(self, *, trace_id: str = "") -> bool:
        response = await self._ask(routes.PING, Empty(), trace_id)
        return response.available

    async def cells(self, *, trace_id: str = "") -> list[CellPresence]:
        response = await self._ask(routes.CELLS, Empty(), trace_id)
        return [to_model(cell, CellPresence) for cell in response.cells]

    async def domains(self, *, trace_id: str = "") -> list[str]:
        response = await self._ask(routes.DOMAINS, Empty(), trace_id)
        return list(response.domains)

    async def upsert_domain(self, domain: str, ttl_s: int, *, trace_id: str = "") -> None:
        """ttl_s: seconds; 0 = never expires."""
        await self._ask(routes.UPSERT_DOMAIN, UpsertDomainRequest(domain=domain, ttl=ttl_s), trace_id)

    def lrp_instance_events(
        self, cell_id: str = "", *, reopened: Callable[[], None] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Subscribe; entering returns once the server has sent its response headers.

        reopened: called after a break of the stream, in which events may have been lost.
        """
        return subscribe(self._transport, sse.LRP_INSTANCE_EVENTS, cell_id, reopened)

    def lrp_group_events(self, cell_id: str = "") -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return subscribe(self._transport, sse.LRP_GROUP_EVENTS, cell_id)

    def task_events(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return subscribe(self._transport, sse.TASK_EVENTS)
