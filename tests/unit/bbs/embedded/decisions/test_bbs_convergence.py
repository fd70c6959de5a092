"""Convergence: its decision tables, and their execution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bbs.embedded.decisions.convergence import (
    CELL_DISAPPEARED,
    NOT_STARTED,
    IndexPlan,
    TaskAction,
    World,
    plan_index,
    plan_task,
)
from bbs.embedded.decisions.rows import CLAIMED, CRASHED, RUNNING, UNCLAIMED, Rows
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    Presence,
    RunningData,
)
from bbs.models.common import ModificationTag
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskDefinition, TaskState

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
NOW = 100_000 * SECOND
KEY = ActualLRPKey(process_guid="web", index=0, domain="apps")
HERE = World(cells={"c1"}, fresh_domains={"apps"}, now=NOW)
STALE = replace(HERE, fresh_domains=set())
LOST = replace(HERE, cells=set())


def row(
    state: str,
    presence: Presence = Presence.ORDINARY,
    *,
    cell: str = "c1",
    age_s: int = 1,
    crash_count: int = 0,
    metric_tags: dict[str, str] | None = None,
) -> ActualLRP:
    on_cell = state in (CLAIMED, RUNNING)
    return ActualLRP(
        actual_lrp_key=KEY,
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid=f"i-{presence.name}", cell_id=cell)
        if on_cell
        else ActualLRPInstanceKey(),
        state=state,
        since=NOW - age_s * SECOND,
        presence=presence,
        crash_count=crash_count,
        metric_tags={"source_id": "web"} if metric_tags is None else metric_tags,
        modification_tag=ModificationTag(epoch="e"),
    )


def rows(*found: ActualLRP) -> Rows:
    result = Rows()
    for one in found:
        result = result.with_row(one)
    return result


SUSPECT, EVACUATING = Presence.SUSPECT, Presence.EVACUATING

TABLE: list[tuple[str, Rows, bool, World, list[str], set[str]]] = [
    ("healthy", rows(row(RUNNING)), True, HERE, ["ORDINARY RUNNING"], set()),
    ("no row", Rows(), True, HERE, ["ORDINARY UNCLAIMED"], {"auction"}),
    ("no row, nobody wants it", Rows(), False, HERE, [], set()),
    ("waiting", rows(row(UNCLAIMED, age_s=30)), True, HERE, ["ORDINARY UNCLAIMED"], set()),
    ("waiting long", rows(row(UNCLAIMED, age_s=31)), True, HERE, ["ORDINARY UNCLAIMED"], {"auction"}),
    ("crashed", rows(row(CRASHED, age_s=30, crash_count=3)), True, HERE, ["ORDINARY CRASHED"], set()),
    (
        "crashed, wait over",
        rows(row(CRASHED, age_s=31, crash_count=3)),
        True,
        HERE,
        ["ORDINARY UNCLAIMED"],
        {"auction"},
    ),
    ("unwanted", rows(row(RUNNING)), False, HERE, ["ORDINARY RUNNING"], {"retire"}),
    ("unwanted, nobody vouches", rows(row(RUNNING)), False, STALE, ["ORDINARY RUNNING"], set()),
    ("unwanted and waiting", rows(row(UNCLAIMED)), False, HERE, ["ORDINARY UNCLAIMED"], {"retire"}),
    (
        "cell lost",
        rows(row(RUNNING)),
        True,
        LOST,
        ["ORDINARY UNCLAIMED", "SUSPECT RUNNING"],
        {"auction"},
    ),
    (
        "cell lost while claimed",
        rows(row(CLAIMED)),
        True,
        LOST,
        ["ORDINARY UNCLAIMED", "SUSPECT CLAIMED"],
        {"auction"},
    ),
    (
        "replacement's cell lost too",
        rows(row(CLAIMED), row(RUNNING, SUSPECT)),
        True,
        LOST,
        ["ORDINARY UNCLAIMED", "SUSPECT RUNNING"],
        set(),
    ),
    (
        "cell came back",
        rows(row(UNCLAIMED), row(RUNNING, SUSPECT)),
        True,
        HERE,
        ["ORDINARY RUNNING"],
        set(),
    ),
    (
        "replacement runs",
        rows(row(RUNNING), row(RUNNING, SUSPECT, cell="c2")),
        True,
        HERE,
        ["ORDINARY RUNNING"],
        set(),
    ),
    ("suspect nobody wants", rows(row(RUNNING, SUSPECT, cell="c2")), False, HERE, [], set()),
    (
        "suspect nobody vouches for",
        rows(row(RUNNING, SUSPECT, cell="c2")),
        False,
        STALE,
        ["SUSPECT RUNNING"],
        set(),
    ),
    ("evacuating", rows(row(RUNNING), row(RUNNING, EVACUATING)), True, HERE, 2 * [""], set()),
    (
        "evacuating cell gone",
        rows(row(RUNNING), row(RUNNING, EVACUATING, cell="c2")),
        True,
        HERE,
        ["ORDINARY RUNNING"],
        set(),
    ),
    (
        "tags differ",
        rows(row(RUNNING, metric_tags={"source_id": "old"})),
        True,
        HERE,
        ["ORDINARY RUNNING"],
        {"update_tags"},
    ),
    (
        "tags of an instance that does not run are old news",
        rows(row(CLAIMED, metric_tags={"source_id": "old"})),
        True,
        HERE,
        ["ORDINARY CLAIMED"],
        set(),
    ),
]


@pytest.mark.parametrize(
    ("_", "found", "wanted", "around", "states", "todo"), TABLE, ids=[r[0] for r in TABLE]
)
def test_plan_for_an_index(
    _: str, found: Rows, wanted: bool, around: World, states: list[str], todo: set[str], web_lrp: DesiredLRP
) -> None:
    plan: IndexPlan = plan_index(KEY, found, web_lrp if wanted else None, around)
    after = plan.outcomes[-1].after if plan.outcomes else found
    if "" in states:
        assert after == found
    else:
        assert [f"{r.presence.name} {r.state}" for r in after] == states
    asked = {name for name in ("auction", "retire", "update_routes", "update_tags") if getattr(plan, name)}
    assert asked == todo


def test_surplus_index_is_retired(web_lrp: DesiredLRP) -> None:
    assert plan_index(KEY, rows(row(RUNNING)), replace(web_lrp, instances=0), HERE).retire


def task(state: TaskState, *, created: int = 0, updated: int = 0, completed: int = 0) -> Task:
    """Ages in seconds."""
    return Task(
        task_definition=TaskDefinition(),
        task_guid="t",
        state=state,
        cell_id="c1" if state == TaskState.Running else "",
        created_at=NOW - created * SECOND,
        updated_at=NOW - updated * SECOND,
        first_completed_at=NOW - completed * SECOND,
    )


T, A = TaskState, TaskAction


@pytest.mark.parametrize(
    ("before", "around", "state", "reason", "action"),
    [
        (task(T.Pending, created=1800), HERE, T.Pending, "", A.AUCTION),
        (task(T.Pending, created=1801), HERE, T.Completed, NOT_STARTED, A.CALL_BACK),
        (task(T.Running, created=9999), HERE, T.Running, "", A.NOTHING),
        (task(T.Running), LOST, T.Completed, CELL_DISAPPEARED, A.CALL_BACK),
        (task(T.Resolving, updated=30, completed=200), HERE, T.Resolving, "", A.NOTHING),
        (task(T.Resolving, updated=31, completed=31), HERE, T.Completed, "", A.CALL_BACK),
        (task(T.Resolving, updated=31, completed=121), HERE, T.Resolving, "", A.DELETE),
        (task(T.Completed, updated=30, completed=30), HERE, T.Completed, "", A.NOTHING),
        (task(T.Completed, updated=31, completed=31), HERE, T.Completed, "", A.CALL_BACK),
        (task(T.Completed, updated=121, completed=121), HERE, T.Completed, "", A.DELETE),
    ],
)
def test_plan_for_a_task(
    before: Task, around: World, state: TaskState, reason: str, action: TaskAction
) -> None:
    plan = plan_task(before, around)
    after = plan.after or before
    assert (after.state, after.failure_reason, plan.action) == (state, reason, action)


def instance(guid: str, cell: str = "c1") -> ActualLRPInstanceKey:
    return ActualLRPInstanceKey(instance_guid=guid, cell_id=cell)


RUNS = RunningData(net_info=ActualLRPNetInfo(address="10.0.0.1"), metric_tags={"source_id": "web"})


async def test_a_lost_cell_is_replaced_and_its_return_undone(world: Any, web_lrp: DesiredLRP) -> None:
    await world.register("c1")
    await world.bbs.controllers.desired.desire(replace(web_lrp, instances=1), "")
    await world.bbs.controllers.lrps.start(KEY, instance("a"), RUNS)
    await world.bbs.settled()
    world.auctioneer.taken()

    await world.unregister("c1")
    await world.converge()
    assert await world.states("web") == ["0 ORDINARY UNCLAIMED", "0 SUSPECT RUNNING"]
    assert world.auctioneer.taken() == [("web", (0,))]

    await world.register("c1")
    await world.converge()
    assert await world.states("web") == ["0 ORDINARY RUNNING"]


async def test_work_nobody_took_is_auctioned_again(world: Any, web_lrp: DesiredLRP) -> None:
    await world.bbs.controllers.desired.desire(web_lrp, "")
    await world.bbs.settled()
    world.auctioneer.taken()
    await world.converge()
    assert world.auctioneer.taken() == []
    world.clock.advance(31)
    await world.converge()
    assert sorted(world.auctioneer.taken()) == [("web", (0,)), ("web", (1,))]


async def test_only_a_fresh_domain_lets_surplus_instances_go(world: Any) -> None:
    await world.register("c1")
    await world.bbs.controllers.lrps.start(KEY, instance("a"), RUNS)
    await world.converge()
    assert world.reps.calls == []
    await world.freshen("apps")
    await world.converge()
    assert world.reps.calls == [("stop", "https://c1", "a", 5)]


async def test_a_running_instance_learns_of_new_routes(world: Any, web_lrp: DesiredLRP) -> None:
    await world.register("c1")
    routed = replace(web_lrp, instances=1, routes={"internal-router": b'[{"hostname":"web.internal"}]'})
    await world.bbs.controllers.desired.desire(routed, "")
    await world.bbs.controllers.lrps.start(KEY, instance("a"), RUNS)
    await world.converge()
    assert world.reps.calls == [("update", "a", ["web.internal"], None)]


async def test_a_task_on_a_lost_cell_fails_and_its_owner_is_told(
    world: Any, definition: TaskDefinition
) -> None:
    await world.bbs.controllers.tasks.desire("t", "apps", definition)
    await world.bbs.controllers.tasks.start("t", "c1")
    await world.converge()
    assert [url for url, _ in world.callbacks.bodies] == ["http://example.com/done"]
    assert CELL_DISAPPEARED in world.callbacks.bodies[0][1]
    tasks = await world.bbs.controllers.deps.store.run(lambda tables: tables.tasks())
    assert tasks == []


async def test_a_pending_task_is_auctioned_every_round(world: Any, definition: TaskDefinition) -> None:
    await world.bbs.controllers.tasks.desire("t", "apps", definition)
    await world.converge()
    await world.converge()
    assert [request.task_guid for request in world.auctioneer.tasks] == ["t", "t", "t"]
