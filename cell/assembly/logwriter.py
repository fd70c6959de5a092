"""Writer of the component log: a bounded buffer, and a thread that writes it to a file or pipe.

A reader that does not read, such as a stopped pager, costs lines but no time. Lines beyond the buffer
are dropped, and the log reports their number when the reader continues. Order is kept.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import Final, NamedTuple

from executor.logs.writing import CannotWrite, write_whole

CAPACITY_BYTES: Final = 4 << 20
"""Maximum size of the buffer, about 20,000 lines."""
CLOSE_LIMIT_S: Final = 2.0
"""Limit of the wait for the reader at exit."""
BATCH_BYTES: Final = 1 << 16
"""Bytes per write, the size of a pipe buffer."""
DROPPED: Final = "log-lines-dropped"


class Line(NamedTuple):
    """mentions: number of lost lines that this line is about."""

    data: bytes
    mentions: int = 0


class LogWriter(logging.Handler):
    """Writes records to a descriptor. Only ``flush`` and ``close`` wait for the reader, with a limit.

    The descriptor is duplicated, so its owner may close it.
    """

    def __init__(
        self, descriptor: int, *, capacity: int = CAPACITY_BYTES, close_limit_s: float = CLOSE_LIMIT_S
    ) -> None:
        super().__init__()
        self._descriptor = os.dup(descriptor)
        self._capacity = capacity
        self._close_limit_s = close_limit_s
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Line] = deque()
        self._size = 0
        self._dropped = 0
        self._refused = 0
        self._mentioned = 0
        self._writing = False
        self._closed = False
        self._is_stopped = False
        self._thread = threading.Thread(target=self._write_all, name="component log", daemon=True)
        self._thread.start()

    @property
    def is_terminal(self) -> bool:
        """Whether the log is displayed on a terminal."""
        return os.isatty(self._descriptor)

    @property
    def dropped(self) -> int:
        """Number of lost lines that the log does not report yet."""
        with self._changed:
            return self._dropped + self._refused

    @property
    def lost(self) -> int:
        """Number of lost lines since the start."""
        with self._changed:
            return self._mentioned + self._dropped + self._refused

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="replace")
        except Exception:  # noqa: BLE001 - as in logging: a bad record is reported and ends nothing
            self.handleError(record)
            return
        with self._changed:
            if self._closed or self._size + len(line) > self._capacity:
                self._dropped += 1
                return
            if self._dropped or self._refused:
                self._mention_lost()
            self._keep(Line(line))
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, at most ``close_limit_s``, and only once for a stopped reader."""
        with self._changed:
            limit_s = 0.0 if self._is_stopped else self._close_limit_s
            self._is_stopped = not self._changed.wait_for(
                lambda: not self._waiting and not self._writing, limit_s
            )

    def close(self) -> None:
        """Write the rest, within the limit of ``flush``."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        super().close()

    def _keep(self, line: Line) -> None:
        self._waiting.append(line)
        self._size += len(line.data)

    def _mention_lost(self) -> None:
        """Queue a line that reports the lost lines, at their position."""
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, DROPPED, None, None)
        lost = self._dropped + self._refused
        record.data = {"lines": lost}
        self._mentioned += lost
        self._dropped = self._refused = 0
        self._keep(Line(f"{self.format(record)}\n".encode(errors="replace"), lost))

    # -- the thread -------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        try:
            while batch := self._next():
                refused = self._write(batch)
                with self._changed:
                    self._writing = False
                    self._refused += sum(line.mentions or 1 for line in refused)
                    self._mentioned -= sum(line.mentions for line in refused)
                    self._changed.notify_all()
        finally:
            os.close(self._descriptor)

    def _next(self) -> list[Line]:
        """The next lines; none at the end."""
        lines: list[Line] = []
        size = 0
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            while self._waiting and size < BATCH_BYTES:
                lines.append(self._waiting.popleft())
                size += len(lines[-1].data)
            self._size -= size
            self._writing = bool(lines)
            # Refused lines wait for the next record, because the descriptor may refuse this line too.
            if self._dropped:
                self._mention_lost()
        return lines

    def _write(self, batch: list[Line]) -> list[Line]:
        """Write without time limit; returns the lines that the descriptor refused."""
        try:
            write_whole(self._descriptor, [line.data for line in batch])
        except CannotWrite as error:
            missing = len(b"".join(line.data for line in batch)[-error.left :].splitlines())
            return batch[-missing:]
        return []
