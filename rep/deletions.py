"""Background deletion of containers: callers do not wait for a slow engine.

A cancelled task is answered before its container is gone. An evacuation or a shutdown that runs out of
time continues although containers are left.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager

from executor.api import ExecutorAPI
from executor.errors import ContainerNotFound, ExecutorError
from rep.background import Background
from rep.removals import Removals

logger = logging.getLogger(__name__)


class Deletions:
    """Deletes containers while open."""

    def __init__(self, executor: ExecutorAPI, removals: Removals) -> None:
        self._executor = executor
        self._removals = removals
        self._background = Background()

    def open(self) -> AbstractAsyncContextManager[None]:
        """Deletions run while open. Leaving cancels the running ones and waits for the engine's answers."""
        return self._background.open()

    def start(self, guid: str, failed: str, *, trace_id: str = "", force: bool = False) -> None:
        """Start to delete a container. failed: log entry of a failure. Raises RuntimeError when closed."""
        if not self._background.is_open:
            raise RuntimeError(f"deletion of {guid} asked for while closed")
        self._background.start(self._delete(guid, failed, trace_id, force), f"delete {guid}")

    async def _delete(self, guid: str, failed: str, trace_id: str, force: bool) -> None:
        way = self._executor.force_destroy if force else self._executor.delete
        try:
            await way(guid, trace_id=trace_id)
        except ContainerNotFound:
            pass
        except ExecutorError as error:
            logger.error(failed, extra={"data": {"guid": guid, "error": str(error)}})
            return
        except Exception as error:
            # The failure concerns one container; the next pass or the next start deletes it again.
            logger.exception(failed, extra={"data": {"guid": guid, "error": str(error)}})
            return
        self._removals.notify()
