"""The HTTP routes of the page: its files, and what it reads. All are GET; nothing can be changed.

===========================  ==============================================================
``/``                        the page
``/NAME``                    one of its files
``/state``                   all rows, as JSON
``/feed``                    all rows, then their changes, as server-sent events
``/containers/GUID``         one container, as JSON
``/containers/GUID/feed``    one container, then its changes, as server-sent events
===========================  ==============================================================

Access is limited by the listener. The headers let the page use nothing but its own files, let no other page
show or read it, and keep its addresses, which contain names of apps, to itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Final

from aiohttp import web

from bbs.serving.events import SlowReader, send
from cell.page.assets import INDEX, assets
from cell.page.board import INTERVAL_S, Reader, encoded
from cell.page.detail import Follower, Sources
from cell.page.feed import Feed, TooManyReaders
from cell.page.rows import NS_PER_MS
from cell.page.source import Source

BEAT_S: Final = 5.0
"""Longest silence of a feed: a page that gets nothing for longer knows that its connection is lost."""
CONTAINERS_MOST: Final = 32
"""Open pages of containers at a time."""
FILL_S: Final = 10.0
"""Time for the board to fill, for one answer."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
JSON_TYPE: Final = "application/json; charset=utf-8"
STREAM: Final = {**HEADERS, "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}

NO_CONTAINER: Final = "no container of this guid ran here lately"
TOO_MANY: Final = "too many pages are open; close one, or try again later"

Events = AsyncGenerator[tuple[str, bytes], None]
"""Names and data of server-sent events."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)


class Page:
    """The page of one source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._feed = Feed(source)
        self._streams: set[asyncio.Timeout] = set()
        self._containers = 0

    @asynccontextmanager
    async def mounted(self, application: web.Application, prefix: str = "") -> AsyncIterator[None]:
        """Add the routes below ``prefix``, and serve them while inside."""
        add = application.router.add_get
        if prefix:
            add(prefix, self._redirect(f"{prefix}/"))
        for path, handler in (
            ("/", self._file),
            ("/state", self._state),
            ("/feed", self._follow),
            ("/containers/{guid:[^/]+}", self._container),
            ("/containers/{guid:[^/]+}/feed", self._follow_container),
            ("/{name:[a-z-]+[.][a-z]+}", self._file),
        ):
            add(f"{prefix}{path}", handler)
        application.on_shutdown.append(self._end_streams)
        async with self._feed.running():
            yield

    # -- files -------------------------------------------------------------------------------------------

    @staticmethod
    def _redirect(where: str) -> Handler:
        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=308, headers={**HEADERS, "Location": where})

        return redirect

    async def _file(self, request: web.Request) -> web.Response:
        asset = assets().get(request.match_info.get("name", INDEX))
        if asset is None:
            return _error(404, "the page has no such file")
        headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": asset.tag}
        if request.headers.get("If-None-Match") == asset.tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=asset.body, headers={**headers, "Content-Type": asset.media_type})

    # -- rows --------------------------------------------------------------------------------------------

    async def _state(self, _: web.Request) -> web.Response:
        try:
            async with self._feed.reader(), asyncio.timeout(FILL_S):
                await self._feed.board.complete.wait()
                head = encoded(self._hello())
                body = b'{"about":%s,"tables":%s}' % (head, self._feed.board.whole())
        except TooManyReaders:
            return _error(503, TOO_MANY)
        except TimeoutError:
            return _error(503, "the rows could not be read in time; the log says why")
        return _json(body)

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        try:
            async with self._feed.reader() as reader:
                return await self._streamed(request, self._row_events(reader))
        except TooManyReaders:
            return _error(503, TOO_MANY)

    async def _row_events(self, reader: Reader) -> Events:
        """``hello``, then ``rows``, with ``complete`` once all are sent; ``beat`` in silence."""
        board = self._feed.board
        yield "hello", encoded(self._hello())
        complete = False
        while True:
            if not complete and board.complete.is_set() and not reader.waiting:
                complete = True
                yield "complete", encoded({"full": sorted(board.full)})
            piece = await reader.next(BEAT_S if complete else INTERVAL_S)
            if piece is not None:
                yield "rows", piece
            elif complete:
                yield "beat", encoded({"now": _now_ms()})

    def _hello(self) -> Mapping[str, object]:
        return {**self._source.about(), "now": _now_ms(), "beat": round(BEAT_S * 1000)}

    # -- a container -------------------------------------------------------------------------------------

    async def _container(self, request: web.Request) -> web.Response:
        sources = self._source.container(request.match_info["guid"])
        news = Follower(sources).news() if sources is not None else None
        if news is None:
            return _error(404, NO_CONTAINER)
        return _json(encoded(news))

    async def _follow_container(self, request: web.Request) -> web.StreamResponse:
        guid = request.match_info["guid"]
        if self._containers >= CONTAINERS_MOST:
            return _error(503, TOO_MANY)
        self._containers += 1
        try:
            return await self._streamed(request, _container_events(self._source.container(guid)))
        finally:
            self._containers -= 1

    # -- streams -----------------------------------------------------------------------------------------

    async def _streamed(self, request: web.Request, events: Events) -> web.StreamResponse:
        """Send events until they end, the client leaves, or the listener closes."""
        response = web.StreamResponse(headers=STREAM)
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async with self._until_closed(), aclosing(events):
                async for name, data in events:
                    await send(request, response, b"event: %s\ndata: %s\n\n" % (name.encode(), data))
            await response.write_eof()
        except (ConnectionError, SlowReader):
            logger.debug("page-left", extra={"data": {"path": request.path}})
        return response

    @asynccontextmanager
    async def _until_closed(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(None) as scope:
                self._streams.add(scope)
                try:
                    yield
                finally:
                    self._streams.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise

    async def _end_streams(self, _: web.Application) -> None:
        now = asyncio.get_running_loop().time()
        for scope in self._streams:
            scope.reschedule(now)


async def _container_events(sources: Sources | None) -> Events:
    """``news`` of a container; ``beat`` in silence. ``remark`` says what is missing.

    ``unknown`` is the only event without a container.
    """
    if sources is None:
        yield "unknown", encoded({"why": NO_CONTAINER})
        return
    if sources.remark:
        yield "remark", encoded({"text": sources.remark})
    follower = Follower(sources)
    silent_s = 0.0
    while True:
        news = follower.news()
        if news is not None:
            yield "news", encoded(news)
            silent_s = 0.0
        elif silent_s >= BEAT_S:
            yield "beat", encoded({"now": _now_ms()})
            silent_s = 0.0
        await asyncio.sleep(INTERVAL_S)
        silent_s += INTERVAL_S


def _json(body: bytes, status: int = 200) -> web.Response:
    headers = {**HEADERS, "Content-Type": JSON_TYPE, "Cache-Control": "no-store"}
    return web.Response(status=status, body=body, headers=headers)


def _error(status: int, text: str) -> web.Response:
    return _json(encoded({"error": text}), status)


def _now_ms() -> int:
    return time.time_ns() // NS_PER_MS
