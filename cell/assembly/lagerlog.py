"""Component logs in the format of Diego: JSON lines in lager's two forms.

``time_format`` is ``unix-epoch`` (numeric levels) or ``rfc3339`` (named levels). A record's message is a
short name; its data are in ``extra={"data": {...}}``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import IO, Any, TypedDict, Unpack

from bbs.tracing import TraceFilter
from cell.assembly.logwriter import LogWriter
from common import lager

LEVEL_NUMBERS = {logging.DEBUG: 0, logging.INFO: 1, logging.WARNING: 1, logging.ERROR: 2, logging.CRITICAL: 3}
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR, "fatal": logging.CRITICAL}

DEFAULT_MAX_DATA_STRING = 640
"""Maximum length of a string in ``data``, in characters; the job's default ``max_data_string_length``."""


OWN_PACKAGES = ("bbs", "cell", "executor", "healthcheck", "lifecycle", "rep", "sshd")
"""Packages with the configured level. Other libraries log from WARNING on, to limit the volume."""


class LagerFormatter(logging.Formatter):
    """One JSON object per record.

    source: root name (``rep``), which prefixes the message as in lager.
    max_data_string: longer strings in ``data`` are cut; 0: no limit. redact: removes secrets from ``data``.
    """

    def __init__(
        self,
        source: str,
        time_format: str = "unix-epoch",
        max_data_string: int = DEFAULT_MAX_DATA_STRING,
        redact: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self._redact = redact
        self._source = source
        self._rfc3339 = time_format == "rfc3339"
        self._max = max_data_string

    def _shorten(self, value: Any) -> Any:
        if isinstance(value, str) and 0 < self._max < len(value):
            return value[: self._max - 12] + "-(truncated)"
        if isinstance(value, dict):
            return {str(k): self._shorten(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._shorten(v) for v in value]
        return value

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, Any] = dict(getattr(record, "data", None) or {})
        if record.exc_info:
            data["trace"] = self.formatException(record.exc_info)
            data.setdefault("error", str(record.exc_info[1]))
        if self._redact is not None:
            data = self._redact(data)
        entry = lager.entry(
            self._source,
            record.getMessage(),
            LEVEL_NUMBERS.get(record.levelno, 1),
            self._shorten(data),
            int(record.created * 1_000_000) * 1000,
            rfc3339=self._rfc3339,
        )
        return json.dumps(entry, default=str, separators=(",", ":"))  # peers search for `"key":"value"`


class Settings(TypedDict):
    """The arguments of :func:`configure`."""

    source: str
    level: str
    time_format: str
    max_data_string: int
    redact: Callable[[Any], Any] | None


def install(
    stream: IO[str],
    *,
    source: str,
    level: str = "info",
    time_format: str = "unix-epoch",
    max_data_string: int = 640,
    redact: Callable[[Any], Any] | None = None,
) -> logging.Handler:
    """Send all records of the process to the descriptor of ``stream``. Returns the handler, for its removal.

    No caller waits for the stream's reader. Raises ValueError for an unknown level, with the known ones.
    """
    _check(level)
    handler = LogWriter(stream.fileno())
    handler.addFilter(TraceFilter())
    configure(
        handler,
        source=source,
        level=level,
        time_format=time_format,
        max_data_string=max_data_string,
        redact=redact,
    )
    logging.getLogger().addHandler(handler)
    return handler


def configure(handler: logging.Handler, **settings: Unpack[Settings]) -> None:
    """Use other settings from the next record on. Raises ValueError like :func:`install`."""
    level = settings["level"]
    _check(level)
    handler.setFormatter(
        LagerFormatter(
            settings["source"], settings["time_format"], settings["max_data_string"], settings["redact"]
        )
    )
    root = logging.getLogger()
    root.setLevel(max(LEVELS[level], logging.WARNING))  # for libraries
    for package in OWN_PACKAGES:
        logging.getLogger(package).setLevel(LEVELS[level])


def _check(level: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"log_level is {level!r}, must be one of {', '.join(LEVELS)}")
