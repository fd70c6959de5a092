"""App logs for people: one line each on the terminal, labelled with instance and source."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import TextIOBase
from typing import IO

from executor.logs.api import LogLine, Stream

RED, DIM, PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[0m"


def source_label(line: LogLine) -> str:
    """``APP`` of ``cell run``: only one instance, so its source alone tells."""
    return line.source_type


def instance_label(line: LogLine) -> str:
    """``web/0 APP``: whose line it is when many run side by side."""
    return f"{line.source_id}/{line.instance_id} {line.source_type}"


class ConsoleSink:
    """Prints lines as they come. Colours only on a terminal and without NO_COLOR."""

    def __init__(
        self,
        stream: IO[str] | TextIOBase | None = None,
        *,
        label: Callable[[LogLine], str] = instance_label,
        colour: bool = False,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._label = label
        self._colour = colour

    def emit(self, line: LogLine) -> None:
        text = line.payload.decode(errors="replace")
        label = f"[{self._label(line)}] {line.stream.value}"
        if self._colour:
            text = f"{RED}{text}{PLAIN}" if line.stream is Stream.ERR else text
            label = f"{DIM}{label}{PLAIN}"
        print(f"{label} {text}", file=self._stream, flush=True)
