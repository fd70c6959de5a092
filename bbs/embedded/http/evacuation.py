"""Handlers of evacuation calls."""

from __future__ import annotations

from collections.abc import Awaitable

from bbs.embedded.decisions.evacuation import Refused
from bbs.embedded.http.actual_lrps import instance_of, running_of
from bbs.embedded.http.calls import Controllers, Served, checked, optional, text
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.validation import validate_evacuate_crashed_request
from bbs.wire import routes
from bbs.wire.mapping import error_to_wire
from bbs.wire.proto import evacuation_pb2 as pb


async def claimed(
    controllers: Controllers, request: pb.EvacuateClaimedActualLRPRequest, _: str
) -> pb.EvacuationResponse:
    return await _answer(controllers.evacuation.claimed(*instance_of(request)))


async def crashed(
    controllers: Controllers, request: pb.EvacuateCrashedActualLRPRequest, _: str
) -> pb.EvacuationResponse:
    reason = text(request.error_message)
    key = optional(request, "actual_lrp_key", ActualLRPKey)
    instance_key = optional(request, "actual_lrp_instance_key", ActualLRPInstanceKey)
    errors = validate_evacuate_crashed_request(key, instance_key, reason)
    return await _answer(
        controllers.evacuation.crashed(checked(key, errors), checked(instance_key, errors), reason)
    )


async def stopped(
    controllers: Controllers, request: pb.EvacuateStoppedActualLRPRequest, _: str
) -> pb.EvacuationResponse:
    return await _answer(controllers.evacuation.stopped(*instance_of(request)))


async def running(
    controllers: Controllers, request: pb.EvacuateRunningActualLRPRequest, _: str
) -> pb.EvacuationResponse:
    return await _answer(controllers.evacuation.running(*running_of(request)))


async def running_r0(
    controllers: Controllers, request: pb.EvacuateRunningActualLRPRequest, trace_id: str
) -> pb.EvacuationResponse:
    """The older call, without internal routes and metric tags."""
    del request.actual_lrp_internal_routes[:]
    request.metric_tags.clear()
    return await running(controllers, request, trace_id)


async def remove(
    controllers: Controllers, request: pb.RemoveEvacuatingActualLRPRequest, _: str
) -> pb.RemoveEvacuatingActualLRPResponse:
    await controllers.evacuation.remove(*instance_of(request))
    return pb.RemoveEvacuatingActualLRPResponse()


async def _answer(call: Awaitable[bool]) -> pb.EvacuationResponse:
    try:
        return pb.EvacuationResponse(keep_container=await call)
    except Refused as error:
        return pb.EvacuationResponse(error=error_to_wire(error), keep_container=error.keep_container)


ROUTES = (
    Served(routes.EVACUATE_CLAIMED_ACTUAL_LRP, claimed, keep_on_error=True),
    Served(routes.EVACUATE_CRASHED_ACTUAL_LRP, crashed),
    Served(routes.EVACUATE_STOPPED_ACTUAL_LRP, stopped),
    Served(routes.EVACUATE_RUNNING_ACTUAL_LRP, running, keep_on_error=True),
    Served(routes.EVACUATE_RUNNING_ACTUAL_LRP_R0, running_r0, keep_on_error=True),
    Served(routes.REMOVE_EVACUATING_ACTUAL_LRP, remove),
)
