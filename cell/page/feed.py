"""The board of a page, filled while it is read: nothing is listed and watched without a reader."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Never

from cell.page.board import Board, Reader
from cell.page.source import Source
from common.tasks import running

READERS_MOST: Final = 16
"""Pages that read at a time."""
LINGER_S: Final = 10.0
"""Time that the board stays filled without a reader: a page that is loaded again finds it."""
RETRY_S: Final = 1.0
"""Pause after a failure of the source."""

logger = logging.getLogger(__name__)


class TooManyReaders(Exception):
    """As many pages as are allowed read already."""


class Feed:
    """The board of one source. It is filled inside ``running()`` only."""

    def __init__(
        self, source: Source, *, readers_most: int = READERS_MOST, linger_s: float = LINGER_S
    ) -> None:
        self.source = source
        self.board = Board()
        self._readers_most = readers_most
        self._linger_s = linger_s
        self._readers = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fill the board for its readers while inside."""
        async with running(self._run(), "page"):
            yield

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """A reader of the board. Raises TooManyReaders."""
        if self._readers >= self._readers_most:
            raise TooManyReaders
        self._readers += 1
        self._changed.set()
        try:
            with self.board.reader() as reader:
                yield reader
        finally:
            self._readers -= 1
            self._changed.set()

    async def _run(self) -> Never:
        while True:
            await self._until(read=True)
            filling = asyncio.create_task(self._fill())
            try:
                await self._until_left()
            finally:
                filling.cancel()
                await asyncio.wait([filling])
            self.board.clear()

    async def _fill(self) -> Never:
        """Trouble of a source must not end the cell that shows it."""
        while True:
            try:
                await self.source.follow(self.board)
            except Exception as error:
                logger.exception("page-source-failed", extra={"data": {"error": str(error)}})
            await asyncio.sleep(RETRY_S)

    async def _until_left(self) -> None:
        """Wait until there was no reader for a while."""
        while True:
            await self._until(read=False)
            try:
                async with asyncio.timeout(self._linger_s):
                    await self._until(read=True)
            except TimeoutError:
                return

    async def _until(self, *, read: bool) -> None:
        while bool(self._readers) is not read:
            self._changed.clear()
            await self._changed.wait()
