"""Recorded calls of a BBS: our client sends the same requests and understands the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bbs.client.http import HTTPBBSClient, PooledTransport
from bbs.client.oneshot import OneShotTransport
from bbs.client.transport import Policy, Transport, UnansweredError
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
from bbs.models.errors import BBSError
from bbs.models.task import Task, TaskDefinition
from bbs.wire.mapping import decode, encode, error_to_model, to_model
from bbs.wire.messages import message_class
from bbs.wire.proto.desired_lrp_requests_pb2 import DesireLRPRequest
from bbs.wire.proto.task_requests_pb2 import DesireTaskRequest
from bbs.wire.routes import Route

if TYPE_CHECKING:
    from tests.support.captures import Capture, Exchange
    from tests.unit.bbs.client.conftest import ScriptedServer

pytestmark = pytest.mark.unit

M = TypeVar("M")
ONCE = Policy(attempts=1)


@dataclass(frozen=True)
class Call:
    """A method of the client: how a request message becomes its arguments, and what it makes of an answer."""

    make: Callable[[HTTPBBSClient, Any, str], Awaitable[object]]
    understood: Callable[[Any], object] = lambda _: None


def _key(message: Any) -> ActualLRPKey:
    """Some requests name an instance by key, others by process guid and index."""
    if hasattr(message, "actual_lrp_key"):
        return to_model(message.actual_lrp_key, ActualLRPKey)
    return ActualLRPKey(process_guid=message.process_guid, index=message.index)


def _instance(message: Any) -> ActualLRPInstanceKey:
    return to_model(message.actual_lrp_instance_key, ActualLRPInstanceKey)


def _running(message: Any) -> RunningData:
    routes = (to_model(route, ActualLRPInternalRoute) for route in message.actual_lrp_internal_routes)
    return RunningData(
        net_info=to_model(message.actual_lrp_net_info, ActualLRPNetInfo),
        internal_routes=tuple(routes),
        metric_tags=dict(message.metric_tags),
        routable=message.Routable,
        availability_zone=message.availability_zone,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _models(field: str, model: type[M]) -> Callable[[Any], list[M]]:
    return lambda answer: [to_model(item, model) for item in getattr(answer, field)]


UNUSED = {
    "/v1/actual_lrp_groups/list",
    "/v1/actual_lrp_groups/list_by_process_guid",
    "/v1/desired_lrp_scheduling_infos/list",
}
"""Calls of Go programs that no part of a cell makes."""

CALLS: dict[str, Call] = {
    "/v1/cells/list.r1": Call(lambda c, m, t: c.cells(trace_id=t), _models("cells", CellPresence)),
    "/v1/domains/list": Call(lambda c, m, t: c.domains(trace_id=t), lambda a: list(a.domains)),
    "/v1/desired_lrps/list.r3": Call(
        lambda c, m, t: c.desired_lrps(domain=m.domain, process_guids=m.process_guids, trace_id=t),
        _models("desired_lrps", DesiredLRP),
    ),
    "/v1/domains/upsert": Call(lambda c, m, t: c.upsert_domain(m.domain, m.ttl, trace_id=t)),
    "/v1/actual_lrps/list": Call(
        lambda c, m, t: c.actual_lrps(
            domain=m.domain,
            cell_id=m.cell_id,
            process_guid=m.process_guid,
            index=m.index if m.HasField("index") else None,
            trace_id=t,
        ),
        _models("actual_lrps", ActualLRP),
    ),
    "/v1/actual_lrps/claim": Call(
        lambda c, m, t: c.claim_actual_lrp(_key(m), _instance(m), trace_id=t),
    ),
    "/v1/actual_lrps/start.r1": Call(
        lambda c, m, t: c.start_actual_lrp(_key(m), _instance(m), _running(m), trace_id=t)
    ),
    "/v1/actual_lrps/crash": Call(
        lambda c, m, t: c.crash_actual_lrp(_key(m), _instance(m), _text(m.error_message), trace_id=t)
    ),
    "/v1/actual_lrps/fail": Call(
        lambda c, m, t: c.fail_actual_lrp(_key(m), _text(m.error_message), trace_id=t)
    ),
    "/v1/actual_lrps/remove": Call(
        lambda c, m, t: c.remove_actual_lrp(_key(m), _instance(m), trace_id=t),
    ),
    "/v1/actual_lrps/retire": Call(lambda c, m, t: c.retire_actual_lrp(_key(m), trace_id=t)),
    "/v1/actual_lrps/remove_evacuating": Call(
        lambda c, m, t: c.remove_evacuating_actual_lrp(_key(m), _instance(m), trace_id=t)
    ),
    "/v1/actual_lrps/evacuate_claimed": Call(
        lambda c, m, t: c.evacuate_claimed_actual_lrp(_key(m), _instance(m), trace_id=t),
        lambda a: a.keep_container,
    ),
    "/v1/actual_lrps/evacuate_crashed": Call(
        lambda c, m, t: c.evacuate_crashed_actual_lrp(
            _key(m), _instance(m), _text(m.error_message), trace_id=t
        ),
        lambda a: a.keep_container,
    ),
    "/v1/actual_lrps/evacuate_stopped": Call(
        lambda c, m, t: c.evacuate_stopped_actual_lrp(_key(m), _instance(m), trace_id=t),
        lambda a: a.keep_container,
    ),
    "/v1/actual_lrps/evacuate_running.r1": Call(
        lambda c, m, t: c.evacuate_running_actual_lrp(_key(m), _instance(m), _running(m), trace_id=t),
        lambda a: a.keep_container,
    ),
    "/v1/desired_lrp/desire.r2": Call(
        lambda c, m, t: c.desire_lrp(to_model(m.desired_lrp, DesiredLRP), trace_id=t)
    ),
    "/v1/desired_lrp/update": Call(
        lambda c, m, t: c.update_desired_lrp(m.process_guid, to_model(m.update, DesiredLRPUpdate), trace_id=t)
    ),
    "/v1/desired_lrp/remove": Call(lambda c, m, t: c.remove_desired_lrp(m.process_guid, trace_id=t)),
    "/v1/desired_lrps/get_by_process_guid.r3": Call(
        lambda c, m, t: c.desired_lrp(m.process_guid, trace_id=t),
        lambda a: to_model(a.desired_lrp, DesiredLRP),
    ),
    "/v1/tasks/list.r3": Call(
        lambda c, m, t: c.tasks(domain=m.domain, cell_id=m.cell_id, trace_id=t), _models("tasks", Task)
    ),
    "/v1/tasks/get_by_task_guid.r3": Call(
        lambda c, m, t: c.task(m.task_guid, trace_id=t), lambda a: to_model(a.task, Task)
    ),
    "/v1/tasks/desire.r2": Call(
        lambda c, m, t: c.desire_task(
            m.task_guid, m.domain, to_model(m.task_definition, TaskDefinition), trace_id=t
        )
    ),
    "/v1/tasks/start": Call(
        lambda c, m, t: c.start_task(m.task_guid, m.cell_id, trace_id=t), lambda a: a.should_start
    ),
    "/v1/tasks/complete": Call(
        lambda c, m, t: c.complete_task(
            m.task_guid,
            m.cell_id,
            failed=m.failed,
            failure_reason=_text(m.failure_reason),
            result=_text(m.result),
            trace_id=t,
        )
    ),
    "/v1/tasks/reject": Call(
        lambda c, m, t: c.reject_task(m.task_guid, _text(m.rejection_reason), trace_id=t)
    ),
    "/v1/tasks/cancel": Call(lambda c, m, t: c.cancel_task(m.task_guid, trace_id=t)),
    "/v1/tasks/resolving": Call(lambda c, m, t: c.resolving_task(m.task_guid, trace_id=t)),
    "/v1/tasks/delete": Call(lambda c, m, t: c.delete_task(m.task_guid, trace_id=t)),
}
"""What rep, auctioneer and cfdot called in the recordings."""

BROKEN = "http/malformed-body"
"""A request that is no message, on purpose."""

GO_PROGRAMS = ("rep", "auctioneer", "cfdot")


def message_of(exchange: Exchange) -> Message:
    return decode(message_class(exchange.message), exchange.body) if exchange.message else Empty()


def answer_of(exchange: Exchange) -> Any:
    return decode(message_class(exchange.answer_message), exchange.answer)


def answer_as_recorded(server: ScriptedServer, exchange: Exchange) -> None:
    server.answer(exchange.answer, status=exchange.status, media_type=exchange.answer_headers["Content-Type"])


def said_as_recorded(server: ScriptedServer, exchange: Exchange) -> None:
    """Fields, headers and length of the last request are the recorded ones; map entries may be reordered."""
    asked = server.requests[-1]
    expected = message_of(exchange)
    # cfdot was given empty documents as well; we never leave these out
    if isinstance(expected, DesireLRPRequest):
        expected.desired_lrp.routes.SetInParent()
    if isinstance(expected, DesireTaskRequest):
        expected.task_definition.SetInParent()
    assert (asked.method, asked.path) == (exchange.method, exchange.path), exchange.name
    for name in ("Content-Type", "X-Vcap-Request-Id"):
        assert asked.headers[name] == exchange.headers[name], exchange.name
    assert decode(type(expected), asked.body) == expected, exchange.name
    assert len(asked.body) == len(encode(expected)), exchange.name
    assert asked.headers["Content-Length"] == str(len(asked.body)), exchange.name


@pytest.mark.captures("bbs")
async def test_our_calls_are_the_recorded_ones(capture: Capture, server: ScriptedServer) -> None:
    async with HTTPBBSClient(server.url, policy=ONCE) as client:
        for exchange in capture.exchanges:
            if exchange.sender not in GO_PROGRAMS or exchange.path in UNUSED:
                continue
            call, answer = CALLS[exchange.path], answer_of(exchange)
            answer_as_recorded(server, exchange)
            made = call.make(client, message_of(exchange), exchange.headers["X-Vcap-Request-Id"])
            if answer.HasField("error"):
                with pytest.raises(BBSError) as refused:
                    await made
                assert refused.value == error_to_model(answer.error), exchange.name
            else:
                assert await made == call.understood(answer), exchange.name
            said_as_recorded(server, exchange)


@pytest.mark.parametrize("transport", [PooledTransport, OneShotTransport])
@pytest.mark.captures("bbs")
async def test_every_recorded_answer_is_understood(
    capture: Capture, transport: type[Transport], server: ScriptedServer
) -> None:
    """Also those to requests that no client of ours makes; what is no answer of a BBS is an error."""
    async with transport(server.url, None, ONCE) as way:
        for exchange in capture.exchanges:
            answer_as_recorded(server, exchange)
            message = message_of(exchange) if exchange.name != BROKEN else Empty()
            answer = message_class(exchange.answer_message) if exchange.answer_message else Empty
            call = way.call(Route(exchange.path, type(message), answer), message)
            if exchange.answer_headers["Content-Type"] == "application/x-protobuf":
                assert await call == decode(answer, exchange.answer), exchange.name
            else:
                with pytest.raises(UnansweredError, match=str(exchange.status)):
                    await call


def test_every_call_of_the_go_programs_is_among_ours(recorded_servers: dict[str, list[Capture]]) -> None:
    called = {
        exchange.path
        for capture in recorded_servers["bbs"]
        for exchange in capture.exchanges
        if exchange.sender in GO_PROGRAMS
    }
    assert called <= CALLS.keys() | UNUSED
    assert len(called) > 25
