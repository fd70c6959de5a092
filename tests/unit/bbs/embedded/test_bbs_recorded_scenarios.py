"""Replay of recorded scenarios with the embedded BBS.

Its clients ask what was asked, in the recorded order and at the recorded times; answers, auctions and calls
to cells have to mean what was recorded. Where the recording waited for a round of convergence, there is one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient
from google.protobuf.json_format import MessageToDict

from bbs.embedded.calls.startrequests import lrp_start_requests
from bbs.embedded.decisions.lrps import Outcome
from bbs.embedded.store.tables import Tables
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, RunningData
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task
from bbs.wire.mapping import to_model
from bbs.wire.messages import message_class
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.support.captures import Exchange
    from tests.unit.bbs.embedded.conftest import World

pytestmark = pytest.mark.unit

SCENARIOS = GOLDEN_FILES / "wire" / "scenarios"
PRESENCES = SCENARIOS.parent / "locket" / "presence-values.json"

STORIES = {
    "web": (
        "lrp-start",
        "lrp-bulk-pass",
        "lrp-scale-up",
        "lrp-update-routes",
        "lrp-update-metric-tags",
        "lrp-bulk-pass-after-update",
        "lrp-scale-down",
        "lrp-retire",
        "lrp-delete",
    ),
    "crash": ("lrp-crash", "lrp-crash-restart-by-convergence", "lrp-delete-crashed"),
    "busy": (
        "lrp-claimed-bulk-pass",
        "lrp-claim-refused",
        "lrp-start-refused",
        "lrp-stop-before-healthy",
    ),
    "task": ("task-success", "task-resolve-delete"),
    "evacuation": ("evacuation-setup", "evacuation"),
}
"""Scenarios that go on where another one ended."""

Unrecorded = Callable[["World"], Awaitable[object]]


def crash(process_guid: str, index: int, guid: str, cell_id: str, reason: str) -> Unrecorded:
    key = ActualLRPKey(process_guid=process_guid, index=index, domain="golden")
    instance = ActualLRPInstanceKey(instance_guid=guid, cell_id=cell_id)
    return lambda world: world.bbs.controllers.lrps.crash(key, instance, reason)


def remove(process_guid: str, index: int) -> Unrecorded:
    return lambda world: world.bbs.controllers.lrps.remove(process_guid, index, None)


REPLACEMENT = ActualLRPInstanceKey(instance_guid="replacement", cell_id="cell-ref-0")


def claim_elsewhere(process_guid: str) -> Unrecorded:
    return lambda world: world.bbs.controllers.lrps.claim(process_guid, 1, REPLACEMENT)


def start_elsewhere(process_guid: str) -> Unrecorded:
    key = ActualLRPKey(process_guid=process_guid, index=1, domain="golden")
    data = RunningData(net_info=ActualLRPNetInfo(address="10.9.9.9"))
    return lambda world: world.bbs.controllers.lrps.start(key, REPLACEMENT, data)


BEHIND_THE_SCENES: dict[tuple[str, float], Unrecorded] = {
    ("lrp-start-refused", 0.043): crash(
        "golden-busy", 0, "a9b27415-f8ce-437c-5fe2-e783", "cell-ref-0", "taken away"
    ),
    ("lrp-dependency-404", 15.94): remove("golden-log-dependency-404", 0),
    ("evacuation", 2.39): claim_elsewhere("golden-evac-stop"),
    ("evacuation", 10.072): start_elsewhere("golden-evac-run"),
    ("evacuation", 20.082): start_elsewhere("golden-evac-slow"),
    ("evacuation", 20.083): remove("golden-evac-stop", 1),
}
"""What others did shortly before an exchange, which the recording only shows by its effect."""

FOLLOWERS = {name for story in STORIES.values() for name in story}
EVERYTHING = [
    *STORIES.values(),
    *((path.stem,) for path in sorted(SCENARIOS.glob("*.json")) if path.stem not in FOLLOWERS),
]
RANDOM = {"since", "epoch", "created_at", "updated_at", "first_completed_at", "host_port"}
DESIRE, GET_LRP = "/v1/desired_lrp/desire.r2", "/v1/desired_lrps/get_by_process_guid.r3"
LIST_LRPS, LIST_TASKS, AUCTION_LRPS = "/v1/actual_lrps/list", "/v1/tasks/list.r3", "/v1/lrps"
DESIRE_TASK, GET_TASK = "/v1/tasks/desire.r2", "/v1/tasks/get_by_task_guid.r3"
CONVERGED_AFTER_S = 31
ROUNDS = 4


@pytest.fixture(params=["plain HTTP", "mutual TLS"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "*" if key in RANDOM and item else masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((masked(item) for item in value), key=json.dumps)
    return value


def meaning(message: Any) -> dict[str, Any]:
    """Values by their path: a difference then shows as the few lines that differ."""
    return dict(_leaves("", masked(MessageToDict(message, preserving_proto_field_name=True))))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}", item)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _leaves(f"{path}[{position}]", item)
    else:
        yield path, value


def read(name: str, body: bytes) -> Any:
    return message_class(name).FromString(body)


class Beginning:
    """The state before the recording, as far as the recording shows it."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.lrps: dict[str, DesiredLRP] = {}
        self.rows: dict[tuple[str, int, int], ActualLRP] = {}
        self.tasks: dict[str, Task] = {}
        self.cells = next(
            (
                {cell.cell_id for cell in read("CellsResponse", exchange.answer).cells}
                for exchange in exchanges
                if exchange.path == "/v1/cells/list.r1"
            ),
            {"cell-ref-0", "cell-ref-1"},
        )
        self._born: set[str] = set()
        self._read: set[str] = set()
        self._touched: set[str] = set()
        for exchange in exchanges:
            self._look(exchange)

    def _look(self, exchange: Exchange) -> None:
        path = exchange.path
        if path == DESIRE:
            self._born.add(read(exchange.message, exchange.body).desired_lrp.process_guid)
        elif path == DESIRE_TASK:
            self._born.add(read(exchange.message, exchange.body).task_guid)
        elif path == GET_LRP:
            self._wanted(to_model(read(exchange.answer_message, exchange.answer).desired_lrp, DesiredLRP))
        elif path == AUCTION_LRPS and exchange.server == "auctioneer":
            self._auctioned(exchange)
        elif path == LIST_LRPS:
            rows = [
                to_model(row, ActualLRP) for row in read("ActualLRPsResponse", exchange.answer).actual_lrps
            ]
            for row in rows:
                self._found(row)
            self._touched |= {row.actual_lrp_key.process_guid for row in rows}
        elif path == LIST_TASKS:
            for task in read("TasksResponse", exchange.answer).tasks:
                self._listed(to_model(task, Task))
        elif path.startswith("/v1/actual_lrps/") and exchange.server == "bbs":
            message = read(exchange.message, exchange.body)
            key = getattr(message, "actual_lrp_key", message)
            self._touched.add(key.process_guid)

    def _wanted(self, lrp: DesiredLRP) -> None:
        guid = lrp.process_guid
        if guid not in self._born and guid not in self._read:
            self._read.add(guid)
            self.lrps[guid] = lrp  # over the result of an auction

    def _auctioned(self, exchange: Exchange) -> None:
        for request in lrp_start_requests(exchange.body):
            if request.process_guid not in self._born | self.lrps.keys():
                demand = request.demand
                self.lrps[request.process_guid] = DesiredLRP(
                    process_guid=request.process_guid,
                    domain=request.domain,
                    root_fs=demand.root_fs,
                    instances=max(request.indices) + 1,
                    action=RunAction(path="true", user="vcap"),
                    placement_tags=demand.placement_tags or (),
                    memory_mb=demand.memory_mb,
                    disk_mb=demand.disk_mb,
                    max_pids=demand.max_pids,
                )

    def _found(self, row: ActualLRP) -> None:
        key = row.actual_lrp_key
        if key.process_guid not in self._born | self._touched:
            self.rows[key.process_guid, key.index, int(row.presence)] = row

    def _listed(self, task: Task) -> None:
        if task.task_guid not in self._born:
            self.tasks.setdefault(task.task_guid, task)

    def write(self, tables: Tables, now: int) -> None:
        for lrp in self.lrps.values():
            tables.insert_desired_lrp(lrp, "")
        for row in self.rows.values():
            key = row.actual_lrp_key
            if tables.find_desired_lrp(key.process_guid) is None:
                tables.insert_desired_lrp(_minimal(key), "")
            before = tables.rows(row.actual_lrp_key.process_guid, row.actual_lrp_key.index)
            tables.apply(before, Outcome(after=before.with_row(replace(row, since=now))))
        for task in self.tasks.values():
            tables.insert_task(replace(task, created_at=now, updated_at=now))


