"""Entries of the component log: what all its forms have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

DEFAULT_MAX_DATA_STRING: Final = 640
"""Maximum length of a string in ``data``, in characters; the job's default ``max_data_string_length``."""

Redact = Callable[[Any], Any]


class EntryFormatter(logging.Formatter, ABC):
    """Prepares records: error and trace are in the data, secrets are gone, long strings are cut.

    max_data_string: longer strings in ``data`` are cut; 0: no limit. redact: removes secrets from message and
    ``data``.
    """

    def __init__(self, max_data_string: int = DEFAULT_MAX_DATA_STRING, redact: Redact | None = None) -> None:
        super().__init__()
        self._max = max_data_string
        self._redact = redact

    @abstractmethod
    def written(self, record: logging.LogRecord, message: str, data: Mapping[str, Any]) -> str:
        """The text of an entry."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        data: dict[str, Any] = dict(getattr(record, "data", None) or {})
        if record.exc_info:
            data["trace"] = self.formatException(record.exc_info)
            data.setdefault("error", str(record.exc_info[1]))
        if self._redact is not None:
            message, data = self._redact(message), self._redact(data)
        return self.written(record, message, self._shorten(data))

    def _shorten(self, value: Any) -> Any:
        if isinstance(value, str) and 0 < self._max < len(value):
            return value[: self._max - 12] + "-(truncated)"
        if isinstance(value, dict):
            return {str(k): self._shorten(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._shorten(v) for v in value]
        return value
