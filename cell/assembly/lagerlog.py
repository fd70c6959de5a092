"""The component log: entries in the format of Diego, or as text for people.

A record's message is a short name; its data are in ``extra={"data": {...}}``. The format of Diego is JSON
lines in lager's two forms: ``time_format`` is ``unix-epoch`` (numeric levels) or ``rfc3339`` (named levels).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import IO, Any, Final, NotRequired, Required, TypedDict, Unpack

from bbs.tracing import TraceFilter
from cell.assembly.logentries import DEFAULT_MAX_DATA_STRING, EntryFormatter, Redact
from cell.assembly.logwriter import LogWriter
from cell.assembly.plainlog import PlainFormatter
from common import lager
from common.loglevels import set_level
from common.logsubject import SubjectFilter

LEVEL_NUMBERS = {logging.DEBUG: 0, logging.INFO: 1, logging.WARNING: 1, logging.ERROR: 2, logging.CRITICAL: 3}

AUTO, JSON, TEXT = "auto", "json", "text"
FORMATS: Final = (AUTO, JSON, TEXT)
"""``auto`` is text on a terminal, and JSON otherwise."""


class Settings(TypedDict, total=False):
    """The settings of a log. source: name of the component.

    max_data_string: longer strings in ``data`` are cut; 0: no limit. redact: removes secrets from message and
    ``data``. log_format: one of ``FORMATS``.
    """

    source: Required[str]
    level: NotRequired[str]
    time_format: NotRequired[str]
    max_data_string: NotRequired[int]
    redact: NotRequired[Redact | None]
    log_format: NotRequired[str]


class LagerFormatter(EntryFormatter):
    """One JSON object per record. source: root name (``rep``), which prefixes the message as in lager."""

    def __init__(
        self,
        source: str,
        time_format: str = "unix-epoch",
        max_data_string: int = DEFAULT_MAX_DATA_STRING,
        redact: Redact | None = None,
    ) -> None:
        super().__init__(max_data_string, redact)
        self._source = source
        self._rfc3339 = time_format == "rfc3339"

    def written(self, record: logging.LogRecord, message: str, data: Mapping[str, Any]) -> str:
        entry = lager.entry(
            self._source,
            message,
            LEVEL_NUMBERS.get(record.levelno, 1),
            data,
            int(record.created * 1_000_000) * 1000,
            rfc3339=self._rfc3339,
        )
        return json.dumps(entry, default=str, separators=(",", ":"))  # peers search for `"key":"value"`


def install(target: IO[str] | LogWriter, **settings: Unpack[Settings]) -> LogWriter:
    """Send all records of the process to a writer, or to the descriptor of a stream.

    Returns the writer, for its removal. No caller waits for its reader. Raises UnknownLevel.
    """
    handler = target if isinstance(target, LogWriter) else LogWriter(target.fileno())
    try:
        configure(handler, **settings)
    except ValueError:
        handler.close()
        raise
    handler.addFilter(TraceFilter())
    handler.addFilter(SubjectFilter())
    logging.getLogger().addHandler(handler)
    return handler


def configure(handler: LogWriter, **settings: Unpack[Settings]) -> None:
    """Use other settings from the next record on. Raises UnknownLevel."""
    set_level(settings.get("level", "info"))
    source, redact = settings["source"], settings.get("redact")
    most = settings.get("max_data_string", DEFAULT_MAX_DATA_STRING)
    chosen = settings.get("log_format", AUTO)
    if chosen == TEXT or (chosen == AUTO and handler.is_terminal):
        coloured = handler.is_terminal and "NO_COLOR" not in os.environ
        handler.setFormatter(PlainFormatter(source, most, redact, coloured=coloured))
    else:
        time_format = settings.get("time_format", "unix-epoch")
        handler.setFormatter(LagerFormatter(source, time_format, most, redact))
