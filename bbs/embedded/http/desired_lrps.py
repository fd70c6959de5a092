"""Handlers of desired LRP calls."""

from __future__ import annotations

from bbs.embedded.http.calls import Controllers, Served, checked, optional
from bbs.embedded.store.tables import Tables
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.validation import (
    check,
    validate_desired_lrp,
    validate_process_guid_request,
    validate_update_request,
)
from bbs.models.views import desired_lrp_v2, routing_info, scheduling_info, with_source_id
from bbs.wire import routes
from bbs.wire.mapping import encode, to_model, to_wire
from bbs.wire.proto import desired_lrp_requests_pb2 as pb

Done = pb.DesiredLRPLifecycleResponse


async def list_(controllers: Controllers, request: pb.DesiredLRPsRequest, _: str) -> bytes:
    def read(tables: Tables) -> bytes:
        lrps = [to_wire(with_source_id(lrp)) for lrp in _find(tables, request)]
        return encode(pb.DesiredLRPsResponse(desired_lrps=lrps))

    return await controllers.deps.reader.read(read)


async def list_r2(controllers: Controllers, request: pb.DesiredLRPsRequest, _: str) -> bytes:
    def read(tables: Tables) -> bytes:
        lrps = [to_wire(desired_lrp_v2(with_source_id(lrp))) for lrp in _find(tables, request)]
        return encode(pb.DesiredLRPsResponse(desired_lrps=lrps))

    return await controllers.deps.reader.read(read)


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


async def scheduling_infos(controllers: Controllers, request: pb.DesiredLRPsRequest, _: str) -> bytes:
    def read(tables: Tables) -> bytes:
        infos = [to_wire(scheduling_info(lrp)) for lrp in _find(tables, request)]
        return encode(pb.DesiredLRPSchedulingInfosResponse(desired_lrp_scheduling_infos=infos))

    return await controllers.deps.reader.read(read)


async def scheduling_info_by_process_guid(
    controllers: Controllers, request: pb.DesiredLRPByProcessGuidRequest, _: str
) -> pb.DesiredLRPSchedulingInfoByProcessGuidResponse:
    return pb.DesiredLRPSchedulingInfoByProcessGuidResponse(
        desired_lrp_scheduling_info=to_wire(scheduling_info(await _get(controllers, request)))
    )


async def routing_infos(controllers: Controllers, request: pb.DesiredLRPsRequest, _: str) -> bytes:
    guids = tuple(request.process_guids)

    def read(tables: Tables) -> bytes:
        lrps = [to_wire(routing_info(lrp)) for lrp in tables.desired_lrps(process_guids=guids)]
        return encode(pb.DesiredLRPsResponse(desired_lrps=lrps))

    return await controllers.deps.reader.read(read)


async def desire(controllers: Controllers, request: pb.DesireLRPRequest, trace_id: str) -> Done:
    lrp = optional(request, "desired_lrp", DesiredLRP)
    await controllers.desired.desire(checked(lrp, validate_desired_lrp(lrp)), trace_id)
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


def _find(tables: Tables, request: pb.DesiredLRPsRequest) -> list[DesiredLRP]:
    return tables.desired_lrps(request.domain, tuple(request.process_guids), tuple(request.app_guids))


async def _get(controllers: Controllers, request: pb.DesiredLRPByProcessGuidRequest) -> DesiredLRP:
    check(validate_process_guid_request(request.process_guid))
    return await controllers.deps.store.run(lambda tables: tables.desired_lrp(request.process_guid))
