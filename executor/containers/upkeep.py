"""Reconciliation of store and engine: expired reservations, stray and missing containers."""

from __future__ import annotations

import asyncio
import logging

from executor.containers.machine import Expire, is_expired
from executor.containers.store import ContainerStore
from executor.containment import Containment
from executor.engine.api import Engine
from executor.errors import ExecutorError
from executor.model import Container, ContainerState
from executor.network.api import Network

log = logging.getLogger(__name__)

_IN_ENGINE = frozenset({ContainerState.CREATED, ContainerState.RUNNING})


def expire_reservation(store: ContainerStore, container: Container, now_ns: int, lifetime_s: float) -> None:
    """Complete a reservation that has expired."""
    if is_expired(container, now_ns, lifetime_s):
        store.move(container.guid, Expire())


async def find_differences(store: ContainerStore, engine: Engine) -> tuple[set[str], set[str]]:
    """The guids of strays (only in the engine) and of missing containers (absent from the engine).

    A missing container is in the store both before and after the query of the engine; a stray is absent from
    the store after it. A container that is being created or deleted is therefore neither. Raises EngineError.
    """
    expected = {container.guid for container in store.list() if container.state in _IN_ENGINE}
    present = await engine.list_guids()
    now = {container.guid: container for container in store.list()}
    missing = {guid for guid in expected - present if guid in now and now[guid].state in _IN_ENGINE}
    return present - now.keys(), missing


async def destroy_strays(
    guids: set[str], store: ContainerStore, engine: Engine, network: Network, containment: Containment
) -> None:
    """Destroy containers that are not in the store; a failed one is retried in the next pass.

    The guid of a stray may be reserved again meanwhile, so the store is checked before each call.
    """
    for guid in sorted(guids):
        with containment.of(guid, "destroy stray"):
            if store.has(guid):
                continue
            log.info("destroying-stray-container", extra={"data": {"guid": guid}})
            try:
                await engine.destroy(guid)
                if not store.has(guid):
                    await network.detach(guid)
            except ExecutorError as error:
                data = {"guid": guid, "error": str(error)}
                log.error("failed-to-destroy-stray-container", extra={"data": data})


async def wipe(engine: Engine, concurrency: asyncio.Semaphore) -> None:
    """Destroy every container of the previous process. Raises EngineError if one cannot be destroyed."""

    async def destroy(guid: str) -> None:
        async with concurrency:
            await engine.destroy(guid)

    guids = await engine.list_guids()
    if guids:
        log.info("destroying-containers-of-an-earlier-life", extra={"data": {"guids": sorted(guids)}})
    results = await asyncio.gather(*(destroy(guid) for guid in guids), return_exceptions=True)
    for error in results:
        if error is not None:
            raise error
