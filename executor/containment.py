"""Containment: a failure about one container affects only that container.

A hook is a recurring operation on one container: read, watch, log or end it. If a hook raises any exception,
the other containers and the periodic work continue.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

from executor.errors import ExecutorError

log = logging.getLogger(__name__)

INTERNAL_ERROR = "internal error"
"""Failure reason shown to an app's owner for a failure of the cell itself. The log has the details."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})


class InternalError(ExecutorError):
    """An unexpected failure; the component log has its cause and trace."""

    text = INTERNAL_ERROR


def is_shortage(error: BaseException) -> bool:
    """Whether the host ran out of a resource; such an error says nothing about the container."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES)


class Containment:
    """Catches the exceptions of hooks. A repeated failure is logged once, until the hook succeeds again."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, dict[str, int]] = {}

    @contextmanager
    def of(
        self, guid: str, hook: str, *, then: Callable[[], None] | None = None, after: int = 1
    ) -> Iterator[None]:
        """Catch any Exception of the body; cancellation passes.

        then: the consequence for the container, after ``after`` failures in a row. If ``after`` is above 1, a
        shortage on the host has no consequence.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - contains every failure of a hook
            if self._failed(guid, hook, error) >= after and then is not None:
                if after > 1 and is_shortage(error):
                    return
                self._take_consequence(guid, hook, then)
        else:
            self._succeeded(guid, hook)

    def retain(self, guids: Set[str]) -> None:
        """Forget the failure counts of all other containers."""
        self._in_a_row = {guid: counts for guid, counts in self._in_a_row.items() if guid in guids}

    def _failed(self, guid: str, hook: str, error: Exception) -> int:
        counts = self._in_a_row.setdefault(guid, {})
        counts[hook] = count = counts.get(hook, 0) + 1
        if count == 1:
            data = {"guid": guid, "hook": hook, "error": str(error)}
            log.error("container-trouble", exc_info=error, extra={"data": data})
        return count

    def _succeeded(self, guid: str, hook: str) -> None:
        counts = self._in_a_row.get(guid)
        if counts is not None and counts.pop(hook, None) is not None and not counts:
            del self._in_a_row[guid]

    def _take_consequence(self, guid: str, hook: str, then: Callable[[], None]) -> None:
        try:
            then()
        except Exception as error:  # noqa: BLE001 - contains every failure of a hook
            self._failed(guid, f"{hook}: consequence", error)
