"""Container store: the containers of the cell and the remaining resources.

It is the single source of truth for containers. Every change goes through the state machine, is handed to the
journal and publishes its event in the same call, so subscribers never see a state without its event or the
reverse. A container holds
its resources from its reservation until its destruction succeeded and it is removed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from bbs.models.guid import is_guid
from executor.containers import machine
from executor.containers.machine import Move
from executor.containers.observing import NoObserver, Observer
from executor.containers.record import ContainerRecord, Note, Records, unchanged
from executor.errors import (
    ContainerGuidInvalid,
    ContainerGuidNotAvailable,
    ContainerNotFound,
    GuidNotSpecified,
    InsufficientResourcesAvailable,
    InvalidStateTransition,
    LimitsInvalid,
)
from executor.model import AllocationRequest, Container, ContainerEvent, EventKind, Resources

MOVES_KEPT = 8
"""Number of past moves that the error of a refused move lists."""

Publish = Callable[[ContainerEvent], None]


def move_name(move: Move) -> str:
    """The name of a move in words, like ``become ready``."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(move).__name__).lower()


class ContainerStore:
    """Containers by guid, in the order of their reservation.

    total: resources of the cell; zero until set. now_ns: ns since the epoch. records: the journal's side of
    each change. observer: sees each change after it.
    """

    def __init__(
        self,
        publish: Publish,
        now_ns: Callable[[], int],
        records: Records,
        observer: Observer | None = None,
    ) -> None:
        self.total = Resources(memory_mb=0, disk_mb=0, containers=0)
        self._publish = publish
        self._now_ns = now_ns
        self._records = records
        self._observer = NoObserver() if observer is None else observer
        self._containers: dict[str, Container] = {}
        self._moves: dict[str, deque[str]] = {}

    def remaining(self) -> Resources:
        """The unreserved resources."""
        held = self._containers.values()
        return Resources(
            memory_mb=self.total.memory_mb - sum(c.memory_mb for c in held),
            disk_mb=self.total.disk_mb - sum(c.disk_mb for c in held),
            containers=self.total.containers - len(held),
        )

    def reserve(self, request: AllocationRequest, *, trace_id: str = "") -> Container:
        """Reserve resources for a new container.

        Raises GuidNotSpecified, ContainerGuidInvalid, LimitsInvalid, ContainerGuidNotAvailable,
        InsufficientResourcesAvailable.
        """
        if not request.guid:
            raise GuidNotSpecified
        if not is_guid(request.guid):
            raise ContainerGuidInvalid
        if min(request.memory_mb, request.disk_mb, request.max_pids) < 0:
            raise LimitsInvalid
        if request.guid in self._containers:
            raise ContainerGuidNotAvailable
        left = self.remaining()
        if request.memory_mb > left.memory_mb or request.disk_mb > left.disk_mb or left.containers < 1:
            raise InsufficientResourcesAvailable
        self._moves[request.guid] = deque(maxlen=MOVES_KEPT)
        return self._settle(machine.reserve(request, self._now_ns()), trace_id)

    def restore(self, record: ContainerRecord) -> None:
        """Take over a container of the previous agent process, without an event."""
        container = record.container
        self._moves[container.guid] = deque(("restore",), maxlen=MOVES_KEPT)
        self._containers[container.guid] = container
        self._records.restored(record)
        self._observer.moved(container)

    def move(self, guid: str, move: Move, *, trace_id: str = "", note: Note = unchanged) -> Container:
        """Apply a move to a container. note: adds to its record what else is new.

        Raises ContainerNotFound, InvalidStateTransition.
        """
        container, name = self.get(guid), move_name(move)
        try:
            outcome = machine.apply(container, move)
        except InvalidStateTransition as error:
            moves = ", ".join(self._moves[guid]) or "none"
            raise InvalidStateTransition(
                f"{error}: {guid} is {container.state.value}, so it cannot {name}; its last moves: {moves}"
            ) from error
        self._moves[guid].append(name)
        return self._settle(outcome, trace_id, note)

    def get(self, guid: str) -> Container:
        """The container with a guid. Raises ContainerNotFound."""
        try:
            return self._containers[guid]
        except KeyError:
            raise ContainerNotFound from None

    def has(self, guid: str) -> bool:
        return guid in self._containers

    def list(self) -> list[Container]:
        return [*self._containers.values()]

    def remove(self, guid: str) -> None:
        """Remove a destroyed container and free its resources. Raises ContainerNotFound."""
        self.get(guid)
        del self._containers[guid], self._moves[guid]
        self._records.removed(guid)
        self._observer.removed(guid)

    def _settle(
        self, outcome: tuple[Container, EventKind | None], trace_id: str, note: Note = unchanged
    ) -> Container:
        container, kind = outcome
        self._containers[container.guid] = container
        self._records.moved(container, note)
        self._observer.moved(container)
        if kind is not None:
            self._publish(ContainerEvent(kind=kind, container=container, trace_id=trace_id))
        return container
