"""HTTP server of app logs for `cell dev`: the last lines of every app, and new lines.

``GET /v1/logs/SOURCE`` streams a JSON object per new line without end; ``?recent`` returns the kept lines
and ends. SOURCE is the log guid of an LRP or Task. A source without lines is an empty stream, not an error.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from bbs.serving.access import AccessRule
from bbs.serving.address import Address, listening
from bbs.serving.listener import serving
from executor.logs.api import LineBatch, LogLine
from executor.logs.sinks import RingSink

LINES_PER_SOURCE = 1000
SOURCES = 300


class LogBoard:
    """Implements :class:`executor.logs.api.BulkSink`: a ring per source; the least used rings are dropped."""

    def __init__(self, lines: int = LINES_PER_SOURCE, sources: int = SOURCES) -> None:
        self._lines = lines
        self._sources = sources
        self._rings: OrderedDict[str, RingSink] = OrderedDict()
        self._silent: dict[str, RingSink] = {}  # followed, and without a line so far
        self._followed: Counter[str] = Counter()
        self._followers: set[asyncio.Task[object]] = set()

    def emit(self, line: LogLine) -> None:
        self.emit_batch(LineBatch.of(line))

    def emit_batch(self, batch: LineBatch) -> None:
        """See :class:`executor.logs.api.BulkSink`."""
        self._ring(batch.first.source_id).emit_batch(batch)

    def app(self) -> web.Application:
        """The HTTP application. Its shutdown ends all followers."""
        app = web.Application()
        app.router.add_get("/v1/logs/{source}", self._show)
        app.on_shutdown.append(self._end_followers)
        return app

    @asynccontextmanager
    async def serving(self, address: Address, hosts: Sequence[str]) -> AsyncIterator[str]:
        """Serve the board over HTTP; yields its base URL. hosts: accepted host names. Raises ListenError."""
        with listening(address, "app logs") as bound:
            async with serving(self.app(), bound, cancel_on_disconnect=True, access=AccessRule(hosts=hosts)):
                yield Address(address.host, bound.getsockname()[1]).url()

    def _ring(self, source: str) -> RingSink:
        """The ring of a source that logs something."""
        ring = self._rings.get(source)
        if ring is None:
            silent = self._silent.pop(source, None)
            ring = self._rings[source] = silent if silent is not None else RingSink(self._lines)
            self._forget()
        self._rings.move_to_end(source)
        return ring

    def _followed_ring(self, source: str) -> RingSink:
        """The ring of a followed source. A source without lines displaces no ring of another source."""
        ring = self._rings.get(source) or self._silent.get(source)
        if ring is None:
            ring = self._silent[source] = RingSink(self._lines)
        return ring

    def _forget(self) -> None:
        surplus = len(self._rings) - self._sources
        idle = [source for source in self._rings if not self._followed[source]]
        for source in idle[: max(surplus, 0)]:
            del self._rings[source]

    async def _show(self, request: web.Request) -> web.StreamResponse:
        source = request.match_info["source"]
        if "recent" in request.query:
            ring = self._rings.get(source)
            text = "".join(map(json_line, ring.lines() if ring else ()))
            return web.Response(text=text, content_type="application/x-ndjson")
        return await self._follow(request, source)

    async def _follow(self, request: web.Request, source: str) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is handled outside of any task")
        self._followed[source] += 1
        self._followers.add(task)
        try:
            with self._followed_ring(source).subscribe() as lines:
                response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
                await response.prepare(request)
                async for line in lines:
                    await response.write(json_line(line).encode())
        finally:
            self._followers.discard(task)
            self._followed[source] -= 1
            if not self._followed[source]:
                del self._followed[source]
                self._silent.pop(source, None)
        return response

    async def _end_followers(self, _: web.Application) -> None:
        for task in tuple(self._followers):
            task.cancel()


def json_line(line: LogLine) -> str:
    """A log line as a JSON line."""
    fields = {
        "time_ns": line.time_ns,
        "source_type": line.source_type,
        "instance_id": line.instance_id,
        "stream": line.stream.value,
        "message": line.payload.decode(errors="replace"),
    }
    return json.dumps(fields, ensure_ascii=False) + "\n"
