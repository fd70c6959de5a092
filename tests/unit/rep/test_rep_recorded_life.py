"""Recorded reports of a cell to a BBS: the same containers lead to the same requests.

A small server answers as the recorded BBS did, the real client and processor talk to it. The lives of
the containers are read from the recorded requests themselves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from google.protobuf.message import Message

from bbs.client.http import HTTPBBSClient
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from bbs.wire.messages import message_class
from executor.model import (
    Container,
    ContainerState,
    MetricsConfig,
    PortMapping,
    RunInfo,
    RunResult,
)
from rep import tags
from rep.ecr import RegistryCredentials
from rep.evacuation import EvacuationFlag
from rep.metrics import NoMetrics
from rep.reconcile.batch import ContainerOperation, Operation, ResidualLRP, ResidualTask
from rep.reconcile.bulk import Bulker
from rep.reconcile.processor import Cell, Processor
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder
from rep.server import listening
from tests.support.outcomes import courier_for
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "scenarios"
CELL = "cell-ref-0"
ZONES = {"cell-ref-0": "z1", "cell-ref-1": "z2"}
LOST = {"6a015ef3-b171-4352-5a4c-9fac"}
"""Instances whose container did not survive a kill of their cell."""
S = ContainerState


@dataclass(frozen=True)
class Call:
    """One request of the rep; ``answer`` as recorded."""

    path: str
    message: Any
    trace_id: str
    answer: bytes = b""
    cell: str = CELL

    @property
    def said(self) -> tuple[str, Message, str]:
        return self.path, self.message, self.trace_id

    @property
    def guid(self) -> str:
        """Of the container it is about; the fetch of a DesiredLRP names none."""
        if "tasks" in self.path:
            return str(getattr(self.message, "task_guid", ""))
        key = getattr(self.message, "actual_lrp_instance_key", None)
        return key.instance_guid if key else ""


def text(value: str | bytes) -> str:
    """Fields that may hold anything are bytes on our side of the wire."""
    return value.decode() if isinstance(value, bytes) else value


def read_calls(scenario: str) -> list[Call]:
    records = json.loads((GOLDEN / f"{scenario}.json").read_text())["records"]
    calls = []
    for record in records:
        request = record["request"]
        if (record["from"], record["to"]) != ("rep", "bbs"):
            continue
        message = message_class(request["message"])()
        message.ParseFromString(base64.b64decode(request["body_base64"]))
        headers = dict(request["headers"])
        answer = base64.b64decode(record["response"]["body_base64"])
        trace_id = headers["X-Vcap-Request-Id"]
        calls.append(Call(request["path"], message, trace_id, answer, record.get("cell") or CELL))
    return calls


def lives_of(scenario: str) -> list[Call]:
    """The rep's reports about containers, without the lists of bulk passes."""
    return [call for call in read_calls(scenario) if "/list" not in call.path]


RESIDUALS = "residual"
SEVERAL_AT_ONCE = {"auction-three-instances"}
"""Recordings of lives beside each other, whose order among each other is chance."""

SCENARIOS = [
    path.stem for path in sorted(GOLDEN.glob("*.json")) if path.stem != RESIDUALS and lives_of(path.stem)
]


