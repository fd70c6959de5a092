"""Who keeps containers to their disk limit: the engine's storage where it can, else somebody has to watch.

An image that came with the work counts as the work's own; that of a preloaded stack does not, for the owner
did not choose it. Drivers differ in what they count. Copy-on-write file systems count all that a container
refers to, so the size of a stack is added to the limit there; others, and the watcher, count what is written,
so the size of an image of its own is taken off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from docker import APIClient
from docker.errors import ImageNotFound

from bbs.models.sizes import format_size
from executor.engine.api import ContainerSpec
from executor.engine.client import EngineClient
from executor.engine.faults import ImageMissing, engine_text
from executor.engine.images import Pulled, parse_root_fs
from executor.errors import ImageError
from executor.watch.cgroup import Mount, own_mounts

log = logging.getLogger(__name__)


class Quota(Enum):
    """What the storage of an engine can keep a container to."""

    NONE = "none"
    WRITTEN = "what the container writes"
    TOTAL = "what the container writes, and its image"


def quota_of(info: Mapping[str, Any], mounted: Sequence[Mount] = ()) -> Quota:
    """By the engine's description of itself, and what is mounted where its storage is.

    A file system that is not to be seen from here may turn out to have none: trying shows. zfs keeps what a
    container takes besides the snapshot that it began as, so its image does not count there. Pure.
    """
    status = dict(info.get("DriverStatus") or [])
    match info["Driver"], status.get("Backing Filesystem"):
        case "btrfs", _:
            return Quota.TOTAL
        case "zfs", _:
            return Quota.WRITTEN
        case "overlay2", "xfs":
            storage = _mount_of(info.get("DockerRootDir", ""), mounted)
            if storage is None or storage.kind != "xfs" or _project_quotas(storage):
                return Quota.WRITTEN
    return Quota.NONE


def _mount_of(path: str, mounted: Sequence[Mount]) -> Mount | None:
    """The mount that a path is on: the innermost one, of those at one place the last."""
    over = [
        mount for mount in mounted if path == mount.point or path.startswith(f"{mount.point.rstrip('/')}/")
    ]
    return max(reversed(over), key=lambda mount: len(mount.point), default=None)


def _project_quotas(mount: Mount) -> bool:
    """Whether xfs accounts and enforces what directories take; a kernel may be built without."""
    return not {"prjquota", "pquota"}.isdisjoint(mount.options.split(","))


@dataclass(frozen=True, slots=True)
class Room:
    """Space for a container, in bytes.

    quota: what the storage is told to keep it to, 0 for nothing. own_image: size of an image that counts as
    the container's own.
    """

    quota: int = 0
    own_image: int = 0


def room_for(quota: Quota, disk_bytes: int, image_bytes: int, *, own: bool) -> Room:
    """Of a container with that limit, 0 for none, and an image that is its ``own`` or a stack's.

    Raises ValueError when an image of its own leaves nothing of the limit. Pure.
    """
    own_image = image_bytes if own else 0
    if not disk_bytes:
        return Room(0, own_image)
    if own_image >= disk_bytes:
        raise ValueError(
            f"its {format_size(own_image)} do not fit in the disk limit of {format_size(disk_bytes)}"
        )
    match quota:
        case Quota.NONE:
            return Room(0, own_image)
        case Quota.WRITTEN:
            return Room(disk_bytes - own_image, own_image)
        case Quota.TOTAL:
            return Room(disk_bytes if own else disk_bytes + image_bytes, own_image)


class DiskQuotas:
    """Decides for one engine; asks it once."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._quota: Quota | None = None
        self._stack_sizes: dict[str, int] = {}

    async def announce(self) -> None:
        """Say, once, who keeps the limits. Raises EngineError."""
        await self._kind()

    async def room(self, spec: ContainerSpec, image: str) -> Room:
        """Raises ImageMissing, ImageError for an image that leaves no room, and other EngineErrors."""
        quota = await self._kind()
        own = isinstance(parse_root_fs(spec.root_fs), Pulled)
        size = await self._size_of(image) if own else 0
        if quota is Quota.TOTAL and spec.disk_bytes and not own:
            if image not in self._stack_sizes:
                self._stack_sizes[image] = await self._size_of(image)
            size = self._stack_sizes[image]
        try:
            return room_for(quota, spec.disk_bytes, size, own=own)
        except ValueError as error:
            raise ImageError(f"image {image}: {error}") from error

    def refused(self, reason: str) -> None:
        """It turned out that the storage cannot, because of a mount option."""
        self._quota = Quota.NONE
        _say(self._quota, reason)

    async def _kind(self) -> Quota:
        if self._quota is None:
            info = await self._client.call("engine info", lambda api: api.info())
            self._quota = quota_of(info, await asyncio.to_thread(own_mounts))
            _say(self._quota, info["Driver"])
        return self._quota

    async def _size_of(self, image: str) -> int:
        def look(api: APIClient) -> int:
            try:
                return int(api.inspect_image(image)["Size"])
            except ImageNotFound as error:
                raise ImageMissing(engine_text(error)) from error

        return await self._client.call(f"inspect image {image}", look)


def _say(quota: Quota, reason: str) -> None:
    keeper = "watcher of the writable layer" if quota is Quota.NONE else "quota of the engine's storage"
    log.info("disk-limits", extra={"data": {"kept-by": keeper, "counts": quota.value, "storage": reason}})
