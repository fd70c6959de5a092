"""Tables and lines for people, from values."""

from __future__ import annotations

import pytest

from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    Presence,
)
from bbs.models.cell import CellCapacity, CellPresence, Provider
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import (
    ActualLRPChangedEvent,
    ActualLRPCrashedEvent,
    ActualLRPInfo,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
    TaskChangedEvent,
    TaskCreatedEvent,
    TaskRemovedEvent,
)
from bbs.models.task import Task, TaskState
from cell.assembly.terminal import Table
from cell.client import tables
from cell.client.eventlines import describe
from cell.client.tables import age

pytestmark = pytest.mark.unit

S = 1_000_000_000
NOW = 1_700_000_000 * S

KEY = ActualLRPKey(process_guid="web", index=1, domain="d")
ON_CELL = ActualLRPInstanceKey(instance_guid="i", cell_id="cell-1")
NET = ActualLRPNetInfo(
    address="10.0.0.5",
    ports=(
        PortMapping(container_port=8080, host_port=61001),
        PortMapping(container_port=22, host_port=61002),
    ),
)
RUNNING = ActualLRP(
    actual_lrp_key=KEY,
    actual_lrp_instance_key=ON_CELL,
    actual_lrp_net_info=NET,
    state="RUNNING",
    since=NOW - 192 * S,
    routable=True,
)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (59, "59s"), (60, "1m0s"), (3725, "1h2m"), (90_000, "1d1h"), (-5, "0s")],
)
def test_ages(seconds: int, expected: str) -> None:
    assert age(NOW - seconds * S, NOW) == expected


def test_no_time_has_no_age() -> None:
    assert age(0, NOW) == ""


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    table = Table(("A", "LONG", "C"), [("aaaa", "", "x"), ("b", "b", "")])
    assert table.text().splitlines() == ["A     LONG  C", "aaaa  -     x", "b     b     -"]


def test_a_terminal_is_not_at_the_mercy_of_an_app() -> None:
    table = Table(("REASON",), [("gone\x1b[2J\nand\tback ",)])
    assert table.text() == "REASON\ngone\ufffd[2J and back"


def _row(table: Table) -> dict[str, str]:
    (row,) = table.rows
    return dict(zip(table.headers, row, strict=True))


def test_an_instance() -> None:
    assert _row(tables.instances([RUNNING], NOW)) == {
        "PROCESS": "web",
        "INDEX": "1",
        "STATE": "RUNNING",
        "CELL": "cell-1",
        "ADDRESS": "10.0.0.5:61001->8080,61002->22",
        "SINCE": "3m12s",
        "CRASHES": "0",
        "REASON": "",
    }


def test_instances_of_a_process_stand_together() -> None:
    lrps = [
        ActualLRP(actual_lrp_key=ActualLRPKey(process_guid=guid, index=index))
        for guid, index in (("b", 0), ("a", 10), ("a", 9))
    ]
    assert [row[:2] for row in tables.instances(lrps, NOW).rows] == [("a", "9"), ("a", "10"), ("b", "0")]


@pytest.mark.parametrize(
    ("lrp", "expected"),
    [
        (ActualLRP(state="RUNNING", routable=None), "RUNNING"),
        (ActualLRP(state="RUNNING", routable=False), "RUNNING (not routable)"),
        (ActualLRP(state="CLAIMED", routable=False), "CLAIMED"),
        (
            ActualLRP(state="RUNNING", presence=Presence.EVACUATING, routable=False),
            "RUNNING (evacuating, not routable)",
        ),
        (ActualLRP(state="RUNNING", presence=Presence.SUSPECT), "RUNNING (suspect)"),
    ],
)
def test_what_is_unusual_about_a_state(lrp: ActualLRP, expected: str) -> None:
    assert tables.instance_state(lrp) == expected


@pytest.mark.parametrize(
    ("lrp", "reason"),
    [
        (ActualLRP(placement_error="no room"), "no room"),
        (ActualLRP(crash_reason="APP: Exited with status 1"), "APP: Exited with status 1"),
    ],
)
def test_why_an_instance_does_not_run(lrp: ActualLRP, reason: str) -> None:
    assert _row(tables.instances([lrp], NOW))["REASON"] == reason


def test_a_desired_lrp() -> None:
    lrp = DesiredLRP(
        process_guid="web", domain="d", instances=2, memory_mb=64, ports=(8080, 22), root_fs="docker:///x"
    )
    assert _row(tables.desired([lrp], NOW)) == {
        "PROCESS": "web",
        "DOMAIN": "d",
        "INSTANCES": "2",
        "MEMORY": "64M",
        "DISK": "unlimited",
        "PORTS": "8080,22",
        "ROOTFS": "docker:///x",
    }


