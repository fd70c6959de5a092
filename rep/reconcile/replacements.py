"""Replacement watch of an evacuation: containers go when their replacements run, not at the next bulk pass.

The BBS removes the evacuating record of an instance when its replacement starts, and sends an event. The
container is then processed; the answer to EvacuateRunningActualLRP allows its deletion. Without an event
stream the bulk passes have the same effect, every ``evacuation_polling_interval``.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tenacity import retry_if_exception, retry_if_exception_type

from bbs.backoff import Backoff
from bbs.client.api import BBSClient
from bbs.client.transport import EndpointNotFoundError
from bbs.models.actual_lrp import Presence
from bbs.models.errors import BBSError
from bbs.models.events import ActualLRPInstanceRemovedEvent
from common.tasks import running
from rep.evacuation import EvacuationFlag
from rep.reconcile.batch import ContainerOperation, Operation

BACKOFF = Backoff(attempts=0, first_s=1.0, most_s=30.0)

logger = logging.getLogger(__name__)


class _StreamEnded(Exception):
    """The BBS ended the stream; the retry opens it again."""


@asynccontextmanager
async def following_replacements(
    cell_id: str,
    bbs: BBSClient,
    flag: EvacuationFlag,
    push: Callable[[Operation], None],
    backoff: Backoff = BACKOFF,
) -> AsyncIterator[None]:
    """Follow the events of the cell's records while inside, from the start of an evacuation."""

    async def follow() -> None:
        await flag.wait()
        retrying = backoff.retrying(
            retry_if_exception_type(_StreamEnded) | retry_if_exception(_is_worth_retrying)
        )
        try:
            await retrying(_follow, cell_id, bbs, push)
        except BBSError as error:
            logger.info("replacements.no-event-stream", extra={"data": {"error": str(error)}})

    async with running(follow(), "replacements"):
        yield


async def _follow(cell_id: str, bbs: BBSClient, push: Callable[[Operation], None]) -> None:
    async with bbs.lrp_instance_events(cell_id) as events:
        async for event in events:
            record = event.actual_lrp if isinstance(event, ActualLRPInstanceRemovedEvent) else None
            if record is not None and record.presence is Presence.EVACUATING:
                push(ContainerOperation(record.actual_lrp_instance_key.instance_guid))
    raise _StreamEnded


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, BBSError) and not isinstance(error, EndpointNotFoundError)
