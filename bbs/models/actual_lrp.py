"""ActualLRP: one instance of a DesiredLRP, as the BBS records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated

from bbs.models.common import ModificationTag
from bbs.models.meta import FLATTEN, Int32, Int64, Json, UInt32


class Presence(IntEnum):
    """Kind of a row; an index has up to three rows."""

    ORDINARY = 0
    EVACUATING = 1
    SUSPECT = 2


class PreferredAddress(IntEnum):
    """The address of an instance that routers should use."""

    UNKNOWN = 0
    INSTANCE = 1
    HOST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPKey:
    """Process and index of an instance.

    index: from 0.
    """

    process_guid: str = ""
    index: Int32 = 0
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInstanceKey:
    """Instance guid and cell of an index. Both are empty if it is on no cell."""

    instance_guid: str = ""
    cell_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPNetInfo:
    """Network addresses of an instance.

    address: of the host.
    instance_address: of the container.
    """

    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    instance_address: Annotated[str, Json("instance_address", omit=True)] = ""
    preferred_address: PreferredAddress = PreferredAddress(0)
    instance_ipv6_address: Annotated[str, Json("instance_ipv6_address", omit=True)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A port of the container and the host port mapped to it.

    host_port: 0 if the plain port is not exposed.
    container_tls_proxy_port, host_tls_proxy_port: 0 without a TLS proxy.
    """

    container_port: UInt32 = 0
    host_port: UInt32 = 0
    container_tls_proxy_port: UInt32 = 0
    host_tls_proxy_port: UInt32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPInternalRoute:
    """An internal host name of the instance for other apps."""

    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRP:
    """One row of an index of a DesiredLRP.

    state: UNCLAIMED, CLAIMED, RUNNING or CRASHED.
    since: start of that state, ns since the epoch.
    metric_tags: values for this instance.
    routable: None, from old cells, means true.
    """

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
class RunningData:
    """A cell's report about a running instance."""

    net_info: ActualLRPNetInfo
    internal_routes: tuple[ActualLRPInternalRoute, ...] = ()
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    routable: bool = True
    availability_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualLRPGroup:
    """The pair of rows of an index, for old clients."""

    instance: Annotated[ActualLRP | None, Json("instance", omit=True)] = None
    evacuating: Annotated[ActualLRP | None, Json("evacuating", omit=True)] = None
