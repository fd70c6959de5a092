"""The journal on disk: one thread writes, in order, and commits the waiting writes together.

The event loop never waits for the disk. ``synchronous=NORMAL`` makes a commit survive a kill of the agent,
but not a power cut; containers do not survive that either.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from common.batches import BatchThread
from common.failpoints import failpoint
from executor.journal import schema
from executor.journal.api import Change, Contents, FailureReason, JournalError
from executor.journal.opening import (
    BOOT_ID,
    Finding,
    Report,
    failure_reason,
    open_journal,
    opening_facts,
    reopen,
)
from executor.journal.schema import Damaged, Statement

FILE_NAME: Final = "journal.db"
BATCH: Final = 256
"""Maximum writes in one commit."""
RETRY_S: Final = 1.0
"""Pause before results that could not be stored are tried again."""
STALL_S: Final = 10.0
"""Longest wait for the disk. A start must fail instead of waiting for a disk that hangs."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Write:
    """A write in the queue. is_result: it stays in memory when it fails. future: None if no caller waits."""

    statements: Sequence[Statement]
    is_result: bool
    future: asyncio.Future[None] | None = None


class SQLiteJournal:
    """:class:`executor.journal.api.Journal` in a file; an async context manager.

    folder: the journal's own folder. The caller holds the lock of the state folder around it. boot_id: of
    the running kernel; given in tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        boot_id: str | None = None,
        retry_s: float = RETRY_S,
        stall_s: float = STALL_S,
    ) -> None:
        self._path = folder / FILE_NAME
        self._boot_id = boot_id
        self._retry_s = retry_s
        self._stall_s = stall_s
        self._writes: BatchThread[_Write] = BatchThread("journal", BATCH)
        self._connection: sqlite3.Connection | None = None
        self._backlog: list[Statement] = []
        self._failing = False
        self._retried: Sequence[Statement] = ()
        """Repeated while writes fail, because an unhealthy cell gets no work that would show the recovery."""
        self._failure: FailureReason | None = None
        self._stalled = False
        self.contents = Contents()
        self.same_boot = False
        self.report = Report(finding=Finding.NEW, path=self._path)

    async def __aenter__(self) -> Self:
        """Open the file; ``report`` says what was found. Raises JournalError for a newer version's file."""
        boot_id = await asyncio.to_thread(_read_boot_id) if self._boot_id is None else self._boot_id
        opened = await asyncio.to_thread(open_journal, self._path, boot_id)
        self.contents, self.same_boot, self.report = opened.contents, opened.same_boot, opened.report
        self._connection = opened.connection
        self._failure = opened.report.failure
        self._retried = _encoded(opening_facts(boot_id))
        if opened.connection is None:
            self._backlog += self._retried
        _log(opened.report)
        self._writes.start(partial(self._serve, asyncio.get_running_loop()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish the queued writes and close. New writes are refused at once."""
        await self._writes.close(self._stall_s)

    @property
    def failure(self) -> FailureReason | None:
        return FailureReason.STALLED if self._stalled else self._failure

    async def write(self, *changes: Change) -> None:
        await self._submit(changes, is_result=False)

    async def record(self, *changes: Change) -> None:
        try:
            await self._submit(changes, is_result=True)
        except JournalError as error:
            if error.failure is FailureReason.CLOSED:
                raise

    def post(self, *changes: Change) -> None:
        if not self._writes.open:
            logger.error("journal.closed-before-last-changes", extra={"data": {"path": str(self._path)}})
            return
        self._writes.put(_Write(_encoded(changes), is_result=True))

    async def _submit(self, changes: Sequence[Change], *, is_result: bool) -> None:
        if not self._writes.open:
            raise JournalError(FailureReason.CLOSED)
        statements = _encoded(changes)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writes.put(_Write(statements, is_result, future))
        try:
            async with asyncio.timeout(self._stall_s):
                await future
        except TimeoutError:
            self._stalled = True
            logger.error("journal.stalled", extra={"data": {"path": str(self._path)}})
            raise JournalError(FailureReason.STALLED, f"no answer within {self._stall_s:g} s") from None

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Main loop of the thread."""
        for writes in self._writes.batches(self._pause_s):
            statements = [statement for write in writes for statement in write.statements]
            error = self._store(statements or (self._retried if self._failing else ()))
            self._failing = error is not None
            if error is not None:
                results = [each for write in writes if write.is_result for each in write.statements]
                self._backlog = schema.latest([*self._backlog, *results])
            try:
                loop.call_soon_threadsafe(self._answer, writes, error)
            except RuntimeError:  # the loop is closed: no caller waits
                break
        if self._backlog:
            data = {"path": str(self._path), "statements": len(self._backlog)}
            logger.error("journal.closed-with-unstored-results", extra={"data": data})
        self._close()

    def _pause_s(self) -> float | None:
        """The longest wait for writes before a retry; None if no retry is due."""
        return self._retry_s if self._backlog or self._failing else None

    def _store(self, statements: Sequence[Statement]) -> JournalError | None:
        """Execute the backlog and the statements in one transaction; the error, if nothing was stored."""
        everything = [*self._backlog, *statements]
        if not everything:
            return None
        try:
            if self._connection is None:
                self._connection = reopen(self._path)
            _commit(self._connection, everything)
        except JournalError as error:
            return error
        except (sqlite3.Error, OSError, Damaged) as error:
            self._close()  # the state of the transaction is unknown; closing rolls it back
            return JournalError(failure_reason(error), str(error))
        except Exception as error:
            # The thread must live: without it every start of a container waits and fails.
            logger.exception("journal.failed", extra={"data": {"path": str(self._path)}})
            self._close()
            return JournalError(FailureReason.IO, repr(error))
        self._backlog.clear()
        return None

    def _answer(self, writes: Sequence[_Write], error: JournalError | None) -> None:
        """On the event loop: note the journal's condition and answer the callers."""
        failure = None if error is None else error.failure
        if failure is not self._failure:
            data = {"path": str(self._path), "error": str(error) if error else ""}
            if error is None:
                logger.info("journal.works-again", extra={"data": data})
            else:
                logger.error("journal.cannot-write", extra={"data": data})
        self._failure, self._stalled = failure, False
        for write in writes:
            if write.future is None or write.future.done():  # cancelled, or given up
                continue
            if error is None:
                write.future.set_result(None)
            else:
                write.future.set_exception(error)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except sqlite3.Error as error:
            logger.error("journal.failed-to-close", extra={"data": {"error": str(error)}})


def _encoded(changes: Sequence[Change]) -> list[Statement]:
    """The statements of the changes, made in the caller: changes that cannot be encoded are its own error.

    Raises UnicodeEncodeError.
    """
    return [statement for change in changes for statement in schema.statements(change)]


def _commit(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement, values in statements:
        connection.execute(statement, values)
    failpoint("journal.before-commit")
    connection.execute("COMMIT")
    failpoint("journal.after-commit")


def _read_boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


def _log(report: Report) -> None:
    data = {
        "path": str(report.path),
        "finding": report.finding.value,
        "kept-aside": str(report.kept_aside or ""),
        "trouble": report.failure.value if report.failure else "",
        "detail": report.detail,
    }
    unusable = report.finding in (Finding.DAMAGED, Finding.UNWRITABLE, Finding.UNREADABLE)
    logger.log(logging.ERROR if unusable else logging.INFO, "journal.opened", extra={"data": data})
