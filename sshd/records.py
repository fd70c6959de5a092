"""Log records on standard output: one JSON object per line, in the platform's format.

Writes never block. Records that a slow reader has not taken wait in a bounded buffer. A separate record
reports the number of records dropped for lack of space.
"""

from __future__ import annotations

import json
import os
import select
import time

from common.lager import entry

DEBUG, INFO, ERROR, FATAL = range(4)

STANDARD_OUTPUT = 1

MAX_WAITING = 1024 * 1024
"""Limit of records that wait for the reader, in bytes."""

PIECE = 4096
"""Bytes that a writable pipe takes without blocking (``PIPE_BUF`` of Linux)."""

LAST_SECONDS = 1.0
"""Seconds that the program waits for the reader at exit."""


class Output:
    """Non-blocking output to a descriptor."""

    def __init__(self, descriptor: int = STANDARD_OUTPUT) -> None:
        self._descriptor = descriptor
        self._writable = select.poll()
        self._writable.register(descriptor, select.POLLOUT)
        self._waiting = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether the reader has taken everything."""
        self.flush()
        return not self._waiting

    def add(self, line: bytes) -> bool:
        """Write or buffer a line; False if the buffer is full."""
        self.flush()
        if len(self._waiting) + len(line) > MAX_WAITING:
            return False
        self._waiting += line
        self.flush()
        return True

    def flush(self, seconds: float = 0.0) -> None:
        """Write the buffered bytes that the reader takes within ``seconds``."""
        deadline = time.monotonic() + seconds
        while self._waiting:
            wait_s = max(0.0, deadline - time.monotonic()) if seconds else 0.0
            if not self._writable.poll(wait_s * 1000):
                return
            try:
                written = os.write(self._descriptor, self._waiting[:PIECE])
            except BlockingIOError:
                return
            except OSError:  # the reader is gone; the program goes on
                self._waiting.clear()
                return
            del self._waiting[:written]


class Records:
    """Writes the records of one component at or above a level."""

    def __init__(self, component: str, level: int, rfc3339: bool, output: Output | None = None) -> None:
        self.component = component
        self.level = level
        self.rfc3339 = rfc3339
        self._output = output or Output()
        self._lost = 0

    def write(self, level: int, message: str, **data: object) -> None:
        """``message`` without the component prefix; ``data`` in the given order."""
        if level < self.level:
            return
        if self._lost and self._output.is_empty:
            self._add(ERROR, "records-lost", {"number": self._lost})
            self._lost = 0
        if not self._add(level, message, data):
            self._lost += 1

    def flush(self) -> None:
        """Write buffered records without waiting."""
        self._output.flush()

    def close(self) -> None:
        """Write buffered records, with a short wait for the reader."""
        self._output.flush(LAST_SECONDS)

    def _add(self, level: int, message: str, data: dict[str, object]) -> bool:
        record = entry(self.component, message, level, _encodable(data), time.time_ns(), rfc3339=self.rfc3339)
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
        return self._output.add(f"{line}\n".encode())


def _encodable(data: dict[str, object]) -> dict[str, object]:
    """Escape texts that cannot be encoded: a user name may be any bytes, a token any JSON."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in data.items()
    }
