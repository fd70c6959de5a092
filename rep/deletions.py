"""Deletions in the background: nobody waits for a container that the engine does not let go.

A cancelled task is answered before its container is gone. An evacuation or a shutdown that runs out of time
goes on without the containers that are left.
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
    """Deletes containers while it is open."""

    def __init__(self, executor: ExecutorAPI, removals: Removals) -> None:
        self._executor = executor
        self._removals = removals
        self._background = Background()

    def open(self) -> AbstractAsyncContextManager[None]:
        """While open, deletions run; leaving cancels those under way, and waits for the engine to answer."""
        return self._background.open()

    def start(self, guid: str, failed: str, *, trace_id: str = "", force: bool = False) -> None:
        """Begin to delete a container. failed: log entry of a failure. Raises RuntimeError when closed."""
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
            logger.error(failed, extra={"data": {"container-guid": guid, "error": str(error)}})
            return
        except Exception as error:
            # The trouble of one container; it is deleted again by the next pass or by the next start.
            logger.exception(failed, extra={"data": {"container-guid": guid, "error": str(error)}})
            return
        self._removals.notify()
