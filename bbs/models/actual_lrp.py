"""ActualLRP: one instance of a DesiredLRP, as the BBS records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated

from bbs.models.common import ModificationTag
from bbs.models.meta import FLATTEN, Int32, Int64, Json, UInt32


class Presence(IntEnum):
    """Which of the up to three rows of an index this is."""

    ORDINARY = 0
    EVACUATING = 1
    SUSPECT = 2


class PreferredAddress(IntEnum):
    """Which address of an instance routers should use."""

    UNKNOWN = 0
    INSTANCE = 1
    HOST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPKey:
    """ActualLRPKey."""

    process_guid: str = ""
    index: Int32 = 0
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInstanceKey:
    """ActualLRPInstanceKey."""

    instance_guid: str = ""
    cell_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPNetInfo:
    """ActualLRPNetInfo."""

    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    instance_address: Annotated[str, Json("instance_address", omit=True)] = ""
    preferred_address: PreferredAddress = PreferredAddress(0)
    instance_ipv6_address: Annotated[str, Json("instance_ipv6_address", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """PortMapping."""

    container_port: UInt32 = 0
    host_port: UInt32 = 0
    container_tls_proxy_port: UInt32 = 0
    host_tls_proxy_port: UInt32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInternalRoute:
    """ActualLRPInternalRoute."""

    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRP:
    """ActualLRP."""

    actual_lrp_key: Annotated[ActualLRPKey, FLATTEN] = ActualLRPKey()
    actual_lrp_instance_key: Annotated[ActualLRPInstanceKey, FLATTEN] = ActualLRPInstanceKey()
    actual_lrp_net_info: Annotated[ActualLRPNetInfo, FLATTEN] = ActualLRPNetInfo()
    crash_count: Int32 = 0
    crash_reason: Annotated[str, Json("crash_reason", omit=True)] = ""
    state: str = ""
    placement_error: Annotated[str, Json("placement_error", omit=True)] = ""
    since: Int64 = 0
    modification_tag: ModificationTag = ModificationTag()
    presence: Presence = Presence(0)
    actual_lrp_internal_routes: Annotated[
        tuple[ActualLRPInternalRoute, ...], Json("actual_lrp_internal_routes", omit=True)
    ] = ()
    metric_tags: Annotated[Mapping[str, str], Json("metric_tags", omit=True)] = field(default_factory=dict)
    routable: Annotated[bool | None, Json("OptionalRoutable.routable")] = None
    availability_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPGroup:
    """deprecated."""

    instance: Annotated[ActualLRP | None, Json("instance", omit=True)] = None
    evacuating: Annotated[ActualLRP | None, Json("evacuating", omit=True)] = None