def _minimal(key: ActualLRPKey) -> DesiredLRP:
    return DesiredLRP(
        process_guid=key.process_guid,
        domain=key.domain,
        root_fs="preloaded:cflinuxfs4",
        instances=key.index + 1,
        action=RunAction(path="true", user="vcap"),
    )


class Play:
    """The BBS in the place of the recorded one."""

    def __init__(self, world: World, http: TestClient[Any, Any]) -> None:
        self._world = world
        self._http = http

    async def step(self, exchange: Exchange) -> None:
        """One recorded exchange: made, if a client began it; expected, if the BBS did."""
        match exchange.sender, exchange.server:
            case _, "bbs":
                await self._ask(exchange)
            case "bbs", "auctioneer":
                await self._expect(exchange, _auctions(exchange), self._auctions)
            case "bbs", "rep":
                await self._expect(exchange, [_rep_call(exchange)], self._rep_calls)
            case "rep", "locket" if exchange.path.endswith("/Release"):
                await self._world.unregister(exchange.cell)
            case _:
                pass  # between others

    async def _ask(self, exchange: Exchange) -> None:
        trace = {"X-Vcap-Request-Id": exchange.headers["X-Vcap-Request-Id"]}
        async with self._http.post(exchange.path, data=exchange.body, headers=trace) as answer:
            body = await answer.read()
        assert answer.status == exchange.status
        assert answer.content_type == exchange.answer_headers["Content-Type"]
        said, expected = read(exchange.answer_message, body), read(exchange.answer_message, exchange.answer)
        about = f"{exchange.t} {exchange.path}"
        assert meaning(said) == meaning(expected), about
        await self._world.bbs.settled()

    async def _expect(self, exchange: Exchange, expected: list[Any], made: Callable[[], list[Any]]) -> None:
        """The BBS does this by itself: it has by now, or does in its next rounds of convergence."""
        for _ in range(ROUNDS):
            calls = made()
            if all(call in calls for call in expected):
                for call in expected:
                    self._forget(exchange, call)
                return
            await self._world.converge()
            self._world.clock.advance(CONVERGED_AFTER_S)
        pytest.fail(f"{exchange.t} {exchange.path}: expected {expected}, had {made()}")

    def _auctions(self) -> list[Any]:
        found = [_auction(request.to_json(), trace) for request, trace in self._world.auctioneer.lrps]
        found += [[request.to_json()] for request in self._world.auctioneer.tasks]
        return [entry for entries in found for entry in entries]

    def _rep_calls(self) -> list[Any]:
        return [_what_it_says(call) for call in self._world.reps.calls]

    def _forget(self, exchange: Exchange, call: Any) -> None:
        """Each call is expected once."""
        world = self._world
        if exchange.server == "rep":
            del world.reps.calls[self._rep_calls().index(call)]
        elif "TaskGuid" in call:
            world.auctioneer.tasks = [
                request for request in world.auctioneer.tasks if request.to_json() != call
            ]
        else:
            world.auctioneer.lrps = [
                (request, trace)
                for request, trace in world.auctioneer.lrps
                if call not in _auction(request.to_json(), trace)
            ]


