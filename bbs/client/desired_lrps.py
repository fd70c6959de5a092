"""Client of the desired LRP calls."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.client.transport import Caller
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.wire import routes
from bbs.wire.mapping import to_model, to_wire
from bbs.wire.proto import desired_lrp_pb2 as wire
from bbs.wire.proto import desired_lrp_requests_pb2 as requests


class DesiredLRPClient(Caller):
    """Calls about desired LRPs."""

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
