"""Client of the desired LRP calls."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.client.caller import Caller
from bbs.client.transport import EndpointNotFoundError
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPSchedulingInfo, DesiredLRPUpdate
from bbs.wire import routes
from bbs.wire.mapping import to_model, to_wire
from bbs.wire.proto import desired_lrp_pb2 as wire
from bbs.wire.proto import desired_lrp_requests_pb2 as requests


class DesiredLRPClient(Caller):
    """``bbs.client.api.DesiredLRPCalls`` over the wire."""

    async def desired_lrps(
        self, *, domain: str = "", process_guids: Sequence[str] = (), trace_id: str = ""
    ) -> list[DesiredLRP]:
        request = requests.DesiredLRPsRequest(domain=domain, process_guids=process_guids)
        response = await self._ask(routes.DESIRED_LRPS, request, trace_id)
        return [to_model(lrp, DesiredLRP) for lrp in response.desired_lrps]

    async def desired_lrp(self, process_guid: str, *, trace_id: str = "") -> DesiredLRP:
        request = requests.DesiredLRPByProcessGuidRequest(process_guid=process_guid)
        response = await self._ask(routes.DESIRED_LRP_BY_PROCESS_GUID, request, trace_id)
        return to_model(response.desired_lrp, DesiredLRP)

    async def desired_lrp_scheduling_infos(
        self, *, domain: str = "", process_guids: Sequence[str] = (), trace_id: str = ""
    ) -> list[DesiredLRPSchedulingInfo]:
        request = requests.DesiredLRPsRequest(domain=domain, process_guids=process_guids)
        response = await self._ask(routes.DESIRED_LRP_SCHEDULING_INFOS, request, trace_id)
        return [to_model(info, DesiredLRPSchedulingInfo) for info in response.desired_lrp_scheduling_infos]

    async def desired_lrp_scheduling_info(
        self, process_guid: str, *, trace_id: str = ""
    ) -> DesiredLRPSchedulingInfo:
        request = requests.DesiredLRPByProcessGuidRequest(process_guid=process_guid)
        response = await self._ask(routes.DESIRED_LRP_SCHEDULING_INFO_BY_PROCESS_GUID, request, trace_id)
        return to_model(response.desired_lrp_scheduling_info, DesiredLRPSchedulingInfo)

    async def desired_lrp_routing_infos(
        self, *, process_guids: Sequence[str] = (), trace_id: str = ""
    ) -> list[DesiredLRP]:
        """Sparse: guid, domain, log guid, instances, routes, modification tag and metric tags are set.

        If the BBS lacks the call, fetch the whole DesiredLRPs.
        """
        request = requests.DesiredLRPsRequest(process_guids=process_guids)
        try:
            response = await self._ask(routes.DESIRED_LRP_ROUTING_INFOS, request, trace_id)
        except EndpointNotFoundError:
            response = await self._ask(routes.DESIRED_LRPS, request, trace_id)
        return [to_model(lrp, DesiredLRP) for lrp in response.desired_lrps]

    async def desire_lrp(self, desired_lrp: DesiredLRP, *, trace_id: str = "") -> None:
        request = requests.DesireLRPRequest(desired_lrp=to_wire(desired_lrp, wire.DesiredLRP))
        await self._ask(routes.DESIRE_DESIRED_LRP, request, trace_id)

    async def update_desired_lrp(
        self, process_guid: str, update: DesiredLRPUpdate, *, trace_id: str = ""
    ) -> None:
        request = requests.UpdateDesiredLRPRequest(
            process_guid=process_guid, update=to_wire(update, wire.DesiredLRPUpdate)
        )
        await self._ask(routes.UPDATE_DESIRED_LRP, request, trace_id)

    async def remove_desired_lrp(self, process_guid: str, *, trace_id: str = "") -> None:
        request = requests.RemoveDesiredLRPRequest(process_guid=process_guid)
        await self._ask(routes.REMOVE_DESIRED_LRP, request, trace_id)
