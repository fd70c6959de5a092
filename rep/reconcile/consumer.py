"""The event consumer: every container event becomes one operation of the queue."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from common.tasks import running
from executor.api import ExecutorAPI
from executor.model import ContainerEvent
from rep.reconcile.batch import ContainerOperation, Operation

logger = logging.getLogger(__name__)


class EventStreamEnded(Exception):
    """The executor ended its event stream, so the cell would get no more container events."""


@asynccontextmanager
async def consuming(executor: ExecutorAPI, push: Callable[[Operation], None]) -> AsyncIterator[None]:
    """Consume while inside. The subscription starts at enter, so later events are not missed.

    Raises EventStreamEnded at the end of the event stream.
    """
    logger.info("event-consumer.starting")
    with executor.subscribe() as events:
        async with running(_consume(events, push), "event consumer"):
            logger.info("event-consumer.started")
            yield


async def _consume(events: AsyncIterator[ContainerEvent], push: Callable[[Operation], None]) -> None:
    async for event in events:
        push(ContainerOperation(event.container.guid, event.trace_id))
    raise EventStreamEnded("the executor ended its event stream")
