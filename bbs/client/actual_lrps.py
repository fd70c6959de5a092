"""Client of the actual LRP calls, including evacuation."""

from __future__ import annotations

import logging
from typing import TypeVar

from bbs.client.transport import Caller, EndpointNotFoundError
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    RunningData,
)
from bbs.wire import routes
from bbs.wire.mapping import text_to_wire, to_model, to_wire
from bbs.wire.proto import actual_lrp_pb2 as wire
from bbs.wire.proto import actual_lrp_requests_pb2 as requests
from bbs.wire.proto import evacuation_pb2 as evacuation

logger = logging.getLogger(__name__)

RunningRequest = TypeVar(
    "RunningRequest", requests.StartActualLRPRequest, evacuation.EvacuateRunningActualLRPRequest
)


class ActualLRPClient(Caller):
    """Calls about actual LRPs."""

    async def actual_lrps(
        self,
        *,
        domain: str = "",
        cell_id: str = "",
        process_guid: str = "",
        index: int | None = None,
        trace_id: str = "",
    ) -> list[ActualLRP]:
        request = requests.ActualLRPsRequest(
            domain=domain, cell_id=cell_id, process_guid=process_guid, index=index
        )
        response = await self._ask(routes.ACTUAL_LRPS, request, trace_id)
        return [to_model(lrp, ActualLRP) for lrp in response.actual_lrps]

    async def claim_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> None:
        request = requests.ClaimActualLRPRequest(
            process_guid=key.process_guid,
            index=key.index,
            actual_lrp_instance_key=_instance_key(instance_key),
        )
        await self._ask(routes.CLAIM_ACTUAL_LRP, request, trace_id)

    async def start_actual_lrp(
        self,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        running: RunningData,
        *,
        trace_id: str = "",
    ) -> None:
        """If the BBS lacks this call, use the older one, which knows the addresses only."""
        older, request = _running(requests.StartActualLRPRequest, key, instance_key, running)
        try:
            await self._ask(routes.START_ACTUAL_LRP, request, trace_id)
        except EndpointNotFoundError:
            await self._ask(routes.START_ACTUAL_LRP_R0, older, trace_id)

    async def crash_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, error_message: str, *, trace_id: str = ""
    ) -> None:
        request = requests.CrashActualLRPRequest(
            actual_lrp_key=_key(key),
            actual_lrp_instance_key=_instance_key(instance_key),
            error_message=text_to_wire(error_message),
        )
        await self._ask(routes.CRASH_ACTUAL_LRP, request, trace_id)

    async def fail_actual_lrp(self, key: ActualLRPKey, error_message: str, *, trace_id: str = "") -> None:
        request = requests.FailActualLRPRequest(
            actual_lrp_key=_key(key), error_message=text_to_wire(error_message)
        )
        await self._ask(routes.FAIL_ACTUAL_LRP, request, trace_id)

    async def remove_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey | None, *, trace_id: str = ""
    ) -> None:
        request = requests.RemoveActualLRPRequest(
            process_guid=key.process_guid,
            index=key.index,
            actual_lrp_instance_key=None if instance_key is None else _instance_key(instance_key),
        )
        await self._ask(routes.REMOVE_ACTUAL_LRP, request, trace_id)

    async def retire_actual_lrp(self, key: ActualLRPKey, *, trace_id: str = "") -> None:
        request = requests.RetireActualLRPRequest(actual_lrp_key=_key(key))
        await self._ask(routes.RETIRE_ACTUAL_LRP, request, trace_id)


class EvacuationClient(Caller):
    """Calls of an evacuating cell; all except ``remove_evacuating_actual_lrp`` return ``keep_container``.

    Without a response the Go client assumes ``keep_container``; here that is an error, as in all calls.
    """

    async def evacuate_claimed_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> bool:
        request = evacuation.EvacuateClaimedActualLRPRequest(
            actual_lrp_key=_key(key), actual_lrp_instance_key=_instance_key(instance_key)
        )
        return (await self._ask(routes.EVACUATE_CLAIMED_ACTUAL_LRP, request, trace_id)).keep_container

    async def evacuate_running_actual_lrp(
        self,
        key: ActualLRPKey,
        instance_key: ActualLRPInstanceKey,
        running: RunningData,
        *,
        trace_id: str = "",
    ) -> bool:
        """If the BBS lacks this call, use the older one, which knows the addresses only."""
        older, request = _running(evacuation.EvacuateRunningActualLRPRequest, key, instance_key, running)
        try:
            return (await self._ask(routes.EVACUATE_RUNNING_ACTUAL_LRP, request, trace_id)).keep_container
        except EndpointNotFoundError:
            return (await self._ask(routes.EVACUATE_RUNNING_ACTUAL_LRP_R0, older, trace_id)).keep_container

    async def evacuate_stopped_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> bool:
        request = evacuation.EvacuateStoppedActualLRPRequest(
            actual_lrp_key=_key(key), actual_lrp_instance_key=_instance_key(instance_key)
        )
        return (await self._ask(routes.EVACUATE_STOPPED_ACTUAL_LRP, request, trace_id)).keep_container

    async def evacuate_crashed_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, error_message: str, *, trace_id: str = ""
    ) -> bool:
        request = evacuation.EvacuateCrashedActualLRPRequest(
            actual_lrp_key=_key(key),
            actual_lrp_instance_key=_instance_key(instance_key),
            error_message=text_to_wire(error_message),
        )
        return (await self._ask(routes.EVACUATE_CRASHED_ACTUAL_LRP, request, trace_id)).keep_container

    async def remove_evacuating_actual_lrp(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, *, trace_id: str = ""
    ) -> None:
        request = evacuation.RemoveEvacuatingActualLRPRequest(
            actual_lrp_key=_key(key), actual_lrp_instance_key=_instance_key(instance_key)
        )
        await self._ask(routes.REMOVE_EVACUATING_ACTUAL_LRP, request, trace_id)


def _key(key: ActualLRPKey) -> wire.ActualLRPKey:
    return to_wire(key, wire.ActualLRPKey)


def _instance_key(key: ActualLRPInstanceKey) -> wire.ActualLRPInstanceKey:
    return to_wire(key, wire.ActualLRPInstanceKey)


def _running(
    kind: type[RunningRequest], key: ActualLRPKey, instance_key: ActualLRPInstanceKey, running: RunningData
) -> tuple[RunningRequest, RunningRequest]:
    """The requests of the older and of the present call."""
    older = kind(
        actual_lrp_key=_key(key),
        actual_lrp_instance_key=_instance_key(instance_key),
        actual_lrp_net_info=to_wire(running.net_info, wire.ActualLRPNetInfo),
    )
    request = kind(
        actual_lrp_internal_routes=[
            to_wire(route, wire.ActualLRPInternalRoute) for route in running.internal_routes
        ],
        metric_tags=running.metric_tags,
        Routable=running.routable,
        availability_zone=running.availability_zone,
    )
    request.MergeFrom(older)
    return older, request
