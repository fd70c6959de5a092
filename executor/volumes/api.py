"""Volume interfaces for the rest of the executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from executor.engine.api import BindMount
from executor.errors import ExecutorError
from executor.model import VolumeMount


class VolumeError(ExecutorError):
    """A volume is unavailable; the text is for the operator.

    safe: text for the app's owner; empty unless the driver marked one as safe.
    """

    text = "volume error"

    def __init__(self, text: str, *, safe: str = "") -> None:
        super().__init__(text)
        self.safe = safe


class Driver(Protocol):
    """Provides the volumes of one kind."""

    @property
    def unique_volume_ids(self) -> bool:
        """Whether each container needs its own volume name for the same volume id."""
        ...

    async def mount(self, name: str, config: Mapping[str, object]) -> str:
        """Create and mount the volume; returns its path on the host. Raises VolumeError."""
        ...

    async def unmount(self, name: str) -> None:
        """Release one mount. Raises VolumeError."""
        ...


class Volumes(Protocol):
    """The volumes of a cell's containers."""

    @property
    def drivers(self) -> list[str]:
        """Names of the current drivers, sorted."""
        ...

    async def start(self) -> None:
        """Discover drivers and unmount the volumes of the previous process."""
        ...

    async def run(self) -> None:
        """Discover drivers periodically, until cancelled."""
        ...

    async def mount(self, guid: str, wanted: Sequence[VolumeMount]) -> tuple[BindMount, ...]:
        """Mount all volumes of a container, in order.

        Raises VolumeError; :meth:`unmount` undoes a partial mount.
        """
        ...

    async def unmount(self, guid: str) -> None:
        """Unmount the volumes of a container; failures are logged. Unknown guids are ignored."""
        ...

    async def close(self) -> None:
        """Close the connections to the drivers."""
        ...
