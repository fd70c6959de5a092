"""The rows of the page, by table and id, and the readers that get what changes.

A reader holds the ids of rows that it has not got yet, not the rows. However many changes come, it holds each
id once and gets the newest row: a slow reader costs no more than the board itself, and skips states that are
over. Rows are encoded once for all readers.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

ROWS_MOST: Final = 5000
"""Rows of one table."""
PIECE_ROWS: Final = 200
"""Rows of one batch."""
INTERVAL_S: Final = 0.25
"""Shortest time between two rounds of batches for a reader."""

Row = Mapping[str, object]
_Ref = tuple[str, str]


class Board:
    """Tables of rows. ``complete`` is set while they hold everything that there is."""

    def __init__(self, rows_most: int = ROWS_MOST) -> None:
        self._rows_most = rows_most
        self._tables: dict[str, dict[str, bytes]] = {}
        self._full: set[str] = set()
        self._readers: set[Reader] = set()
        self.complete = asyncio.Event()

    @property
    def full(self) -> frozenset[str]:
        """Tables that have refused a row."""
        return frozenset(self._full)

    def ids(self, table: str) -> Collection[str]:
        return self._tables.get(table, {}).keys()

    def put(self, table: str, row_id: str, row: Row) -> None:
        """Add or replace a row; its ``id`` is added. A full table takes no further rows."""
        rows = self._tables.setdefault(table, {})
        if row_id not in rows and len(rows) >= self._rows_most:
            self._full.add(table)
            return
        text = encoded({"id": row_id, **row})
        if rows.get(row_id) != text:
            rows[row_id] = text
            self._changed(table, row_id)

    def drop(self, table: str, row_id: str) -> None:
        """Remove a row, if it exists."""
        if self._tables.get(table, {}).pop(row_id, None) is not None:
            self._changed(table, row_id)

    def retain(self, table: str, ids: Collection[str]) -> None:
        """Remove all other rows of a table."""
        for row_id in [each for each in self.ids(table) if each not in ids]:
            self.drop(table, row_id)

    def clear(self) -> None:
        """Forget everything: there is no reader."""
        self._tables.clear()
        self._full.clear()
        self.complete.clear()

    def whole(self) -> bytes:
        """All rows as one JSON object: table -> rows."""
        tables = (
            b"%s:[%s]" % (encoded(name), b",".join(rows.values())) for name, rows in self._tables.items()
        )
        return b"{%s}" % b",".join(tables)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A reader of all rows and their changes."""
        reader = Reader(self, [(table, row_id) for table, rows in self._tables.items() for row_id in rows])
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def piece(self, refs: Iterable[_Ref]) -> bytes:
        """The batch of some rows: ``{"set": {table: [row]}, "gone": {table: [id]}}``."""
        there: dict[str, list[bytes]] = {}
        gone: dict[str, list[str]] = {}
        for table, row_id in refs:
            text = self._tables.get(table, {}).get(row_id)
            if text is None:
                gone.setdefault(table, []).append(row_id)
            else:
                there.setdefault(table, []).append(text)
        rows = b",".join(b"%s:[%s]" % (encoded(name), b",".join(texts)) for name, texts in there.items())
        return b'{"set":{%s},"gone":%s}' % (rows, encoded(gone))

    def _changed(self, table: str, row_id: str) -> None:
        for reader in self._readers:
            reader.mark((table, row_id))


class Reader:
    """What one page has not got yet."""

    def __init__(self, board: Board, refs: Iterable[_Ref]) -> None:
        self._board = board
        self._marked: dict[_Ref, None] = dict.fromkeys(refs)
        self._round: deque[_Ref] = deque()
        self._round_at = -INTERVAL_S
        self._wake = asyncio.Event()
        if self._marked:
            self._wake.set()

    def mark(self, ref: _Ref) -> None:
        """A row has changed or is gone."""
        self._marked[ref] = None
        self._wake.set()

    @property
    def waiting(self) -> int:
        """The number of rows that have not been taken."""
        return len(self._marked) + len(self._round)

    async def next(self, patience_s: float) -> bytes | None:
        """The next batch; None after ``patience_s`` seconds without a change.

        A round of batches takes everything that waits; the next round begins :data:`INTERVAL_S` later.
        """
        if not self._round and not await self._begin_round(patience_s):
            return None
        return self._board.piece([self._round.popleft() for _ in range(min(PIECE_ROWS, len(self._round)))])

    async def _begin_round(self, patience_s: float) -> bool:
        """Whether there is something to take."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(max(self._round_at + INTERVAL_S - loop.time(), 0.0))
        self._round_at = loop.time()
        self._round, self._marked = deque(self._marked), {}
        self._wake.clear()
        return True


def encoded(value: object) -> bytes:
    """JSON without spaces. Unpaired surrogates, which texts of apps may have, stay escaped."""
    return json.dumps(value, separators=(",", ":")).encode()
