"""Errors that a user can fix are reported in one line; other errors are bugs and show a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bbs.client.locket import LocketError
from bbs.client.tls import TLSConfigurationError
from bbs.embedded.store.database import StoreError
from bbs.models.errors import BBSError
from bbs.serving.address import ListenError
from cell.assembly.locks import AlreadyInUse
from cell.assembly.telemetry import TelemetryError
from cell.errors import CommandError
from common.tasks import leaves
from executor.errors import ExecutorError
from rep.config import ConfigError, InvalidConfig
from rep.evacuation import CleanupFailed
from rep.rootfs import UnknownStack

USER_ERRORS = (
    AlreadyInUse,
    CommandError,
    BBSError,
    CleanupFailed,
    ConfigError,
    ExecutorError,
    InvalidConfig,
    ListenError,
    LocketError,
    OSError,
    StoreError,
    TLSConfigurationError,
    TelemetryError,
    UnknownStack,
    ValueError,
)


class Reported(Exception):
    """The errors have been reported already."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__(*map(str, errors))
        self.errors = tuple(errors)


@contextmanager
def reported_errors(report: Callable[[str], object]) -> Iterator[None]:
    """Pass the texts of user errors to ``report``, then raise one :class:`Reported`."""
    try:
        yield
    except USER_ERRORS as error:
        report(str(error))
        raise Reported([error]) from error
    except ExceptionGroup as group:
        if group.split(USER_ERRORS)[1] is not None:
            raise
        errors = list(leaves(group))
        for each in errors:
            report(str(each))
        raise Reported(errors) from group
