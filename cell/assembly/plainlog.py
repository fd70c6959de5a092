"""The component log as text for people: time, level, message, then the data as ``key=value``.

::

    10:42:07.120 INFO  rep.started cell-id=cell-1
    10:42:09.004 ERROR rep.failed-to-create-container guid=5c2e... error="no such image"

A traceback follows on lines of its own, indented. Text of apps and tenants is displayed, not executed:
control characters become visible.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from cell.assembly.logentries import DEFAULT_MAX_DATA_STRING, EntryFormatter, Redact
from cell.assembly.terminal import PLAIN, visible

COLOURS: Final = {logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m", logging.WARNING: "\x1b[33m"}
DIM: Final = "\x1b[2m"
TRACE: Final = "trace"
_WORD: Final = re.compile(r"[^\s\"'=\\]+")


class PlainFormatter(EntryFormatter):
    """source: prefixes the message. coloured: for terminals."""

    def __init__(
        self,
        source: str,
        max_data_string: int = DEFAULT_MAX_DATA_STRING,
        redact: Redact | None = None,
        *,
        coloured: bool = False,
    ) -> None:
        super().__init__(max_data_string, redact)
        self._source = source
        self._coloured = coloured

    def written(self, record: logging.LogRecord, message: str, data: Mapping[str, Any]) -> str:
        clock = self.formatTime(record, "%H:%M:%S") + f".{int(record.created * 1000) % 1000:03d}"
        level = f"{record.levelname:<5}"[:5]
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in data.items() if key != TRACE)
        head = [self._painted(clock, DIM), self._painted(level, COLOURS.get(record.levelno, ""))]
        lines = [" ".join([*head, visible(f"{self._source}.{message} {pairs}".rstrip())])]
        if TRACE in data:
            lines += [f"    {visible(line)}" for line in str(data[TRACE]).splitlines()]
        return "\n".join(lines)

    def _painted(self, text: str, colour: str) -> str:
        return f"{colour}{text}{PLAIN}" if self._coloured and colour else text


def _shown(value: object) -> str:
    """A value: bare if it is one word, else as JSON."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)
