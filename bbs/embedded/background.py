"""Calls that a request causes but does not wait for: auctions, stops, updates, completion callbacks.

They are only a head start: what one of them fails to do, convergence does again. So their failure is
logged and goes no further.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Background:
    """Starts calls as children of the service's task group."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    def start(self, name: str, call: Coroutine[Any, Any, None]) -> None:
        """Begin a call. name: what the log calls it, as ``stop-lrp``."""
        self._tasks.create_task(_logged(name, call), name=name)


async def _logged(name: str, call: Coroutine[Any, Any, None]) -> None:
    try:
        await call
    except Exception:
        logger.exception("failed-to-%s", name)
