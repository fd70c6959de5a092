"""Log levels that a test changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from common.loglevels import OWN_PACKAGES


@contextmanager
def kept_levels() -> Iterator[None]:
    """Restore the levels of all packages afterwards."""
    loggers = [logging.getLogger(name) for name in ("", *OWN_PACKAGES)]
    before = [logger.level for logger in loggers]
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
