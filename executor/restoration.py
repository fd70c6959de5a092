"""Restoration: the containers of the previous agent process at the start of the next one.

The store is restored first, from the journal alone. Then the engine reports which containers still run, the
table of :mod:`executor.containers.adoption` decides about each, and the network starts with those that
continue. Containers of ours that the journal does not name are *orphans*.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, MutableMapping, Sequence, Set
from dataclasses import dataclass, field

import tenacity

from executor.containers.actor import ContainerActor
from executor.containers.adoption import Decision, View, decide, view
from executor.containers.facilities import Facilities
from executor.containers.machine import MISSING
from executor.containers.record import ContainerRecord, from_row
from executor.containment import INTERNAL_ERROR
from executor.engine.api import EngineContainer
from executor.errors import EngineError
from executor.journal.api import DeleteContainer, Journal
from executor.model import Container
from executor.network.api import Lease
from executor.telemetry.families import ADOPTED

log = logging.getLogger(__name__)

LOOKUPS_MOST = 32
"""Concurrent queries of the engine about single containers."""

FIND_ATTEMPTS, FIND_PAUSE_S = 5, 1.0
"""Attempts of a query, and the pause between them. One container must not keep the cell from its start."""


@dataclass(slots=True, kw_only=True)
class Restoration:
    """Restores the containers of one executor.

    actors: of the containers, by guid. unreadable: guids of containers whose recorded steps cannot be read.
    """

    journal: Journal
    shared: Facilities
    actors: MutableMapping[str, ContainerActor]
    unreadable: Set[str]
    present: Set[str] = field(default=frozenset(), init=False)
    """Guids of the containers that the engine had at the start."""
    _records: dict[str, ContainerRecord] = field(default_factory=dict, init=False)
    _decisions: dict[str, Decision] = field(default_factory=dict, init=False)
    _found: dict[str, EngineContainer] = field(default_factory=dict, init=False)

    def restore_store(self) -> None:
        """Restore all containers from the journal. A row that this version cannot read is deleted."""
        for row in self.journal.contents.containers:
            record = from_row(row)
            if record is None:
                self.journal.post(DeleteContainer(row.guid))
                continue
            self._records[row.guid] = record
            self.shared.store.restore(record)
            self.actors[row.guid] = ContainerActor(row.guid, self.shared)

    async def find_containers(self) -> frozenset[str]:
        """Query the engine and decide about each container; the guids of orphans. Raises EngineError."""
        self.present = present = await self.shared.engine.list_guids()
        slots = asyncio.Semaphore(LOOKUPS_MOST)

        async def find(guid: str) -> EngineContainer | None:
            async with slots:
                return await self._find(guid)

        wanted = sorted(present & self._records.keys())
        answers = dict(zip(wanted, await asyncio.gather(*map(find, wanted)), strict=True))
        for guid, record in self._records.items():
            self._decide(guid, record, answers.get(guid))
        if self._records:
            decisions = {guid: decision.value for guid, decision in self._decisions.items()}
            log.info("containers-of-an-earlier-life", extra={"data": {"decisions": decisions}})
        return frozenset(present - self._records.keys())

    async def _find(self, guid: str) -> EngineContainer | None:
        """The running container; None also if the engine repeatedly fails to report this one."""
        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(EngineError),
                wait=tenacity.wait_fixed(FIND_PAUSE_S),
                stop=tenacity.stop_after_attempt(FIND_ATTEMPTS),
                reraise=True,
            ):
                with attempt:
                    return await self.shared.engine.find(guid)
        except EngineError as error:
            log.error("container-not-found-again", extra={"data": {"guid": guid, "error": str(error)}})
        return None

    def _decide(self, guid: str, record: ContainerRecord, found: EngineContainer | None) -> None:
        present = view(record, found)
        same = found if present is View.SAME else None
        self._decisions[guid] = decide(record.container.state, present, same_boot=self.journal.same_boot)
        self.actors[guid].restore(record, same)
        if same is not None:
            self._found[guid] = same
            self.shared.creator.dependencies.adopt(guid, same.mounted)

    def leases(self) -> list[Lease]:
        """What the containers hold in the network."""
        return [
            lease_of(record.container, self._found.get(guid))
            for guid, record in self._records.items()
            if record.container.internal_ip
        ]

    def kept(self) -> Sequence[Container]:
        """The containers whose files, credentials and volumes stay until they are deleted."""
        return [record.container for record in self._records.values()]

    async def resume(self, refused: Mapping[str, str]) -> None:
        """Carry out the decisions. refused: why the network cannot continue a container, by guid."""
        watched = [one for guid in self._found if (one := self.actors[guid].watched()) is not None]
        try:
            await self.shared.limits.adopt(watched)
        except OSError as error:  # a limit that was reached before is then reported again
            log.warning("limits-not-adopted", extra={"data": {"error": str(error)}})
        for guid, decision in self._decisions.items():
            self.shared.meter.instruments.count(ADOPTED, decision.value)
            with self.shared.containment.of(guid, "resume"):
                self._carry_out(guid, decision, refused.get(guid, ""))

    def _carry_out(self, guid: str, decision: Decision, refusal: str) -> None:
        actor = self.actors[guid]
        match decision:
            case Decision.ADOPT if refusal:
                actor.finish(refusal, retryable=True)
            case Decision.ADOPT if guid in self.unreadable:
                actor.finish(INTERNAL_ERROR, retryable=True)
            case Decision.ADOPT:
                actor.adopt(self._found[guid], self._records[guid].started_at_ns / 1e9)
            case Decision.FINISH:
                actor.finish(MISSING)
            case Decision.RECREATE:
                actor.recreate()
            case Decision.RESTORE:
                return


def lease_of(container: Container, found: EngineContainer | None) -> Lease:
    """The address, ports and rules of a created container. found: None if the engine no longer has it."""
    return Lease(
        guid=container.guid,
        address=container.internal_ip,
        container=found,
        ports={each.host_port: each.container_port for each in container.ports if each.host_port},
        egress=container.run_info.egress_rules,
    )
