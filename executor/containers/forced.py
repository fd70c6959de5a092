"""The last resort for a container that will not go: what is done to it when nobody waits for it any more.

Each step is tried whatever became of the one before, and says what it leaves behind. Only the address and
the ports of a container the engine could not destroy are kept from others: it may still use them.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine

from executor.containers.creation import Creator
from executor.engine.api import Engine, Network
from executor.errors import ExecutorError

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long the engine may take to kill and remove a container before its slot is given away all the same."""

REASON = "container was destroyed by force"
"""Failure reason of a container whose end had not been told yet."""


async def kill(guid: str, engine: Engine, network: Network, creator: Creator) -> None:
    """Kill by the engine, at once, and give back what the container held on the host. Never fails."""
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
