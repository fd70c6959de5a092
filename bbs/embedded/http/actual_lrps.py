"""Handlers of actual LRP calls."""

from __future__ import annotations

from collections.abc import Iterable

from bbs.embedded.decisions.events import to_group
from bbs.embedded.decisions.rows import by_index
from bbs.embedded.http.calls import Controllers, Served, checked, optional, text
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, RunningData
from bbs.models.errors import BBSError, ErrorType
from bbs.models.validation import (
    check,
    validate_actual_lrp_instance_key,
    validate_actual_lrp_key,
    validate_claim_request,
    validate_fail_request,
    validate_instance_request,
    validate_process_guid_request,
    validate_process_guids_request,
    validate_start_request,
)
from bbs.wire import routes
from bbs.wire.mapping import encode, encode_list, to_model, to_wire
from bbs.wire.proto import actual_lrp_requests_pb2 as pb
from bbs.wire.proto import evacuation_pb2

Done = pb.ActualLRPLifecycleResponse


async def list_(controllers: Controllers, request: pb.ActualLRPsRequest, _: str) -> bytes:
    index = request.index if request.HasField("index") else None

    def read(tables: Tables) -> bytes:
        records = tables.actual_lrp_records(
            domain=request.domain, cell_id=request.cell_id, process_guid=request.process_guid, index=index
        )
        return encode_list(pb.ActualLRPsResponse, "actual_lrps", records)

    return await controllers.deps.reader.read(read)


async def list_by_process_guids(
    controllers: Controllers, request: pb.ActualLRPsByProcessGuidsRequest, _: str
) -> bytes:
    guids = tuple(request.process_guids)
    check(validate_process_guids_request(guids))

    def read(tables: Tables) -> bytes:
        records = tables.actual_lrp_records(process_guids=guids)
        return encode_list(pb.ActualLRPsByProcessGuidsResponse, "actual_lrps", records)

    return await controllers.deps.reader.read(read)


async def groups(controllers: Controllers, request: pb.ActualLRPGroupsRequest, _: str) -> bytes:
    return await controllers.deps.reader.read(
        lambda tables: _groups(tables.actual_lrps(domain=request.domain, cell_id=request.cell_id))
    )


async def groups_by_process_guid(
    controllers: Controllers, request: pb.ActualLRPGroupsByProcessGuidRequest, _: str
) -> bytes:
    check(validate_process_guid_request(request.process_guid))
    return await controllers.deps.reader.read(
        lambda tables: _groups(tables.actual_lrps(process_guid=request.process_guid))
    )


async def group_by_index(
    controllers: Controllers, request: pb.ActualLRPGroupByProcessGuidAndIndexRequest, _: str
) -> pb.ActualLRPGroupResponse:
    check(validate_process_guid_request(request.process_guid))
    rows = await controllers.deps.store.run(lambda tables: tables.rows(request.process_guid, request.index))
    if not rows:
        raise BBSError(ErrorType.ResourceNotFound)
    return pb.ActualLRPGroupResponse(actual_lrp_group=to_wire(to_group(rows)))


async def claim(controllers: Controllers, request: pb.ClaimActualLRPRequest, _: str) -> Done:
    instance_key = optional(request, "actual_lrp_instance_key", ActualLRPInstanceKey)
    errors = validate_claim_request(request.process_guid, instance_key)
    await controllers.lrps.claim(request.process_guid, request.index, checked(instance_key, errors))
    return Done()


async def start(controllers: Controllers, request: pb.StartActualLRPRequest, _: str) -> Done:
    await controllers.lrps.start(*running_of(request))
    return Done()


async def start_r0(controllers: Controllers, request: pb.StartActualLRPRequest, trace_id: str) -> Done:
    """The older call, without internal routes and metric tags."""
    del request.actual_lrp_internal_routes[:]
    request.metric_tags.clear()
    return await start(controllers, request, trace_id)


async def crash(controllers: Controllers, request: pb.CrashActualLRPRequest, _: str) -> Done:
    await controllers.lrps.crash(*instance_of(request), text(request.error_message))
    return Done()


