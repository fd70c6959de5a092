"""Disk limits: enforced by the engine's storage where possible, else by the watcher.

An app's own image counts towards its limit; a preloaded stack does not, because the owner did not choose
it. Drivers differ in what they count. Copy-on-write file systems count everything a container refers to,
so the stack's size is added to the limit. Others, and the watcher, count written data, so the size of an
own image is subtracted.
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

from common.gotext import format_size
from executor.cgroup import Mount, own_mounts
from executor.engine.api import ContainerSpec
from executor.engine.client import EngineClient
from executor.engine.faults import ImageMissing, engine_text
from executor.engine.images import Pulled, parse_root_fs
from executor.errors import ImageError

log = logging.getLogger(__name__)


class Quota(Enum):
    """What the engine's storage counts towards a container's limit."""

    NONE = "none"
    WRITTEN = "what the container writes"
    TOTAL = "what the container writes, and its image"


def quota_of(info: Mapping[str, Any], mounted: Sequence[Mount] = ()) -> Quota:
    """Quota kind from the engine's info and the mounts at its storage.

    A file system that is not visible here may have no quotas; only an attempt shows it. zfs counts what a
    container adds to its snapshot, so the image does not count there. Pure.
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
    """The mount of a path: the innermost one, and the last of several at one place."""
    over = [
        mount for mount in mounted if path == mount.point or path.startswith(f"{mount.point.rstrip('/')}/")
    ]
    return max(reversed(over), key=lambda mount: len(mount.point), default=None)


def _project_quotas(mount: Mount) -> bool:
    """Whether xfs accounts and enforces project quotas; a kernel may be built without."""
    return not {"prjquota", "pquota"}.isdisjoint(mount.options.split(","))


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Space for a container, in bytes.

    quota: limit for the storage, 0 for none. own_image: size of an image that counts as the container's
    own.
    """

    quota: int = 0
    own_image: int = 0


def space_for(quota: Quota, disk_bytes: int, image_bytes: int, *, own: bool) -> DiskSpace:
    """Space for a container with a disk limit (0 for none), and an image that is its ``own`` or a stack's.

    Raises ValueError if its own image uses up the limit. Pure.
    """
    own_image = image_bytes if own else 0
    if not disk_bytes:
        return DiskSpace(0, own_image)
    if own_image >= disk_bytes:
        raise ValueError(
            f"its {format_size(own_image)} do not fit in the disk limit of {format_size(disk_bytes)}"
        )
    match quota:
        case Quota.NONE:
            return DiskSpace(0, own_image)
        case Quota.WRITTEN:
            return DiskSpace(disk_bytes - own_image, own_image)
        case Quota.TOTAL:
            return DiskSpace(disk_bytes if own else disk_bytes + image_bytes, own_image)


class DiskQuotas:
    """Disk quotas of one engine; its storage is queried once."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._quota: Quota | None = None
        self._stack_sizes: dict[str, int] = {}

    async def announce(self) -> None:
        """Log once how the limits are enforced. Raises EngineError."""
        await self._kind()

    async def space(self, spec: ContainerSpec, image: str) -> DiskSpace:
        """Raises ImageMissing, ImageError for an image that uses up the limit, and other EngineErrors."""
        quota = await self._kind()
        own = isinstance(parse_root_fs(spec.root_fs), Pulled)
        size = await self._size_of(image) if own else 0
        if quota is Quota.TOTAL and spec.disk_bytes and not own:
            if image not in self._stack_sizes:
                self._stack_sizes[image] = await self._size_of(image)
            size = self._stack_sizes[image]
        try:
            return space_for(quota, spec.disk_bytes, size, own=own)
        except ValueError as error:
            raise ImageError(f"image {image}: {error}") from error

    def refused(self, reason: str) -> None:
        """Note that the storage has no quotas, because of a mount option."""
        self._quota = Quota.NONE
        _log_limits(self._quota, reason)

    async def _kind(self) -> Quota:
        if self._quota is None:
            info = await self._client.call("engine info", lambda api: api.info())
            self._quota = quota_of(info, await asyncio.to_thread(own_mounts))
            _log_limits(self._quota, info["Driver"])
        return self._quota

    async def _size_of(self, image: str) -> int:
        def look(api: APIClient) -> int:
            try:
                return int(api.inspect_image(image)["Size"])
            except ImageNotFound as error:
                raise ImageMissing(engine_text(error)) from error

        return await self._client.call(f"inspect image {image}", look)


def _log_limits(quota: Quota, reason: str) -> None:
    keeper = "watcher of the writable layer" if quota is Quota.NONE else "quota of the engine's storage"
    log.info("disk-limits", extra={"data": {"kept-by": keeper, "counts": quota.value, "storage": reason}})
