"""Reload of a cell's rep.json at SIGHUP, while the cell runs.

Some keys take effect at once; a change of another key needs a restart, and the log names it. A file that
cannot be used changes nothing. Certificates are followed without a signal; the signal checks them at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final

from cell.assembly.failures import USER_ERRORS
from rep.config import RepConfig

COMPONENT_LOG: Final = frozenset(
    ("log_format", "log_level", "max_data_string_length", "redact_patterns", "redact_secrets", "time_format")
)
"""Keys of the cell's own log."""
CONCURRENCY: Final = frozenset(
    (
        "create_work_pool_size",
        "delete_work_pool_size",
        "read_work_pool_size",
        "healthcheck_work_pool_size",
        "max_concurrent_downloads",
    )
)
"""Keys that limit concurrent work."""
SINKS: Final = frozenset(("log_sinks",))
"""Keys of the destinations of app logs."""
LIVE: Final = COMPONENT_LOG | CONCURRENCY | SINKS

LOGGREGATOR: Final = "loggregator."
"""Beginning of the keys of loggregator."""

logger = logging.getLogger(__name__)


def changed_keys(before: RepConfig, after: RepConfig) -> list[str]:
    """The keys with different effective values."""
    values = {key: value for key, value, _ in before.effective()}
    return [key for key, value, _ in after.effective() if values[key] != value]


def why_later(keys: Collection[str]) -> str:
    """Why a change of these keys needs a restart; empty without keys. Pure."""
    if not keys:
        return ""
    if all(key.startswith(LOGGREGATOR) for key in keys):
        return "the connection to loggregator carries the metrics of the cell and of all apps, too"
    return "they are used at the start only"


@dataclass(slots=True, eq=False)
class Reloader:
    """Reloads when ``asked`` is set.

    load: reads and checks the file again; raises one of ``USER_ERRORS``. apply: uses the values of some
    changed keys, all of them in ``LIVE``, or raises one of ``USER_ERRORS`` and changes nothing.
    check_certificates: looks for renewed files at once.
    announced: a context around each reload.
    """

    config: RepConfig
    load: Callable[[], RepConfig]
    apply: Callable[[RepConfig, Collection[str]], Awaitable[None]]
    check_certificates: Callable[[], object]
    _: KW_ONLY
    asked: asyncio.Event
    announced: Callable[[], AbstractContextManager[None]] = nullcontext

    async def run(self) -> None:
        """Reload at every request."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            try:
                with self.announced():
                    await self.reload()
            except Exception:
                # The cell goes on with the settings that it has.
                logger.exception("reload-failed")

    async def reload(self) -> None:
        """Read the file and use what can be used without a restart."""
        self.check_certificates()
        try:
            found = await asyncio.to_thread(self.load)
            changed = changed_keys(self.config, found)
            live = [key for key in changed if key in LIVE]
            later = [key for key in changed if key not in LIVE]
            config = replace(self.config, **{key: getattr(found, key) for key in live})
            await self.apply(config, live)
        except USER_ERRORS as error:
            logger.error("reload-refused", extra={"data": {"error": str(error)}})
            return
        self.config = config
        for warning in found.warnings:
            logger.warning("configuration-warning", extra={"data": {"warning": warning}})
        level = logging.WARNING if later else logging.INFO
        data = {"in-use": live, "need-a-restart": later, "why": why_later(later)}
        logger.log(level, "reloaded", extra={"data": data})