class RecordedBBS:
    """Answers each path in the recorded order, and remembers what was said."""

    def __init__(self, calls: list[Call]) -> None:
        self.left = list(calls)
        self.said: list[tuple[str, Message, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        call = next(call for call in self.left if call.path == request.path)
        self.left.remove(call)
        message = type(call.message)()
        message.ParseFromString(await request.read())
        self.said.append((request.path, message, request.headers["X-Vcap-Request-Id"]))
        return web.Response(body=call.answer, content_type="application/x-protobuf")

    @asynccontextmanager
    async def client(self) -> AsyncIterator[HTTPBBSClient]:
        application = web.Application()
        application.router.add_post("/{path:.*}", self.answer)
        async with (
            listening(application, "127.0.0.1:0", None) as address,
            HTTPBBSClient(f"http://{address.host}:{address.port}") as client,
        ):
            yield client


class Lives:
    """Makes containers be what a recorded request says they were."""

    def __init__(self, calls: list[Call], executor: FakeExecutor) -> None:
        self._calls = calls
        self._executor = executor
        self._domains = {
            call.guid: call.message.actual_lrp_key.domain
            for call in calls
            if hasattr(call.message, "actual_lrp_key")
        }

    def operation(self, position: int) -> Operation | None:
        """What made the rep send this request; None when an earlier operation did."""
        call = self._calls[position]
        path = call.path.removeprefix("/v1/")
        reason = text(call.message.failure_reason) if path == "tasks/complete" else ""
        if "get_by" in path or reason == "invalid state transition":
            return None
        if reason == "task container does not exist":
            return ResidualTask(call.guid)
        if path == "actual_lrps/remove" and call.guid in LOST:
            return self._residual(call)
        if not path.startswith("tasks/"):
            self._put(call, *self._lrp(path, call))
            return ContainerOperation(call.guid, call.trace_id)
        if path == "tasks/start":
            # started again while it runs: a bulk pass, or the running event
            again = call.guid in self._executor.store
            self._put(call, S.RUNNING if again else S.RESERVED, {})
        else:
            self._put(call, S.COMPLETED, {"run_result": self._task_result(path, call)})
        return ContainerOperation(call.guid, call.trace_id)

    def _lrp(self, path: str, call: Call) -> tuple[ContainerState, dict[str, Any]]:
        message = call.message
        match path:
            case "actual_lrps/claim":
                return (S.RESERVED if self._runs_next(call) else S.CREATED), {}
            case "actual_lrps/evacuate_claimed":
                return S.CREATED, {}
            case "actual_lrps/crash" | "actual_lrps/evacuate_crashed":
                return S.COMPLETED, {
                    "run_result": RunResult(failed=True, failure_reason=text(message.error_message))
                }
            case "actual_lrps/remove" | "actual_lrps/evacuate_stopped":
                return S.COMPLETED, {"run_result": RunResult(stopped=True)}
        assert path in ("actual_lrps/start.r1", "actual_lrps/evacuate_running.r1")
        net = message.actual_lrp_net_info
        return S.RUNNING, {
            "external_ip": net.address,
            "internal_ip": net.instance_address,
            "ports": tuple(
                PortMapping(container_port=port.container_port, host_port=port.host_port)
                for port in net.ports
            ),
            "routable": message.Routable,
            "run_info": RunInfo(
                internal_routes=tuple(route.hostname for route in message.actual_lrp_internal_routes),
                metrics_config=MetricsConfig(tags=dict(message.metric_tags)),
            ),
        }

    def _runs_next(self, call: Call) -> bool:
        """A refused claim is one of a reservation; a granted one is, if its workload is fetched then."""
        later = self._calls[self._calls.index(call) + 1 :]
        fetched = any(
            "desired_lrps/get_by" in other.path and other.message.process_guid == call.message.process_guid
            for other in later
        )
        return bool(call.answer) or fetched

    def _residual(self, call: Call) -> ResidualLRP:
        self._executor.store.pop(call.guid, None)
        key = getattr(call.message, "actual_lrp_key", call.message)
        lrp = ActualLRPKey(process_guid=key.process_guid, index=key.index, domain="golden")
        instance = ActualLRPInstanceKey(instance_guid=call.guid, cell_id=call.cell)
        record = ActualLRP(actual_lrp_key=lrp, actual_lrp_instance_key=instance)
        return ResidualLRP(call.guid, instance=record)

    def _task_result(self, path: str, call: Call) -> RunResult:
        if path == "tasks/reject":
            return RunResult(failed=True, failure_reason=text(call.message.rejection_reason), retryable=True)
        known = self._executor.store.setdefault(call.guid, self._reserved(call))
        result_file = known.tags.get(tags.RESULT_FILE, "")
        if text(call.message.failure_reason) == "failed to fetch result":
            self._executor.files[result_file] = bytes(51201)
            return RunResult()
        if result_file and call.message.result:
            self._executor.files[result_file] = text(call.message.result).encode()
        return RunResult(failed=call.message.failed, failure_reason=text(call.message.failure_reason))

    def _put(self, call: Call, state: ContainerState, values: dict[str, Any]) -> None:
        container = self._executor.store.get(call.guid) or self._reserved(call)
        self._executor.put(replace(container, state=state, **values))

    def _reserved(self, call: Call) -> Container:
        if "tasks" in call.path:
            described = tags.task_tags("golden", None, None)
            if any(
                other.guid == call.guid and getattr(other.message, "result", b"") for other in self._calls
            ):
                described[tags.RESULT_FILE] = "/result"  # unless its definition, fetched later, names another
            return Container(guid=call.guid, tags=described)
        key = getattr(call.message, "actual_lrp_key", call.message)
        domain = self._domains.get(call.guid, "golden")
        lrp = ActualLRPKey(process_guid=key.process_guid, index=key.index, domain=domain)
        return Container(guid=call.guid, tags=tags.lrp_tags(lrp, call.guid, None, None))


def processor(
    executor: FakeExecutor, client: HTTPBBSClient, cell_id: str = CELL, *, evacuating: bool = False
) -> Processor:
    return Processor(
        Cell(cell_id=cell_id, zone=ZONES[cell_id], evacuating=lambda: evacuating),
        executor,
        client,
        RunRequestBuilder(stacks=StackMap({"cflinuxfs4": "/stacks/cflinuxfs4.tar"})),
        RegistryCredentials(),
        Removals(),
        courier_for(client, cell_id),
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_recorded_life(executor: FakeExecutor, scenario: str) -> None:
    calls = lives_of(scenario)
    server, lives = RecordedBBS(calls), Lives(calls, executor)
    async with server.client() as client:
        for position, call in enumerate(calls):
            operation = lives.operation(position)
            if operation is not None:
                evacuating = "/evacuate_" in call.path
                await processor(executor, client, call.cell, evacuating=evacuating).execute(operation)
    expected = [call.said for call in calls]
    assert in_any_order(server.said) == in_any_order(expected)
    if scenario not in SEVERAL_AT_ONCE:
        assert server.said == expected


def in_any_order(said: list[tuple[str, Message, str]]) -> list[str]:
    return sorted(f"{path} {trace_id} {message}" for path, message, trace_id in said)


async def test_a_recorded_bulk_pass_over_residuals(executor: FakeExecutor) -> None:
    calls = read_calls(RESIDUALS)
    server = RecordedBBS(calls)
    operations: list[Operation] = []
    async with server.client() as client:
        bulker = Bulker(
            CELL,
            executor,
            client,
            operations.append,
            EvacuationFlag(),
            NoMetrics(),
            interval_s=30,
            evacuation_interval_s=10,
        )
        await bulker.sync()
        for operation in operations:
            await processor(executor, client).execute(operation)

    assert in_any_order(server.said) == in_any_order([call.said for call in calls])
