"""Standard output that may end before we do: in ``cell run ... | head`` the run still has to clean up."""

from __future__ import annotations

import io
import os
from typing import IO


class PatientOutput(io.TextIOBase):
    """Writes to a stream until its reader is gone, and to nowhere afterwards."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> None:
        """What is still buffered must go somewhere, or the interpreter complains at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
