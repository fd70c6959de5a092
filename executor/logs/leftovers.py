"""Output that a previous agent process could not deliver, of processes that no one adopts.

Such a process has ended, and perhaps its container is gone. The spool has the labels of its lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from executor.engine.spool import Spool
from executor.engine.spools import Spools
from executor.logs.api import LogSink, Stream
from executor.logs.streamer import LogStreamer, StepStream
from executor.model import LogConfig

logger = logging.getLogger(__name__)

ADOPTION_S = 60.0
"""After this time, no process is adopted any more: that happens in seconds after the start."""

PIECE_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverOutput:
    """Delivers the leftovers in ``spools``. live: guids of the containers whose processes may be adopted."""

    spools: Spools
    sink: LogSink
    live: Callable[[], set[str]]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver inside the context: at once what belongs to no container, and later everything."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(), name="leftover output")
            try:
                yield
            finally:
                task.cancel()

    async def deliver(self, spared: set[str]) -> None:
        """Deliver the leftovers of all containers but the spared ones."""
        for spool, labels in self.spools.leftovers(spared):
            try:
                await _deliver(spool, labelled(labels, self.sink))
            except Exception as error:  # one stream must not affect the cell or others
                data = {"output": spool.name, "bytes": spool.unread}
                logger.error("leftover-output.lost", exc_info=error, extra={"data": data})
                spool.discard()

    async def _run(self) -> None:
        await self.deliver(self.live())
        await asyncio.sleep(ADOPTION_S)
        await self.deliver(set())


def labelled(labels: bytes, sink: LogSink) -> StepStream:
    """A stream with the labels of :meth:`StepStream.labels`. Raises ValueError, LookupError."""
    found = json.loads(labels)
    config = LogConfig(guid=found["guid"], index=found["index"], tags=found["tags"])
    return StepStream(
        LogStreamer(sink, config, origin=found["origin"]), Stream(found["stream"]), found["source"]
    )


async def _deliver(spool: Spool, output: StepStream) -> None:
    if spool.unread:
        logger.info("leftover-output", extra={"data": {"output": spool.name, "bytes": spool.unread}})
    while spool.unread:
        output.take(spool.read_file(PIECE_BYTES), spool.read_to, spool)
        await asyncio.sleep(0)
    output.flush()
    spool.finish()
