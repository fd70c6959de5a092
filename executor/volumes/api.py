"""Volumes as the rest of the executor sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from executor.engine.api import BindMount
from executor.errors import ExecutorError
from executor.model import VolumeMount


class VolumeError(ExecutorError):
    """A volume cannot be had; the text is for the operator.

    safe: what may be told to the app's owner, empty when the driver marked nothing as such.
    """

    text = "volume error"

    def __init__(self, text: str, *, safe: str = "") -> None:
        super().__init__(text)
        self.safe = safe


class Driver(Protocol):
    """Provides the volumes of one kind."""

    @property
    def unique_volume_ids(self) -> bool:
        """Whether two containers with the same volume id need two names."""
        ...

    async def mount(self, name: str, config: Mapping[str, object]) -> str:
        """Make the volume and answer where on the host it is. Raises VolumeError."""
        ...

    async def unmount(self, name: str) -> None:
        """Give one mount back. Raises VolumeError."""
        ...


class Volumes(Protocol):
    """The volumes of a cell's containers."""

    @property
    def drivers(self) -> list[str]:
        """Names of the drivers known now, sorted."""
        ...

    async def start(self) -> None:
        """Look for drivers and give back what an earlier life mounted."""
        ...

    async def run(self) -> None:
        """Look for drivers again and again, until cancelled."""
        ...

    async def mount(self, guid: str, wanted: Sequence[VolumeMount]) -> tuple[BindMount, ...]:
        """Mount all volumes of a container, in order. Raises VolumeError; :meth:`unmount` undoes a part."""
        ...

    async def unmount(self, guid: str) -> None:
        """Give back a container's volumes; failures are logged. Unknown guids are fine."""
        ...

    async def close(self) -> None:
        """Close the connections to the drivers."""
        ...
