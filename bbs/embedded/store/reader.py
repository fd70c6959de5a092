"""Lists: reads of many records on a thread and connection of their own.

A list of 50,000 instances takes a tenth of a second. On the store's thread it would hold up every write, on
the event loop everything. A read sees each transaction whose call was answered before it began.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from bbs.embedded.store.database import StoreError
from bbs.embedded.store.tables import Tables
from common.shielded import finish

T = TypeVar("T")


class Reader:
    """Read transactions on the state file; an async context manager. Open it after the store.

    path: the state file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "bbs-reader")
        return self

    async def __aexit__(self, *_: object) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close)
            await finish(asyncio.to_thread(thread.shutdown, cancel_futures=False))

    async def read(self, work: Callable[[Tables], T]) -> T:
        """Run ``work`` on one state of the file; it changes nothing. Raises its errors, StoreError."""
        if self._thread is None:
            raise StoreError(f"{self._path} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, work)

    def _read(self, work: Callable[[Tables], T]) -> T:
        try:
            connection = self._open()
            connection.execute("BEGIN")
            try:
                return work(Tables(connection))
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._close()
            raise StoreError(f"cannot read {self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
            )
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