async def fail(controllers: Controllers, request: pb.FailActualLRPRequest, _: str) -> Done:
    message = text(request.error_message)
    key = optional(request, "actual_lrp_key", ActualLRPKey)
    await controllers.lrps.fail(checked(key, validate_fail_request(key, message)), message)
    return Done()


async def remove(controllers: Controllers, request: pb.RemoveActualLRPRequest, _: str) -> Done:
    errors = validate_process_guid_request(request.process_guid)
    instance_key = optional(request, "actual_lrp_instance_key", ActualLRPInstanceKey)
    if instance_key is not None:
        errors += validate_actual_lrp_instance_key(instance_key)
    check(errors)
    await controllers.lrps.remove(request.process_guid, request.index, instance_key)
    return Done()


async def retire(controllers: Controllers, request: pb.RetireActualLRPRequest, trace_id: str) -> Done:
    key = optional(request, "actual_lrp_key", ActualLRPKey)
    await controllers.lrps.retire(checked(key, validate_actual_lrp_key(key)), trace_id)
    return Done()


ROUTES = (
    Served(routes.ACTUAL_LRPS, list_),
    Served(routes.ACTUAL_LRPS_BY_PROCESS_GUIDS, list_by_process_guids),
    Served(routes.ACTUAL_LRP_GROUPS, groups),
    Served(routes.ACTUAL_LRP_GROUPS_BY_PROCESS_GUID, groups_by_process_guid),
    Served(routes.ACTUAL_LRP_GROUP_BY_PROCESS_GUID_AND_INDEX, group_by_index),
    Served(routes.CLAIM_ACTUAL_LRP, claim),
    Served(routes.START_ACTUAL_LRP, start),
    Served(routes.START_ACTUAL_LRP_R0, start_r0),
    Served(routes.CRASH_ACTUAL_LRP, crash),
    Served(routes.FAIL_ACTUAL_LRP, fail),
    Served(routes.REMOVE_ACTUAL_LRP, remove),
    Served(routes.RETIRE_ACTUAL_LRP, retire),
)

Keyed = (
    pb.StartActualLRPRequest
    | pb.CrashActualLRPRequest
    | evacuation_pb2.EvacuateClaimedActualLRPRequest
    | evacuation_pb2.EvacuateCrashedActualLRPRequest
    | evacuation_pb2.EvacuateStoppedActualLRPRequest
    | evacuation_pb2.EvacuateRunningActualLRPRequest
    | evacuation_pb2.RemoveEvacuatingActualLRPRequest
)
Running = pb.StartActualLRPRequest | evacuation_pb2.EvacuateRunningActualLRPRequest


def instance_of(request: Keyed) -> tuple[ActualLRPKey, ActualLRPInstanceKey]:
    """The instance that a request names. Raises InvalidRequest."""
    key = optional(request, "actual_lrp_key", ActualLRPKey)
    instance_key = optional(request, "actual_lrp_instance_key", ActualLRPInstanceKey)
    errors = validate_instance_request(key, instance_key)
    return checked(key, errors), checked(instance_key, errors)


def running_of(request: Running) -> tuple[ActualLRPKey, ActualLRPInstanceKey, RunningData]:
    """The running instance in a request; routable defaults to true. Raises InvalidRequest."""
    key = optional(request, "actual_lrp_key", ActualLRPKey)
    instance_key = optional(request, "actual_lrp_instance_key", ActualLRPInstanceKey)
    net_info = optional(request, "actual_lrp_net_info", ActualLRPNetInfo)
    errors = validate_start_request(key, instance_key, net_info)
    data = RunningData(
        net_info=checked(net_info, errors),
        internal_routes=tuple(to_model(route) for route in request.actual_lrp_internal_routes),
        metric_tags=dict(request.metric_tags),
        routable=request.Routable if request.HasField("Routable") else True,
        availability_zone=request.availability_zone,
    )
    return checked(key, errors), checked(instance_key, errors), data


def _groups(rows: Iterable[ActualLRP]) -> bytes:
    groups = [to_wire(to_group(of_index)) for of_index in by_index(rows).values()]
    return encode(pb.ActualLRPGroupsResponse(actual_lrp_groups=groups))
