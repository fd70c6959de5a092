"""The executor as the rep sees it.

``executor.executor.Executor`` is the implementation; tests of the rep script their own. Data goes down
through these calls and comes back as events.
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
    """Containers of one cell. All errors are :class:`executor.errors.ExecutorError`."""

    def allocate(
        self, requests: Sequence[AllocationRequest], *, trace_id: str = ""
    ) -> list[AllocationFailure]:
        """Reserve, synchronously and at once visible; answers the refused ones with the reason."""
        ...

    async def run(self, request: RunRequest, *, trace_id: str = "") -> None:
        """Turn a reservation into a container: initializing when this returns, the rest follows.

        Raises ContainerNotFound, InvalidStateTransition.
        """
        ...

    def container(self, guid: str) -> Container:
        """The container as it is now. Raises ContainerNotFound."""
        ...

    def containers(self) -> list[Container]: ...

    async def update(self, request: UpdateRequest, *, trace_id: str = "") -> None: ...

    async def stop(self, guid: str, *, trace_id: str = "") -> None:
        """Ask the container's processes to end; does not wait for them. Raises ContainerNotFound."""
        ...

    async def delete(self, guid: str, *, trace_id: str = "") -> None:
        """Stop, wait for the end, destroy, give resources back. Raises ContainerNotFound, EngineError."""
        ...

    async def force_destroy(self, guid: str, *, trace_id: str = "") -> None:
        """For a container that will not go by :meth:`delete`: the engine kills it without any grace, and its
        resources are free again a few seconds later even when the engine does not answer.

        A deletion under way ends; what is left of the container is logged and destroyed later as a stray.
        Raises ContainerNotFound.
        """
        ...

    async def read_file(self, guid: str, path: str, limit: int) -> bytes:
        """The content of a file of the container, read as root; a directory has none, a relative path starts
        at root's home. limit: bytes. Raises ContainerNotFound, NoSuchFile, FileTooLarge."""
        ...

    def subscribe(self) -> AbstractContextManager[AsyncIterator[ContainerEvent]]:
        """Events from now on; nothing is dropped. The iterator ends when the executor stops."""
        ...

    def total_resources(self) -> Resources: ...

    def remaining_resources(self) -> Resources: ...

    def volume_drivers(self) -> list[str]: ...

    @property
    def healthy(self) -> bool:
        """Whether the engine's last health check passed."""
        ...

    def metrics(self) -> Mapping[str, ContainerMetrics]:
        """The readings of the last tick, by guid."""
        ...

    def log(self, guid: str, text: str, stream: Stream = Stream.OUT) -> None:
        """A line of the cell's own in the app's log; not rate limited."""
        ...
