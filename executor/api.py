"""The executor's interface for the rep.

``executor.executor.Executor`` implements it; the rep's tests use scripted ones. The rep sends commands
through these calls and receives events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from executor.logs.api import Stream
from executor.model import (
    AllocationFailure,
    AllocationRequest,
    Container,
    ContainerEvent,
    ContainerMetrics,
    Resources,
    RunRequest,
    UpdateRequest,
)


class ExecutorAPI(Protocol):
    """The containers of one cell. All errors are :class:`executor.errors.ExecutorError`."""

    def allocate(
        self, requests: Sequence[AllocationRequest], *, trace_id: str = ""
    ) -> list[AllocationFailure]:
        """Reserve resources; reservations are visible on return.

        Returns the refused requests with their reasons.
        """
        ...

    async def run(self, request: RunRequest, *, trace_id: str = "") -> None:
        """Start the container of a reservation. It is initializing on return; the rest happens in the
        background.

        Raises ContainerNotFound, InvalidStateTransition.
        """
        ...

    def container(self, guid: str) -> Container:
        """The current state of a container. Raises ContainerNotFound."""
        ...

    def containers(self) -> list[Container]: ...

    async def update(self, request: UpdateRequest, *, trace_id: str = "") -> None: ...

    async def stop(self, guid: str, *, trace_id: str = "") -> None:
        """Request the end of the container's processes and return at once. Raises ContainerNotFound."""
        ...

    async def delete(self, guid: str, *, trace_id: str = "") -> None:
        """Stop, wait for the end, destroy, release resources. Raises ContainerNotFound, EngineError."""
        ...

    async def force_destroy(self, guid: str, *, trace_id: str = "") -> None:
        """Kill and remove a container that :meth:`delete` cannot remove.

        The engine kills it without grace period. Its resources are free a few seconds later even if the
        engine does not respond. A deletion in progress is aborted; remains of the container are logged and
        destroyed later as a stray. Raises ContainerNotFound.
        """
        ...

    async def read_file(self, guid: str, path: str, limit: int) -> bytes:
        """The content of a regular file in the container, read as root.

        The content of a directory is empty. A relative path starts at root's home directory. limit: bytes.
        Raises ContainerNotFound, NoSuchFile, FileTooLarge.
        """
        ...

    def orphans(self) -> Mapping[str, float]:
        """Containers of this cell without a record, by guid; the values are seconds until their removal."""
        ...

    async def remove_orphan(self, guid: str) -> None:
        """Destroy an orphan now. Raises ContainerNotFound, EngineError, NetworkError."""
        ...

    def subscribe(self) -> AbstractContextManager[AsyncIterator[ContainerEvent]]:
        """Subscribe to events from now on, without loss. The iterator ends when the executor stops."""
        ...

    def total_resources(self) -> Resources: ...

    def remaining_resources(self) -> Resources: ...

    def volume_drivers(self) -> list[str]: ...

    @property
    def healthy(self) -> bool:
        """Whether the last health check of the engine passed and the journal can be written."""
        ...

    def metrics(self) -> Mapping[str, ContainerMetrics]:
        """The latest readings, by guid."""
        ...

    def log(self, guid: str, text: str, stream: Stream = Stream.OUT) -> None:
        """Write a line of the cell to the app's log, without rate limit."""
        ...
