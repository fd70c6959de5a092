"""Volume interfaces for the rest of the executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from executor.errors import ExecutorError


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
