"""The calls of a BBS: path, request and response of each.

Client and server use the same table. ``_R0`` and ``_R2`` are older versions that are still served. Every call
is a POST. The event streams are in :mod:`bbs.wire.sse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bbs.models.text import well_formed
from bbs.wire.proto import actual_lrp_requests_pb2 as actual
from bbs.wire.proto import cell_pb2 as cells
from bbs.wire.proto import desired_lrp_requests_pb2 as desired
from bbs.wire.proto import domain_pb2 as domains
from bbs.wire.proto import evacuation_pb2 as evacuation
from bbs.wire.proto import task_requests_pb2 as tasks

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

MEDIA_TYPE = "application/x-protobuf"
TRACE_HEADER = "X-Vcap-Request-Id"


def trace_id(headers: Mapping[str, str]) -> str:
    """The trace id of a request, empty without one; bytes that are not UTF-8 become U+FFFD."""
    return well_formed(headers.get(TRACE_HEADER, ""))


@dataclass(frozen=True, slots=True)
class Route(Generic[Request, Response]):
    """One call. request is ``Empty`` if the body is empty."""

    path: str
    request: type[Request]
    response: type[Response]


PING = Route("/v1/ping", Empty, domains.PingResponse)
DOMAINS = Route("/v1/domains/list", Empty, domains.DomainsResponse)
UPSERT_DOMAIN = Route("/v1/domains/upsert", domains.UpsertDomainRequest, domains.UpsertDomainResponse)

ACTUAL_LRPS = Route("/v1/actual_lrps/list", actual.ActualLRPsRequest, actual.ActualLRPsResponse)
ACTUAL_LRPS_BY_PROCESS_GUIDS = Route(
    "/v1/actual_lrps/list_by_process_guids",
    actual.ActualLRPsByProcessGuidsRequest,
    actual.ActualLRPsByProcessGuidsResponse,
)
ACTUAL_LRP_GROUPS = Route(
    "/v1/actual_lrp_groups/list", actual.ActualLRPGroupsRequest, actual.ActualLRPGroupsResponse
)
ACTUAL_LRP_GROUPS_BY_PROCESS_GUID = Route(
    "/v1/actual_lrp_groups/list_by_process_guid",
    actual.ActualLRPGroupsByProcessGuidRequest,
    actual.ActualLRPGroupsResponse,
)
ACTUAL_LRP_GROUP_BY_PROCESS_GUID_AND_INDEX = Route(
    "/v1/actual_lrp_groups/get_by_process_guid_and_index",
    actual.ActualLRPGroupByProcessGuidAndIndexRequest,
    actual.ActualLRPGroupResponse,
)
CLAIM_ACTUAL_LRP = Route(
    "/v1/actual_lrps/claim", actual.ClaimActualLRPRequest, actual.ActualLRPLifecycleResponse
)
START_ACTUAL_LRP = Route(
    "/v1/actual_lrps/start.r1", actual.StartActualLRPRequest, actual.ActualLRPLifecycleResponse
)
START_ACTUAL_LRP_R0 = Route(
    "/v1/actual_lrps/start", actual.StartActualLRPRequest, actual.ActualLRPLifecycleResponse
)
CRASH_ACTUAL_LRP = Route(
    "/v1/actual_lrps/crash", actual.CrashActualLRPRequest, actual.ActualLRPLifecycleResponse
)
FAIL_ACTUAL_LRP = Route(
    "/v1/actual_lrps/fail", actual.FailActualLRPRequest, actual.ActualLRPLifecycleResponse
)
REMOVE_ACTUAL_LRP = Route(
    "/v1/actual_lrps/remove", actual.RemoveActualLRPRequest, actual.ActualLRPLifecycleResponse
)
RETIRE_ACTUAL_LRP = Route(
    "/v1/actual_lrps/retire", actual.RetireActualLRPRequest, actual.ActualLRPLifecycleResponse
)

REMOVE_EVACUATING_ACTUAL_LRP = Route(
    "/v1/actual_lrps/remove_evacuating",
    evacuation.RemoveEvacuatingActualLRPRequest,
    evacuation.RemoveEvacuatingActualLRPResponse,
)
EVACUATE_CLAIMED_ACTUAL_LRP = Route(
    "/v1/actual_lrps/evacuate_claimed",
    evacuation.EvacuateClaimedActualLRPRequest,
    evacuation.EvacuationResponse,
)
EVACUATE_CRASHED_ACTUAL_LRP = Route(
    "/v1/actual_lrps/evacuate_crashed",
    evacuation.EvacuateCrashedActualLRPRequest,
    evacuation.EvacuationResponse,
)
EVACUATE_STOPPED_ACTUAL_LRP = Route(
    "/v1/actual_lrps/evacuate_stopped",
    evacuation.EvacuateStoppedActualLRPRequest,
    evacuation.EvacuationResponse,
)
EVACUATE_RUNNING_ACTUAL_LRP = Route(
    "/v1/actual_lrps/evacuate_running.r1",
    evacuation.EvacuateRunningActualLRPRequest,
    evacuation.EvacuationResponse,
)
EVACUATE_RUNNING_ACTUAL_LRP_R0 = Route(
    "/v1/actual_lrps/evacuate_running",
    evacuation.EvacuateRunningActualLRPRequest,
    evacuation.EvacuationResponse,
)

DESIRED_LRPS = Route("/v1/desired_lrps/list.r3", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse)
DESIRED_LRPS_R2 = Route("/v1/desired_lrps/list.r2", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse)
DESIRED_LRP_BY_PROCESS_GUID = Route(
    "/v1/desired_lrps/get_by_process_guid.r3",
    desired.DesiredLRPByProcessGuidRequest,
    desired.DesiredLRPResponse,
)
DESIRED_LRP_BY_PROCESS_GUID_R2 = Route(
    "/v1/desired_lrps/get_by_process_guid.r2",
    desired.DesiredLRPByProcessGuidRequest,
    desired.DesiredLRPResponse,
)
DESIRED_LRP_SCHEDULING_INFOS = Route(
    "/v1/desired_lrp_scheduling_infos/list",
    desired.DesiredLRPsRequest,
    desired.DesiredLRPSchedulingInfosResponse,
)
DESIRED_LRP_SCHEDULING_INFO_BY_PROCESS_GUID = Route(
    "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
    desired.DesiredLRPByProcessGuidRequest,
    desired.DesiredLRPSchedulingInfoByProcessGuidResponse,
)
DESIRED_LRP_ROUTING_INFOS = Route(
    "/v1/desired_lrp_routing_infos/list", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse
)
DESIRE_DESIRED_LRP = Route(
    "/v1/desired_lrp/desire.r2", desired.DesireLRPRequest, desired.DesiredLRPLifecycleResponse
)
UPDATE_DESIRED_LRP = Route(
    "/v1/desired_lrp/update", desired.UpdateDesiredLRPRequest, desired.DesiredLRPLifecycleResponse
)
REMOVE_DESIRED_LRP = Route(
    "/v1/desired_lrp/remove", desired.RemoveDesiredLRPRequest, desired.DesiredLRPLifecycleResponse
)

TASKS = Route("/v1/tasks/list.r3", tasks.TasksRequest, tasks.TasksResponse)
TASKS_R2 = Route("/v1/tasks/list.r2", tasks.TasksRequest, tasks.TasksResponse)
TASK_BY_GUID = Route("/v1/tasks/get_by_task_guid.r3", tasks.TaskByGuidRequest, tasks.TaskResponse)
TASK_BY_GUID_R2 = Route("/v1/tasks/get_by_task_guid.r2", tasks.TaskByGuidRequest, tasks.TaskResponse)
DESIRE_TASK = Route("/v1/tasks/desire.r2", tasks.DesireTaskRequest, tasks.TaskLifecycleResponse)
START_TASK = Route("/v1/tasks/start", tasks.StartTaskRequest, tasks.StartTaskResponse)
CANCEL_TASK = Route("/v1/tasks/cancel", tasks.TaskGuidRequest, tasks.TaskLifecycleResponse)
FAIL_TASK = Route("/v1/tasks/fail", tasks.FailTaskRequest, tasks.TaskLifecycleResponse)
REJECT_TASK = Route("/v1/tasks/reject", tasks.RejectTaskRequest, tasks.TaskLifecycleResponse)
COMPLETE_TASK = Route("/v1/tasks/complete", tasks.CompleteTaskRequest, tasks.TaskLifecycleResponse)
RESOLVING_TASK = Route("/v1/tasks/resolving", tasks.TaskGuidRequest, tasks.TaskLifecycleResponse)
DELETE_TASK = Route("/v1/tasks/delete", tasks.TaskGuidRequest, tasks.TaskLifecycleResponse)

CELLS = Route("/v1/cells/list.r1", Empty, cells.CellsResponse)
