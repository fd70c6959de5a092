"""Trace ids in the rep's log, compared with those of requests."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from bbs.client.api import BBSClient
from bbs.models.errors import BBSError, ErrorType
from bbs.tracing import TraceFilter, trace_in, traced
from cell.assembly.lagerlog import LagerFormatter
from executor.model import Container
from rep.config import RepConfig
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestMetrics
from rep.reconcile.batch import ContainerOperation
from rep.reconcile.processor import Cell, Processor
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder
from rep.server import NetworkRoutes, listening
from rep.state import CellIdentity
from tests.support.outcomes import courier_for, idle_courier
from tests.support.rep_doubles import lrp_container

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor, ScriptedBBS

pytestmark = pytest.mark.unit

REQUEST_ID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
TRACE = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SAID = f'"trace-id":"{TRACE}"'


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What stands in the component's log, as it stands there."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(TraceFilter())
    handler.setFormatter(LagerFormatter("rep"))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize(
    ("request_id", "trace"),
    [
        (REQUEST_ID, TRACE),
        (TRACE, TRACE),
        ("", ""),
        ("-", ""),
        (TRACE.upper(), ""),
        (TRACE[:-1], ""),
        (TRACE + "0", ""),
        ("0" * 32, ""),
        ("g" * 32, ""),
        ("\ufffd" * 32, ""),
    ],
)
def test_what_is_a_trace_id(request_id: str, trace: str) -> None:
    assert trace_in(request_id) == trace


def test_an_entry_names_the_request_it_belongs_to(log: io.StringIO) -> None:
    with traced(REQUEST_ID):
        logging.getLogger("rep").info("inner", extra={"data": {"guid": "g"}})
        with traced(""):
            logging.getLogger("rep").info("none")
    logging.getLogger("rep").info("outer")
    inner, none, outer = log.getvalue().splitlines()
    data: dict[str, Any] = json.loads(inner)["data"]
    assert SAID in inner
    assert (data["guid"], len(data["span-id"])) == ("g", 16)
    assert "trace-id" not in none + outer


@pytest.fixture
async def url(executor: FakeExecutor) -> AsyncIterator[str]:
    identity = CellIdentity(config=RepConfig(cell_id="cell-1"), rep_url="", stacks=StackMap({}))
    deletions = Deletions(executor, Removals())
    routes = NetworkRoutes(
        identity, executor, EvacuationFlag(), deletions, RequestMetrics(), idle_courier().ledger
    )
    async with deletions.open(), listening(routes.application(), "127.0.0.1:0", None) as address:
        yield f"http://127.0.0.1:{address.port}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/work", 200),
        ("POST", "/v1/lrps/web/instances/ig/stop", 500),
        ("PUT", "/v2/lrps/web/instances/ig", 500),
        ("POST", "/v1/tasks/t/cancel", 202),
    ],
)
async def test_a_request_that_changes_something_is_logged_with_its_trace(
    url: str, log: io.StringIO, method: str, path: str, status: int
) -> None:
    """Peers search for the trace id in the rep's log, and found none."""
    async with (
        aiohttp.ClientSession(headers={"X-Vcap-Request-Id": REQUEST_ID}) as session,
        session.request(method, url + path, data=b"{}") as answer,
    ):
        assert answer.status == status
    served = [line for line in log.getvalue().splitlines() if "request.served" in line]
    assert len(served) == 1
    assert SAID in served[0]
    data: dict[str, Any] = json.loads(served[0])["data"]
    assert (data["method"], data["request"], data["status"]) == (method, path, status)


async def test_what_a_request_leads_to_is_logged_with_its_trace(
    executor: FakeExecutor, bbs: ScriptedBBS, log: io.StringIO
) -> None:
    container: Container = lrp_container()
    executor.put(container)
    bbs.answers["claim_actual_lrp"] = [BBSError(ErrorType.Timeout)]
    processor = Processor(
        Cell(cell_id="cell-1"),
        executor,
        cast(BBSClient, bbs),
        RunRequestBuilder(stacks=StackMap({})),
        cast(Any, None),
        Removals(),
        courier_for(bbs),
    )
    await processor.execute(ContainerOperation(container.guid, REQUEST_ID))
    (line,) = log.getvalue().splitlines()
    assert "bbs-call-failed" in line
    assert SAID in line
