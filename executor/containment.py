"""The one place that takes any failure about one container, so that it stays that container's.

A hook is something the executor does for one container again and again: it reads, watches, logs or ends it.
Whatever an exception in a hook is about, the other containers and the periodic work go on.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

from executor.errors import ExecutorError

log = logging.getLogger(__name__)

INTERNAL_ERROR = "internal error"
"""What an app's owner sees of a failure that is neither the app's nor the engine's. The log has the rest."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})


class InternalError(ExecutorError):
    """A failure that nobody foresaw; its cause and trace are in the component log."""

    text = INTERNAL_ERROR


def is_shortage(error: BaseException) -> bool:
    """Whether the host has nothing left to do the work with, which says nothing about a container."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES)


class Containment:
    """Takes the failures of hooks. A failure that repeats is logged once, until the hook succeeds again."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, dict[str, int]] = {}

    @contextmanager
    def of(
        self, guid: str, hook: str, *, then: Callable[[], None] | None = None, after: int = 1
    ) -> Iterator[None]:
        """Take any Exception of the body; cancellation passes.

        then: the consequence for the container, after that many failures in a row. A hook with patience
        (``after`` above 1) has no consequence when the host was short of something.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - this is the place that takes all of them
            if self._failed(guid, hook, error) >= after and then is not None:
                if after > 1 and is_shortage(error):
                    return
                self._take_consequence(guid, hook, then)
        else:
            self._succeeded(guid, hook)

    def retain(self, guids: Set[str]) -> None:
        """Forget the failures of all other containers."""
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
        except Exception as error:  # noqa: BLE001 - this is the place that takes all of them
            self._failed(guid, f"{hook}: consequence", error)
