"""Handlers of evacuation calls."""

from __future__ import annotations

from collections.abc import Awaitable

from bbs.embedded.decisions.evacuation import Refused
from bbs.embedded.http.actual_lrps import check_instance, check_start, instance_key_of, key_of, running_data
from bbs.embedded.http.calls import Controllers, Served, optional, text
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.validation import check, validate_evacuate_crashed_request
from bbs.wire import routes
from bbs.wire.mapping import error_to_wire
from bbs.wire.proto import evacuation_pb2 as pb


async def claimed(to: Controllers, q: pb.EvacuateClaimedActualLRPRequest, _: str) -> pb.EvacuationResponse:
    check_instance(q)
    return await _answer(to.evacuation.claimed(key_of(q), instance_key_of(q)))


async def crashed(to: Controllers, q: pb.EvacuateCrashedActualLRPRequest, _: str) -> pb.EvacuationResponse:
    reason = text(q.error_message)
    check(
        validate_evacuate_crashed_request(
            optional(q, "actual_lrp_key", ActualLRPKey),
            optional(q, "actual_lrp_instance_key", ActualLRPInstanceKey),
            reason,
        )
    )
    return await _answer(to.evacuation.crashed(key_of(q), instance_key_of(q), reason))


async def stopped(to: Controllers, q: pb.EvacuateStoppedActualLRPRequest, _: str) -> pb.EvacuationResponse:
    check_instance(q)
    return await _answer(to.evacuation.stopped(key_of(q), instance_key_of(q)))


async def running(to: Controllers, q: pb.EvacuateRunningActualLRPRequest, _: str) -> pb.EvacuationResponse:
    check_start(q)
    return await _answer(to.evacuation.running(key_of(q), instance_key_of(q), running_data(q)))


async def running_r0(
    to: Controllers, q: pb.EvacuateRunningActualLRPRequest, trace_id: str
) -> pb.EvacuationResponse:
    """The older call, without internal routes and metric tags."""
    del q.actual_lrp_internal_routes[:]
    q.metric_tags.clear()
    return await running(to, q, trace_id)


async def remove(
    to: Controllers, q: pb.RemoveEvacuatingActualLRPRequest, _: str
) -> pb.RemoveEvacuatingActualLRPResponse:
    check_instance(q)
    await to.evacuation.remove(key_of(q), instance_key_of(q))
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
