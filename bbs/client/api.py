"""Client interface of a BBS, for rep, auctioneer, REST facade and CLI.

``bbs.client.http`` and ``bbs.client.oneshot`` implement it over the wire; tests use fakes. Every call raises
:class:`bbs.models.errors.BBSError`. Transport errors that remain after the retries have type
``InvalidResponse``, ``Timeout`` or ``RouterError``. ``trace_id`` is sent as ``X-Vcap-Request-Id``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPGroup,
    ActualLRPInstanceKey,
    ActualLRPInternalRoute,
    ActualLRPKey,
    ActualLRPNetInfo,
)
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPSchedulingInfo, DesiredLRPUpdate
from bbs.models.events import Event
from bbs.models.task import Task, TaskDefinition


class ActualLRPCalls(Protocol):
    """Calls about actual LRPs."""

    async def actual_lrps(
        self,
        *,
        domain: str = "",
        cell_id: str = "",
        process_guid: str = "",
        index: int | None = None,
        trace_id: str = "",
    ) -> list[ActualLRP]: ...

    async def claim_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> None: ...

    async def start_actual_lrp(
        self,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        net_info: ActualLRPNetInfo,
        *,
        internal_routes: Sequence[ActualLRPInternalRoute] = (),
        metric_tags: Mapping[str, str] | None = None,
        routable: bool = True,
        availability_zone: str = "",
        trace_id: str = "",
    ) -> None: ...

    async def crash_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, error_message: str, *, trace_id: str = ""
    ) -> None: ...

    async def fail_actual_lrp(self, key: ActualLRPKey, error_message: str, *, trace_id: str = "") -> None: ...

    async def remove_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey | None, *, trace_id: str = ""
    ) -> None: ...

    async def retire_actual_lrp(self, key: ActualLRPKey, *, trace_id: str = "") -> None: ...


class EvacuationCalls(Protocol):
    """Calls of an evacuating cell; all except ``remove_evacuating_actual_lrp`` return ``keep_container``."""

    async def evacuate_claimed_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> bool: ...

    async def evacuate_running_actual_lrp(
        self,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        net_info: ActualLRPNetInfo,
        *,
        internal_routes: Sequence[ActualLRPInternalRoute] = (),
        metric_tags: Mapping[str, str] | None = None,
        routable: bool = True,
        availability_zone: str = "",
        trace_id: str = "",
    ) -> bool: ...

    async def evacuate_stopped_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> bool: ...

    async def evacuate_crashed_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, error_message: str, *, trace_id: str = ""
    ) -> bool: ...

    async def remove_evacuating_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> None: ...


class DesiredLRPCalls(Protocol):
    """Calls about desired LRPs."""

    async def desired_lrps(
        self, *, domain: str = "", process_guids: Sequence[str] = (), trace_id: str = ""
    ) -> list[DesiredLRP]: ...

    async def desired_lrp(self, process_guid: str, *, trace_id: str = "") -> DesiredLRP: ...

    async def desired_lrp_scheduling_infos(
        self, *, domain: str = "", process_guids: Sequence[str] = (), trace_id: str = ""
    ) -> list[DesiredLRPSchedulingInfo]: ...

    async def desire_lrp(self, desired_lrp: DesiredLRP, *, trace_id: str = "") -> None: ...

    async def update_desired_lrp(
        self, process_guid: str, update: DesiredLRPUpdate, *, trace_id: str = ""
    ) -> None: ...

    async def remove_desired_lrp(self, process_guid: str, *, trace_id: str = "") -> None: ...


class TaskCalls(Protocol):
    """Calls about tasks."""

    async def tasks(self, *, domain: str = "", cell_id: str = "", trace_id: str = "") -> list[Task]: ...

    async def task(self, task_guid: str, *, trace_id: str = "") -> Task: ...

    async def desire_task(
        self, task_guid: str, domain: str, definition: TaskDefinition, *, trace_id: str = ""
    ) -> None: ...

    async def start_task(self, task_guid: str, cell_id: str, *, trace_id: str = "") -> bool: ...

    async def complete_task(
        self,
        task_guid: str,
        cell_id: str,
        *,
        failed: bool,
        failure_reason: str,
        result: str,
        trace_id: str = "",
    ) -> None: ...

    async def reject_task(self, task_guid: str, rejection_reason: str, *, trace_id: str = "") -> None: ...

    async def cancel_task(self, task_guid: str, *, trace_id: str = "") -> None: ...

    async def resolving_task(self, task_guid: str, *, trace_id: str = "") -> None: ...

    async def delete_task(self, task_guid: str, *, trace_id: str = "") -> None: ...


class RoutingCalls(Protocol):
    """Additional calls of routing components; cells do not use them."""

    async def actual_lrps_by_process_guids(
        self, process_guids: Sequence[str], *, trace_id: str = ""
    ) -> list[ActualLRP]: ...

    async def desired_lrp_scheduling_info(
        self, process_guid: str, *, trace_id: str = ""
    ) -> DesiredLRPSchedulingInfo: ...

    async def desired_lrp_routing_infos(
        self, *, process_guids: Sequence[str] = (), trace_id: str = ""
    ) -> list[DesiredLRP]: ...


class DeprecatedCalls(Protocol):
    """Deprecated calls that are still served."""

    async def actual_lrp_groups(
        self, *, domain: str = "", cell_id: str = "", trace_id: str = ""
    ) -> list[ActualLRPGroup]: ...

    async def actual_lrp_groups_by_process_guid(
        self, process_guid: str, *, trace_id: str = ""
    ) -> list[ActualLRPGroup]: ...

    async def actual_lrp_group_by_process_guid_and_index(
        self, process_guid: str, index: int, *, trace_id: str = ""
    ) -> ActualLRPGroup: ...

    async def fail_task(self, task_guid: str, failure_reason: str, *, trace_id: str = "") -> None: ...


class BBSClient(ActualLRPCalls, EvacuationCalls, DesiredLRPCalls, TaskCalls, Protocol):
    """All calls of a BBS."""

    async def ping(self, *, trace_id: str = "") -> bool: ...

    async def cells(self, *, trace_id: str = "") -> list[CellPresence]: ...

    async def domains(self, *, trace_id: str = "") -> list[str]: ...

    async def upsert_domain(self, domain: str, ttl_s: int, *, trace_id: str = "") -> None: ...

    def lrp_instance_events(self, cell_id: str = "") -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Subscribe; entering returns once the server has sent its response headers."""
        ...

    def lrp_group_events(self, cell_id: str = "") -> AbstractAsyncContextManager[AsyncIterator[Event]]: ...

    def task_events(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]: ...
