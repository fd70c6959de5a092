"""Output that may end before the run does, as in ``cell run ... | head`` or on a terminal that closes.

The run still has to clean up.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import IO, Final

READER_GONE: Final = (errno.EPIPE, errno.EIO)
"""Of a pipe, and of a terminal."""


class PatientOutput(io.TextIOBase):
    """Writes to a stream until its reader is gone, and to nowhere afterwards."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if error.errno not in READER_GONE:
                raise
            self._give_up()

    def _give_up(self) -> None:
        """What is still buffered must go somewhere, or the interpreter complains at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
