"""BBS calls: path and request message of each, and the interpretation of responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message import Message

from bbs.client.api import BBSClient
from bbs.client.transport import EndpointNotFoundError, UnansweredError
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPInternalRoute,
    ActualLRPKey,
    ActualLRPNetInfo,
    RunningData,
)
from bbs.models.cell import CellPresence
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskDefinition
from bbs.wire.mapping import to_wire
from bbs.wire.proto import actual_lrp_requests_pb2 as actual
from bbs.wire.proto import desired_lrp_requests_pb2 as desired
from bbs.wire.proto import evacuation_pb2 as evacuation
from bbs.wire.proto import task_requests_pb2 as tasks
from bbs.wire.proto.cell_pb2 import CellsResponse
from bbs.wire.proto.domain_pb2 import DomainsResponse, PingResponse, UpsertDomainRequest
from bbs.wire.proto.error_pb2 import Error

if TYPE_CHECKING:
    from tests.unit.bbs.client.conftest import ScriptedServer

pytestmark = pytest.mark.unit

KEY = ActualLRPKey(process_guid="p", index=2, domain="d")
INSTANCE = ActualLRPInstanceKey(instance_guid="i", cell_id="c")
NET_INFO = ActualLRPNetInfo(address="10.0.0.1")
LRP = ActualLRP(actual_lrp_key=KEY, actual_lrp_instance_key=INSTANCE, state="CLAIMED")
DESIRED = DesiredLRP(process_guid="p", domain="d", action=RunAction(path="x", user="u"), routes={})
DEFINITION = TaskDefinition(root_fs="preloaded:x")
TASK = Task(task_guid="t", task_definition=DEFINITION)

W_KEY, W_INSTANCE, W_NET_INFO = to_wire(KEY), to_wire(INSTANCE), to_wire(NET_INFO)
KEYS = {"actual_lrp_key": W_KEY, "actual_lrp_instance_key": W_INSTANCE}
STARTED = {
    **KEYS,
    "actual_lrp_net_info": W_NET_INFO,
    "actual_lrp_internal_routes": [to_wire(ActualLRPInternalRoute(hostname="h"))],
    "metric_tags": {"a": "b"},
    "Routable": False,
    "availability_zone": "z1",
}
RUNNING = RunningData(
    net_info=NET_INFO,
    internal_routes=(ActualLRPInternalRoute(hostname="h"),),
    metric_tags={"a": "b"},
    routable=False,
    availability_zone="z1",
)

Call = Callable[[BBSClient], Awaitable[object]]

CALLS: list[tuple[Call, str, Message | None, Message, object]] = [
    (lambda c: c.ping(), "/v1/ping", None, PingResponse(available=True), True),
    (lambda c: c.domains(), "/v1/domains/list", None, DomainsResponse(domains=["d"]), ["d"]),
    (
        lambda c: c.upsert_domain("d", 30),
        "/v1/domains/upsert",
        UpsertDomainRequest(domain="d", ttl=30),
        DomainsResponse(),
        None,
    ),
    (
        lambda c: c.cells(),
        "/v1/cells/list.r1",
        None,
        CellsResponse(cells=[to_wire(CellPresence(cell_id="c"))]),
        [CellPresence(cell_id="c")],
    ),
    (
        lambda c: c.actual_lrps(cell_id="c", index=0),
        "/v1/actual_lrps/list",
        actual.ActualLRPsRequest(cell_id="c", index=0),
        actual.ActualLRPsResponse(actual_lrps=[to_wire(LRP)]),
        [LRP],
    ),
    (
        lambda c: c.actual_lrps(domain="d", process_guid="p"),
        "/v1/actual_lrps/list",
        actual.ActualLRPsRequest(domain="d", process_guid="p"),
        actual.ActualLRPsResponse(),
        [],
    ),
    (
        lambda c: c.claim_actual_lrp(KEY, INSTANCE),
        "/v1/actual_lrps/claim",
        actual.ClaimActualLRPRequest(process_guid="p", index=2, actual_lrp_instance_key=W_INSTANCE),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.start_actual_lrp(KEY, INSTANCE, RUNNING),
        "/v1/actual_lrps/start.r1",
        actual.StartActualLRPRequest(**STARTED),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.crash_actual_lrp(KEY, INSTANCE, "why"),
        "/v1/actual_lrps/crash",
        actual.CrashActualLRPRequest(**KEYS, error_message=b"why"),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.fail_actual_lrp(KEY, "why"),
        "/v1/actual_lrps/fail",
        actual.FailActualLRPRequest(actual_lrp_key=W_KEY, error_message=b"why"),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.remove_actual_lrp(KEY, INSTANCE),
        "/v1/actual_lrps/remove",
        actual.RemoveActualLRPRequest(process_guid="p", index=2, actual_lrp_instance_key=W_INSTANCE),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.remove_actual_lrp(KEY, None),
        "/v1/actual_lrps/remove",
        actual.RemoveActualLRPRequest(process_guid="p", index=2),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.retire_actual_lrp(KEY),
        "/v1/actual_lrps/retire",
        actual.RetireActualLRPRequest(actual_lrp_key=W_KEY),
        actual.ActualLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.evacuate_claimed_actual_lrp(KEY, INSTANCE),
        "/v1/actual_lrps/evacuate_claimed",
        evacuation.EvacuateClaimedActualLRPRequest(**KEYS),
        evacuation.EvacuationResponse(),
        False,
    ),
    (
        lambda c: c.evacuate_running_actual_lrp(KEY, INSTANCE, RUNNING),
        "/v1/actual_lrps/evacuate_running.r1",
        evacuation.EvacuateRunningActualLRPRequest(**STARTED),
        evacuation.EvacuationResponse(keep_container=True),
        True,
    ),
    (
        lambda c: c.evacuate_stopped_actual_lrp(KEY, INSTANCE),
        "/v1/actual_lrps/evacuate_stopped",
        evacuation.EvacuateStoppedActualLRPRequest(**KEYS),
        evacuation.EvacuationResponse(),
        False,
    ),
    (
        lambda c: c.evacuate_crashed_actual_lrp(KEY, INSTANCE, "why"),
        "/v1/actual_lrps/evacuate_crashed",
        evacuation.EvacuateCrashedActualLRPRequest(**KEYS, error_message=b"why"),
        evacuation.EvacuationResponse(),
        False,
    ),
    (
        lambda c: c.remove_evacuating_actual_lrp(KEY, INSTANCE),
        "/v1/actual_lrps/remove_evacuating",
        evacuation.RemoveEvacuatingActualLRPRequest(**KEYS),
        evacuation.RemoveEvacuatingActualLRPResponse(),
        None,
    ),
    (
        lambda c: c.desired_lrps(domain="d", process_guids=["p"]),
        "/v1/desired_lrps/list.r3",
        desired.DesiredLRPsRequest(domain="d", process_guids=["p"]),
        desired.DesiredLRPsResponse(desired_lrps=[to_wire(DESIRED)]),
        [DESIRED],
    ),
    (
        lambda c: c.desired_lrp("p"),
        "/v1/desired_lrps/get_by_process_guid.r3",
        desired.DesiredLRPByProcessGuidRequest(process_guid="p"),
        desired.DesiredLRPResponse(desired_lrp=to_wire(DESIRED)),
        DESIRED,
    ),
    (
        lambda c: c.desire_lrp(DESIRED),
        "/v1/desired_lrp/desire.r2",
        desired.DesireLRPRequest(desired_lrp=to_wire(DESIRED)),
        desired.DesiredLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.update_desired_lrp("p", DesiredLRPUpdate(instances=0)),
        "/v1/desired_lrp/update",
        desired.UpdateDesiredLRPRequest(process_guid="p", update={"instances": 0}),
        desired.DesiredLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.remove_desired_lrp("p"),
        "/v1/desired_lrp/remove",
        desired.RemoveDesiredLRPRequest(process_guid="p"),
        desired.DesiredLRPLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.tasks(cell_id="c"),
        "/v1/tasks/list.r3",
        tasks.TasksRequest(cell_id="c"),
        tasks.TasksResponse(tasks=[to_wire(TASK)]),
        [TASK],
    ),
    (
        lambda c: c.task("t"),
        "/v1/tasks/get_by_task_guid.r3",
        tasks.TaskByGuidRequest(task_guid="t"),
        tasks.TaskResponse(task=to_wire(TASK)),
        TASK,
    ),
    (
        lambda c: c.desire_task("t", "d", DEFINITION),
        "/v1/tasks/desire.r2",
        tasks.DesireTaskRequest(task_guid="t", domain="d", task_definition=to_wire(DEFINITION)),
        tasks.TaskLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.start_task("t", "c"),
        "/v1/tasks/start",
        tasks.StartTaskRequest(task_guid="t", cell_id="c"),
        tasks.StartTaskResponse(should_start=True),
        True,
    ),
    (
        lambda c: c.complete_task("t", "c", failed=True, failure_reason="why", result="r"),
        "/v1/tasks/complete",
        tasks.CompleteTaskRequest(
            task_guid="t", cell_id="c", failed=True, failure_reason=b"why", result=b"r"
        ),
        tasks.TaskLifecycleResponse(),
        None,
    ),
    (
        lambda c: c.reject_task("t", "why"),
        "/v1/tasks/reject",
        tasks.RejectTaskRequest(task_guid="t", rejection_reason=b"why"),
        tasks.TaskLifecycleResponse(),
        None,
    ),
    *(
        (call, f"/v1/tasks/{name}", tasks.TaskGuidRequest(task_guid="t"), tasks.TaskLifecycleResponse(), None)
        for name, call in (
            ("cancel", lambda c: c.cancel_task("t")),
            ("resolving", lambda c: c.resolving_task("t")),
            ("delete", lambda c: c.delete_task("t")),
        )
    ),
]


@pytest.mark.parametrize(
    ("call", "path", "request_message", "response", "result"), CALLS, ids=[c[1] for c in CALLS]
)
async def test_call(
    server: ScriptedServer,
    client: BBSClient,
    call: Call,
    path: str,
    request_message: Message | None,
    response: Message,
    result: object,
) -> None:
    server.answer(response)
    assert await call(client) == result
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", path)
    if request_message is None:
        assert request.body == b""
    else:
        assert type(request_message).FromString(request.body) == request_message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.claim_actual_lrp(KEY, INSTANCE), actual.ActualLRPLifecycleResponse),
        (lambda c: c.desired_lrp("p"), desired.DesiredLRPResponse),
        (lambda c: c.start_task("t", "c"), tasks.StartTaskResponse),
        (lambda c: c.evacuate_running_actual_lrp(KEY, INSTANCE, RUNNING), evacuation.EvacuationResponse),
    ],
)
async def test_an_error_in_the_response_is_raised(
    server: ScriptedServer, client: BBSClient, call: Call, message: type[Any]
) -> None:
    server.answer(message(error=Error(type="ResourceNotFound", message="gone")))
    with pytest.raises(BBSError) as raised:
        await call(client)
    assert raised.value == BBSError(ErrorType.ResourceNotFound, "gone")


@pytest.mark.parametrize(
    ("call", "older", "request_type", "response"),
    [
        (
            lambda c: c.start_actual_lrp(KEY, INSTANCE, RUNNING),
            "/v1/actual_lrps/start",
            actual.StartActualLRPRequest,
            actual.ActualLRPLifecycleResponse(),
        ),
        (
            lambda c: c.evacuate_running_actual_lrp(KEY, INSTANCE, RUNNING),
            "/v1/actual_lrps/evacuate_running",
            evacuation.EvacuateRunningActualLRPRequest,
            evacuation.EvacuationResponse(),
        ),
    ],
)
async def test_an_older_bbs_gets_the_older_form(
    server: ScriptedServer,
    client: BBSClient,
    call: Call,
    older: str,
    request_type: type[Any],
    response: Message,
) -> None:
    server.not_found()
    server.answer(response)
    assert not await call(client)
    assert [request.path for request in server.requests] == [older + ".r1", older]
    sent = request_type.FromString(server.requests[-1].body)
    assert sent == request_type(**KEYS, actual_lrp_net_info=W_NET_INFO)


async def test_no_other_call_has_an_older_form(server: ScriptedServer, client: BBSClient) -> None:
    server.not_found()
    with pytest.raises(EndpointNotFoundError):
        await client.claim_actual_lrp(KEY, INSTANCE)
    assert len(server.requests) == 1


UNANSWERED: dict[str, Call] = {
    "claimed": lambda c: c.evacuate_claimed_actual_lrp(KEY, INSTANCE),
    "running": lambda c: c.evacuate_running_actual_lrp(KEY, INSTANCE, RUNNING),
    "stopped": lambda c: c.evacuate_stopped_actual_lrp(KEY, INSTANCE),
    "crashed": lambda c: c.evacuate_crashed_actual_lrp(KEY, INSTANCE, "why"),
}


@pytest.mark.parametrize("call", UNANSWERED.values(), ids=UNANSWERED)
async def test_evacuation_call_without_an_answer(
    server: ScriptedServer, client: BBSClient, call: Call
) -> None:
    """An assumed answer would end the report about a container, although the BBS never got it."""
    for _ in range(3):
        server.hang_up()
    with pytest.raises(UnansweredError):
        await call(client)


async def test_evacuation_call_that_no_version_of_the_bbs_knows(
    server: ScriptedServer, client: BBSClient
) -> None:
    for _ in range(2):
        server.not_found()
    with pytest.raises(EndpointNotFoundError):
        await client.evacuate_running_actual_lrp(KEY, INSTANCE, RUNNING)
    assert len(server.requests) == 2


async def test_text_that_cannot_be_encoded_does_not_stop_a_report(
    server: ScriptedServer, client: BBSClient
) -> None:
    server.answer()
    await client.crash_actual_lrp(KEY, INSTANCE, "bad \udcff byte")
    sent = actual.CrashActualLRPRequest.FromString(server.requests[0].body)
    assert sent.error_message == b"bad ? byte"
