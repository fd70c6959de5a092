"""Trace ids: log entries name the request that caused them.

The header ``X-Vcap-Request-Id`` of a request has its id. Log entries have it as ``trace-id``: 32 hexadecimal
digits, without the dashes of a UUID. Tasks that start inside :func:`traced` inherit it.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRACE = re.compile(r"[0-9a-f]{32}")
_NONE = "0" * 32
_current: ContextVar[dict[str, str] | None] = ContextVar("trace", default=None)


def trace_in(request_id: str) -> str:
    """The trace id in a request id; empty if there is none."""
    digits = request_id.replace("-", "")
    return digits if _TRACE.fullmatch(digits) and digits != _NONE else ""


@contextmanager
def traced(request_id: str) -> Iterator[None]:
    """Log entries inside this context get the trace id of a request id, if it has one."""
    found = trace_in(request_id)
    token = _current.set({"trace-id": found, "span-id": secrets.token_hex(8)} if found else None)
    try:
        yield
    finally:
        _current.reset(token)


def current_trace() -> tuple[str, str] | None:
    """Trace id and span id of the current request, in hexadecimal digits; None without one."""
    trace = _current.get()
    return None if trace is None else (trace["trace-id"], trace["span-id"])


class TraceFilter(logging.Filter):
    """Adds ``trace-id`` and ``span-id`` of the current request to the data of log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        trace = _current.get()
        if trace is not None:
            record.data = {**trace, **(getattr(record, "data", None) or {})}
        return True
