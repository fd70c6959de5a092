"""Forced destruction of a container that a regular deletion cannot destroy.

Each step runs even if the previous one failed, and logs its failure. If the engine cannot destroy the
container, its address and ports stay reserved because it may still use them.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine

from executor.containers.creation import Creator
from executor.engine.api import Engine
from executor.errors import ExecutorError
from executor.network.api import Network

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""Time for the engine to kill and remove a container; after it the slot is released anyway."""

REASON = "container was destroyed by force"
"""Failure reason of a container that was not completed before."""


async def kill(guid: str, engine: Engine, network: Network, creator: Creator) -> None:
    """Kill the container and release its resources on the host. Raises nothing; errors are logged."""
    if await _tried(guid, "destroy", engine.destroy(guid)):
        await _tried(guid, "detach", network.detach(guid))
    await _tried(guid, "release", creator.release(guid))
    await _tried(guid, "remove files", creator.remove_files(guid))


async def _tried(guid: str, what: str, work: Coroutine[object, object, None]) -> bool:
    data = {"guid": guid, "step": what}
    try:
        await work
    except ExecutorError as error:
        log.error("forced-destruction-failed", extra={"data": {**data, "error": str(error)}})
        return False
    except Exception:
        log.exception("forced-destruction-failed", extra={"data": data})
        return False
    return True
