"""Observer of all containers of a cell: each move, each long phase of a creation, each removal."""

from __future__ import annotations

from typing import Protocol

from executor.model import Container


class Observer(Protocol):
    """Must not block and must not raise: it is called in the event loop, at every change."""

    def moved(self, container: Container) -> None:
        """A container is new or has changed."""
        ...

    def noted(self, guid: str, text: str) -> None:
        """What the creation of a container waits for, such as the pull of its image."""
        ...

    def removed(self, guid: str) -> None:
        """A container is destroyed and its resources are free."""
        ...


class NoObserver:
    """Ignores everything."""

    def moved(self, container: Container) -> None:
        """Nothing follows."""

    def noted(self, guid: str, text: str) -> None:
        """Nothing follows."""

    def removed(self, guid: str) -> None:
        """Nothing follows."""