def _auctions(exchange: Exchange) -> list[Any]:
    trace = exchange.headers["X-Vcap-Request-Id"]
    found: list[Any] = []
    for request in json.loads(exchange.body):
        found += [request] if "TaskGuid" in request else _auction(request, trace)
    return found


def _auction(request: dict[str, Any], trace: str) -> list[Any]:
    """One entry per index: how they are grouped into requests is not fixed."""
    return [{**request, "indices": [index], "trace": trace} for index in request["indices"]]


def _rep_call(exchange: Exchange) -> tuple[Any, ...]:
    if exchange.method == "PUT":
        body = json.loads(exchange.body)
        routes = body["internal_routes"]
        names = None if routes is None else [route["hostname"] for route in routes]
        return "update", body["instance_guid"], names, body["metric_tags"]
    path = exchange.path.split("/")
    return ("cancel", path[-2]) if path[-1] == "cancel" else ("stop", path[-2])


def _what_it_says(call: tuple[Any, ...]) -> tuple[Any, ...]:
    return call if call[0] == "update" else (call[0], call[2])


def _without_recorded_cause(exchange: Exchange) -> bool:
    """What a BBS did because of what happened before the recording."""
    return exchange.sender in ("bbs", "auctioneer")


@pytest.mark.parametrize("story", EVERYTHING, ids=lambda story: story[0])
async def test_a_recorded_sequence(
    story: tuple[str, ...],
    world: World,
    http: TestClient[Any, Any],
    recorded: Callable[[str], list[Exchange]],
) -> None:
    chapters = [recorded(f"scenarios/{name}") for name in story]
    beginning = Beginning([exchange for chapter in chapters for exchange in chapter])
    for presence in json.loads(PRESENCES.read_text()).values():
        if presence["cell_id"] in beginning.cells:
            await world.register_presence(presence)
    await world.bbs.controllers.deps.store.run(lambda tables: beginning.write(tables, world.clock.wall()))
    await world.freshen("golden")
    play = Play(world, http)
    chapters[0] = list(itertools.dropwhile(_without_recorded_cause, chapters[0]))
    for name, chapter in zip(story, chapters, strict=True):
        now = 0.0
        for exchange in chapter:
            if (name, exchange.t) in BEHIND_THE_SCENES:
                await BEHIND_THE_SCENES[name, exchange.t](world)
            world.clock.advance(exchange.t - now)
            now = exchange.t
            await play.step(exchange)
