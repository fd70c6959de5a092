"""The subject of log entries: the guid of the container that they are about.

Whatever is logged inside :func:`about`, also by tasks that start there, has the guid in its data. Work for
several containers at once, such as the download of a file that two of them want, has the guid of the first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_guid: ContextVar[str] = ContextVar("subject", default="")


@contextmanager
def about(guid: str) -> Iterator[None]:
    """Entries inside this context are about a container, unless they name another one."""
    token = _guid.set(guid)
    try:
        yield
    finally:
        _guid.reset(token)


class SubjectFilter(logging.Filter):
    """Adds ``guid`` to the data of records inside :func:`about`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if guid := _guid.get():
            record.data = {"guid": guid, **(getattr(record, "data", None) or {})}
        return True
