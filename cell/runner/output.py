"""Output whose reader may end before the run, as in ``cell run ... | head`` or on a closed terminal.

The run must still clean up.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import IO, Final

READER_GONE: Final = (errno.EPIPE, errno.EIO)
"""Error of a pipe, and of a terminal."""


class PipeSafeOutput(io.TextIOBase):
    """Writes to a stream until its reader is gone, then discards."""

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
        """Redirect the descriptor to /dev/null, so the flush of the buffer at exit does not fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