@pytest.mark.parametrize(
    ("task", "outcome"),
    [
        (Task(), ""),
        (Task(result="r"), "r"),
        (Task(failed=True, failure_reason="cancelled", result="r"), "failed: cancelled"),
        (Task(rejection_count=2, rejection_reason="no room"), "rejected 2x: no room"),
    ],
)
def test_what_came_of_a_task(task: Task, outcome: str) -> None:
    assert _row(tables.tasks([task], NOW))["RESULT"] == outcome


def test_a_cell() -> None:
    cell = CellPresence(
        cell_id="c",
        zone="z1",
        rep_address="http://old",
        capacity=CellCapacity(memory_mb=100, disk_mb=200, containers=10),
        rootfs_providers=(Provider(name="preloaded", properties=("a", "b")), Provider(name="docker")),
        placement_tags=("must",),
        optional_placement_tags=("may",),
    )
    assert _row(tables.cells([cell], NOW)) == {
        "CELL": "c",
        "ZONE": "z1",
        "URL": "http://old",
        "MEMORY": "100M",
        "DISK": "200M",
        "CONTAINERS": "10",
        "TAGS": "must,may?",
        "ROOTFS": "preloaded:a,preloaded:b,docker",
    }


def _changed(before: ActualLRPInfo, after: ActualLRPInfo) -> Event:
    return ActualLRPInstanceChangedEvent(
        actual_lrp_key=KEY, actual_lrp_instance_key=ON_CELL, before=before, after=after
    )


LINES: list[tuple[Event, str]] = [
    (
        DesiredLRPCreatedEvent(desired_lrp=DesiredLRP(process_guid="web", instances=2)),
        "web desired: 2 instance(s)",
    ),
    (
        DesiredLRPChangedEvent(
            before=DesiredLRP(process_guid="web", instances=2),
            after=DesiredLRP(process_guid="web", instances=1),
        ),
        "web updated: 2 -> 1 instance(s)",
    ),
    (
        DesiredLRPChangedEvent(
            before=DesiredLRP(process_guid="web"),
            after=DesiredLRP(process_guid="web", annotation="a", routes={"r": b"1"}),
        ),
        "web updated: routes, annotation",
    ),
    (DesiredLRPRemovedEvent(desired_lrp=DesiredLRP(process_guid="web")), "web no longer desired"),
    (
        ActualLRPInstanceCreatedEvent(actual_lrp=ActualLRP(actual_lrp_key=KEY, state="UNCLAIMED")),
        "web/1 created: UNCLAIMED",
    ),
    (
        _changed(ActualLRPInfo(state="CLAIMED"), ActualLRPInfo(state="RUNNING", actual_lrp_net_info=NET)),
        "web/1 CLAIMED -> RUNNING on cell-1 at 10.0.0.5:61001->8080,61002->22",
    ),
    (
        _changed(
            ActualLRPInfo(state="UNCLAIMED"), ActualLRPInfo(state="UNCLAIMED", placement_error="no room")
        ),
        "web/1 UNCLAIMED on cell-1 no room",
    ),
    (
        _changed(
            ActualLRPInfo(state="RUNNING", routable=False, crash_reason="old"),
            ActualLRPInfo(state="RUNNING", routable=True, crash_reason="old"),
        ),
        "web/1 RUNNING (not routable) -> RUNNING on cell-1",
    ),
    (
        ActualLRPCrashedEvent(actual_lrp_key=KEY, crash_count=3, crash_reason="APP: Exited\nwith status 1"),
        "web/1 crashed (3x): APP: Exited with status 1",
    ),
    (ActualLRPInstanceRemovedEvent(actual_lrp=RUNNING), "web/1 removed: RUNNING"),
    (TaskCreatedEvent(task=Task(task_guid="t", state=TaskState.Pending)), "t created: Pending"),
    (
        TaskChangedEvent(
            before=Task(task_guid="t", state=TaskState.Pending),
            after=Task(task_guid="t", state=TaskState.Running, cell_id="cell-1"),
        ),
        "t Pending -> Running on cell-1",
    ),
    (
        TaskChangedEvent(
            before=Task(task_guid="t", state=TaskState.Running),
            after=Task(task_guid="t", state=TaskState.Completed, failed=True, failure_reason="cancelled"),
        ),
        "t Running -> Completed failed: cancelled",
    ),
    (TaskRemovedEvent(task=Task(task_guid="t", state=TaskState.Resolving)), "t removed: Resolving"),
    (TaskRemovedEvent(), "TaskRemovedEvent"),
    (ActualLRPChangedEvent(), "ActualLRPChangedEvent"),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=[line for _, line in LINES])
def test_an_event_in_a_line(event: Event, line: str) -> None:
    assert describe(event) == line
