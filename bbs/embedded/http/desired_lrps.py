"""Handlers of desired LRP calls."""

from __future__ import annotations

from bbs.embedded.http.calls import Controllers, Served, optional
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.validation import (
    check,
    validate_desired_lrp,
    validate_process_guid_request,
    validate_update_request,
)
from bbs.models.views import desired_lrp_v2, routing_info, scheduling_info, with_source_id
from bbs.wire import routes
from bbs.wire.mapping import to_model, to_wire
from bbs.wire.proto import desired_lrp_requests_pb2 as pb

Done = pb.DesiredLRPLifecycleResponse


async def list_(controllers: Controllers, request: pb.DesiredLRPsRequest, _: str) -> pb.DesiredLRPsResponse:
    lrps = await _find(controllers, request)
    return pb.DesiredLRPsResponse(desired_lrps=[to_wire(with_source_id(lrp)) for lrp in lrps])


async def list_r2(controllers: Controllers, request: pb.DesiredLRPsRequest, _: str) -> pb.DesiredLRPsResponse:
    lrps = await _find(controllers, request)
    return pb.DesiredLRPsResponse(desired_lrps=[to_wire(desired_lrp_v2(with_source_id(lrp))) for lrp in lrps])


async def get(
    controllers: Controllers, request: pb.DesiredLRPByProcessGuidRequest, _: str
) -> pb.DesiredLRPResponse:
    return pb.DesiredLRPResponse(desired_lrp=to_wire(with_source_id(await _get(controllers, request))))


async def get_r2(
    controllers: Controllers, request: pb.DesiredLRPByProcessGuidRequest, _: str
) -> pb.DesiredLRPResponse:
    return pb.DesiredLRPResponse(
        desired_lrp=to_wire(desired_lrp_v2(with_source_id(await _get(controllers, request))))
    )


async def scheduling_infos(
    controllers: Controllers, request: pb.DesiredLRPsRequest, _: str
) -> pb.DesiredLRPSchedulingInfosResponse:
    lrps = await _find(controllers, request)
    return pb.DesiredLRPSchedulingInfosResponse(
        desired_lrp_scheduling_infos=[to_wire(scheduling_info(lrp)) for lrp in lrps]
    )


async def scheduling_info_by_process_guid(
    controllers: Controllers, request: pb.DesiredLRPByProcessGuidRequest, _: str
) -> pb.DesiredLRPSchedulingInfoByProcessGuidResponse:
    return pb.DesiredLRPSchedulingInfoByProcessGuidResponse(
        desired_lrp_scheduling_info=to_wire(scheduling_info(await _get(controllers, request)))
    )


async def routing_infos(
    controllers: Controllers, request: pb.DesiredLRPsRequest, _: str
) -> pb.DesiredLRPsResponse:
    guids = tuple(request.process_guids)
    lrps = await controllers.deps.store.run(lambda tables: tables.desired_lrps(process_guids=guids))
    return pb.DesiredLRPsResponse(desired_lrps=[to_wire(routing_info(lrp)) for lrp in lrps])


async def desire(controllers: Controllers, request: pb.DesireLRPRequest, trace_id: str) -> Done:
    check(validate_desired_lrp(optional(request, "desired_lrp", DesiredLRP)))
    await controllers.desired.desire(to_model(request.desired_lrp, DesiredLRP), trace_id)
    return Done()


async def update(controllers: Controllers, request: pb.UpdateDesiredLRPRequest, trace_id: str) -> Done:
    change = to_model(request.update, DesiredLRPUpdate)
    check(validate_update_request(request.process_guid, change))
    await controllers.desired.update(request.process_guid, change, trace_id)
    return Done()


async def remove(controllers: Controllers, request: pb.RemoveDesiredLRPRequest, trace_id: str) -> Done:
    check(validate_process_guid_request(request.process_guid))
    await controllers.desired.remove(request.process_guid, trace_id)
    return Done()


ROUTES = (
    Served(routes.DESIRED_LRPS, list_),
    Served(routes.DESIRED_LRPS_R2, list_r2),
    Served(routes.DESIRED_LRP_BY_PROCESS_GUID, get),
    Served(routes.DESIRED_LRP_BY_PROCESS_GUID_R2, get_r2),
    Served(routes.DESIRED_LRP_SCHEDULING_INFOS, scheduling_infos),
    Served(routes.DESIRED_LRP_SCHEDULING_INFO_BY_PROCESS_GUID, scheduling_info_by_process_guid),
    Served(routes.DESIRED_LRP_ROUTING_INFOS, routing_infos),
    Served(routes.DESIRE_DESIRED_LRP, desire),
    Served(routes.UPDATE_DESIRED_LRP, update),
    Served(routes.REMOVE_DESIRED_LRP, remove),
)


async def _find(controllers: Controllers, request: pb.DesiredLRPsRequest) -> list[DesiredLRP]:
    guids, apps = tuple(request.process_guids), tuple(request.app_guids)
    return await controllers.deps.store.run(lambda tables: tables.desired_lrps(request.domain, guids, apps))


async def _get(controllers: Controllers, request: pb.DesiredLRPByProcessGuidRequest) -> DesiredLRP:
    check(validate_process_guid_request(request.process_guid))
    return await controllers.deps.store.run(lambda tables: tables.desired_lrp(request.process_guid))
