"""CellPresence: what a cell says about itself when it registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from bbs.models.meta import Int32, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPresence:
    """A cell that is there.

    rep_address: plain HTTP address from before TLS. rep_url: where its rep answers. placement_tags: only
    work with all of these goes there; optional_placement_tags: work with these may.
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
    """What a cell offers in total.

    memory_mb, disk_mb: MiB. containers: how many at a time.
    """

    memory_mb: Int32 = 0
    disk_mb: Int32 = 0
    containers: Int32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A kind of root filesystem a cell can start from.

    name: scheme of the rootfs URL. properties: accepted values behind it; none means any.
    """

    name: str = ""
    properties: Annotated[tuple[str, ...], Json("properties", omit=True)] = ()
