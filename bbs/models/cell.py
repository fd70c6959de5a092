"""CellPresence: the registration of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from bbs.models.meta import Int32, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPresence:
    """A registered cell.

    rep_address: plain HTTP address from before TLS.
    rep_url: URL of its rep.
    placement_tags: the cell accepts only work with all of these tags.
    optional_placement_tags: work may have these tags.
    """

    cell_id: str = ""
    rep_address: str = ""
    zone: str = ""
    capacity: Annotated[CellCapacity | None, Json("capacity", omit=True)] = None
    rootfs_providers: Annotated[tuple[Provider, ...], Json("rootfs_provider_list", omit=True)] = ()
    placement_tags: Annotated[tuple[str, ...], Json("placement_tags", omit=True)] = ()
    optional_placement_tags: Annotated[tuple[str, ...], Json("optional_placement_tags", omit=True)] = ()
    rep_url: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCapacity:
    """Total capacity of a cell.

    memory_mb, disk_mb: MiB.
    containers: maximum number at a time.
    """

    memory_mb: Int32 = 0
    disk_mb: Int32 = 0
    containers: Int32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A kind of root filesystem that a cell supports.

    name: scheme of the rootfs URL.
    properties: accepted values after the scheme; empty accepts any.
    """

    name: str = ""
    properties: Annotated[tuple[str, ...], Json("properties", omit=True)] = ()
