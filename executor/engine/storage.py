"""Who keeps containers to their disk limit: the engine's storage where it can, else somebody has to watch.

Drivers differ in what they count. Copy-on-write file systems count all that a container refers to, so the
image of a preloaded stack is added to its limit: the owner did not choose it. An image that came with the
work counts as the work's own there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from typing import Any

from executor.engine.api import ContainerSpec
from executor.engine.client import EngineClient
from executor.engine.images import Pulled, parse_root_fs

log = logging.getLogger(__name__)


class Quota(Enum):
    """What the storage of an engine can keep a container to."""

    NONE = "none"
    WRITTEN = "what the container writes"
    TOTAL = "what the container writes, and its image"


def quota_of(info: Mapping[str, Any]) -> Quota:
    """By the engine's description of itself, without mount options: trying may show that it cannot."""
    status = dict(info.get("DriverStatus") or [])
    if info["Driver"] in ("btrfs", "zfs"):
        return Quota.TOTAL
    if info["Driver"] == "overlay2" and status.get("Backing Filesystem") == "xfs":
        return Quota.WRITTEN
    return Quota.NONE


class DiskQuotas:
    """Decides for one engine; asks it once."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._quota: Quota | None = None
        self._image_sizes: dict[str, int] = {}

    async def announce(self) -> None:
        """Say, once, who keeps the limits. Raises EngineError."""
        if self._quota is None:
            info = await self._client.call("engine info", lambda api: api.info())
            self._quota = quota_of(info)
            _say(self._quota, info["Driver"])

    async def size(self, spec: ContainerSpec, image: str) -> int:
        """Bytes the storage is told to keep a container to; 0 when it is not. Raises EngineError."""
        await self.announce()
        if not spec.disk_bytes or self._quota in (Quota.NONE, None):
            return 0
        if self._quota is Quota.WRITTEN or isinstance(parse_root_fs(spec.root_fs), Pulled):
            return spec.disk_bytes
        return spec.disk_bytes + await self._image_size(image)

    def refused(self, reason: str) -> None:
        """It turned out that the storage cannot, because of a mount option."""
        self._quota = Quota.NONE
        _say(self._quota, reason)

    async def _image_size(self, image: str) -> int:
        if image not in self._image_sizes:
            found = await self._client.call(f"inspect image {image}", lambda api: api.inspect_image(image))
            self._image_sizes[image] = int(found["Size"])
        return self._image_sizes[image]


def _say(quota: Quota, reason: str) -> None:
    keeper = "watcher of the writable layer" if quota is Quota.NONE else "quota of the engine's storage"
    log.info("disk-limits", extra={"data": {"kept-by": keeper, "counts": quota.value, "storage": reason}})
