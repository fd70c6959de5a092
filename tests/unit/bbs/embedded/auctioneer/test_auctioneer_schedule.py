"""Placement of work: constraints, failure texts, order, zones, score, limits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.embedded.auctioneer import schedule as schedule_module
from bbs.embedded.auctioneer.room import CellRoom, Need, Weights, rooms, used_fraction
from bbs.embedded.auctioneer.schedule import OBJECTIONS, Schedule, schedule
from bbs.embedded.calls.startrequests import lrp_start_requests, task_start_requests
from bbs.models.auction import LRP, CellState, Demand, Resources, RootFSProvider, Task
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "scenarios"
SMALL: dict[str, Any] = {"root_fs": "preloaded:cflinuxfs4", "memory_mb": 10, "disk_mb": 10}


def cell(cell_id: str = "c0", **fields: Any) -> CellState:
    capacity = Resources(memory_mb=1000, disk_mb=1000, containers=10)
    defaults: dict[str, Any] = {
        "cell_id": cell_id,
        "rootfs_providers": {
            "preloaded": RootFSProvider.fixed_set("cflinuxfs4"),
            "docker": RootFSProvider.arbitrary(),
        },
        "available_resources": capacity,
        "total_resources": capacity,
    }
    return CellState(**defaults | fields)


def lrp(index: int = 0, process_guid: str = "web", **demand: Any) -> LRP:
    wanted = Demand(**SMALL | demand)
    return LRP(process_guid=process_guid, index=index, domain="d", demand=wanted)


def task(guid: str = "t", **demand: Any) -> Task:
    wanted = Demand(**SMALL | demand)
    return Task(task_guid=guid, domain="d", demand=wanted)


def running(process_guid: str, count: int) -> tuple[LRP, ...]:
    return tuple(LRP(process_guid=process_guid, index=index, domain="d") for index in range(count))


def placed(result: Schedule) -> dict[str, list[str]]:
    """Cell id to what it was given, in order."""
    return {
        cell_id: [f"{item.process_guid}.{item.index}" for item in work.lrps]
        + [t.task_guid for t in work.tasks]
        for cell_id, work in result.work.items()
    }


TAGGED = cell(placement_tags=("a",), optional_placement_tags=("b", "c"))


@pytest.mark.parametrize(
    ("cells", "demand", "text"),
    [
        ([], {}, "unable to communicate to compatible cells"),
        ([cell()], {"root_fs": "preloaded:other"}, "found no compatible cell for required rootfs"),
        ([cell()], {"root_fs": "weird:x"}, "found no compatible cell for required rootfs"),
        ([cell()], {"root_fs": "cflinuxfs4"}, "found no compatible cell for required rootfs"),
        ([cell()], {"root_fs": ""}, "found no compatible cell for required rootfs"),
        (
            [cell(volume_drivers=("nfs",))],
            {"volume_drivers": ("nfs", "smb")},
            "found no compatible cell with required volume drivers",
        ),
        ([TAGGED], {}, "found no compatible cell with no placement tags"),
        ([TAGGED], {"placement_tags": ()}, "found no compatible cell with no placement tags"),
        ([TAGGED], {"placement_tags": ("b",)}, 'found no compatible cell with placement tag "b"'),
        ([cell()], {"placement_tags": ("x",)}, 'found no compatible cell with placement tag "x"'),
        (
            [TAGGED],
            {"placement_tags": ("b", "c")},
            'found no compatible cell with placement tags "b" and "c"',
        ),
        (
            [TAGGED],
            {"placement_tags": ("a", "b", "x")},
            'found no compatible cell with placement tags "a", "b" and "x"',
        ),
        ([cell()], {"memory_mb": 1001}, "insufficient resources: memory"),
        ([cell()], {"disk_mb": 1001}, "insufficient resources: disk"),
        ([cell()], {"memory_mb": 1001, "disk_mb": 1001}, "insufficient resources: disk, memory"),
        (
            [cell(available_resources=Resources())],
            {},
            "insufficient resources: containers, disk, memory",
        ),
        (
            [
                cell("c0", available_resources=Resources(memory_mb=0, disk_mb=99, containers=9)),
                cell("c1", available_resources=Resources(memory_mb=99, disk_mb=0, containers=9)),
            ],
            {},
            "insufficient resources",
        ),
        # rootfs is looked at before drivers, drivers before tags
        (
            [cell()],
            {"root_fs": "weird:x", "volume_drivers": ("nfs",), "placement_tags": ("x",)},
            "found no compatible cell for required rootfs",
        ),
        (
            [cell()],
            {"volume_drivers": ("nfs",), "placement_tags": ("x",)},
            "found no compatible cell with required volume drivers",
        ),
    ],
)
def test_why_work_is_not_placed(cells: list[CellState], demand: dict[str, Any], text: str) -> None:
    result = schedule(cells, [lrp(**demand)], [task(**demand)])

    assert result.work == {}
    assert [why for _, why in result.failed] == [text, text]


@pytest.mark.parametrize(
    ("state", "demand"),
    [
        (cell(), {"root_fs": "docker:///any/image#tag"}),
        (cell(), {"root_fs": "preloaded:cflinuxfs4?layer=http://x&layer_digest=y"}),
        (cell(), {"root_fs": "PRELOADED:cflinuxfs4"}),
        (cell(volume_drivers=("nfs", "smb")), {"volume_drivers": ("smb",)}),
        (cell(), {"placement_tags": ()}),
        (TAGGED, {"placement_tags": ("a",)}),
        (TAGGED, {"placement_tags": ("c", "a")}),
        (cell(optional_placement_tags=("b",)), {}),
        (cell(), {"memory_mb": 1000, "disk_mb": 1000}),
        (cell(available_resources=Resources(containers=1)), {"memory_mb": 0, "disk_mb": 0}),
    ],
)
def test_what_a_cell_takes(state: CellState, demand: dict[str, Any]) -> None:
    assert placed(schedule([state], [lrp(**demand)], [])) == {"c0": ["web.0"]}
    assert placed(schedule([state], [], [task(**demand)])) == {"c0": ["t"]}


def test_the_proxy_costs_memory_of_lrps_only() -> None:
    tight = cell(
        proxy_memory_allocation_mb=32, available_resources=Resources(memory_mb=40, disk_mb=99, containers=9)
    )

    result = schedule([tight], [lrp()], [task()])

    assert placed(result) == {"c0": ["t"]}
    assert [why for _, why in result.failed] == ["insufficient resources: memory"]


def test_index_zero_goes_first_then_tasks_then_the_rest_each_by_memory() -> None:
    lrps = [lrp(1), lrp(0), lrp(0, "big", memory_mb=20), lrp(1, "big", memory_mb=20)]
    tasks = [task("small"), task("large", memory_mb=30)]

    def places(containers: int) -> set[str]:
        room = Resources(memory_mb=1000, disk_mb=1000, containers=containers)
        return set(placed(schedule([cell(available_resources=room)], lrps, tasks)).get("c0", []))

    order = [(places(count + 1) - places(count)).pop() for count in range(6)]
    assert order == ["big.0", "web.0", "large", "small", "big.1", "web.1"]


def test_index_zero_goes_before_tasks_also_when_there_is_no_other_index() -> None:
    room = Resources(memory_mb=1000, disk_mb=1000, containers=1)

    result = schedule([cell(available_resources=room)], [lrp(0)], [task()])

    assert placed(result) == {"c0": ["web.0"]}


def test_the_emptiest_cell_wins() -> None:
    half = Resources(memory_mb=500, disk_mb=500, containers=5)

    result = schedule([cell("c0", available_resources=half), cell("c1")], [lrp()], [])

    assert placed(result) == {"c1": ["web.0"]}


def test_starting_containers_count_against_a_cell_by_their_weight() -> None:
    light = Resources(memory_mb=700, disk_mb=700, containers=7)
    cells = [cell("busy", starting_container_count=2), cell("loaded", available_resources=light)]

    assert placed(schedule(cells, [lrp()], [])) == {"loaded": ["web.0"]}
    assert placed(schedule(cells, [lrp()], [], Weights(starting_container_weight=0.1))) == {"busy": ["web.0"]}


def test_an_instance_of_the_same_process_outweighs_everything() -> None:
    nearly_full = Resources(memory_mb=10, disk_mb=10, containers=1)
    cells = [
        cell("has-one", lrps=running("web", 1)),
        cell("full", available_resources=nearly_full, starting_container_count=50, lrps=running("other", 9)),
    ]

    assert placed(schedule(cells, [lrp(1)], [])) == {"full": ["web.1"]}


def test_tasks_spread_by_tasks() -> None:
    cells = [cell("c0", tasks=(task("old"),)), cell("c1", lrps=running("x", 9), starting_container_count=9)]

    assert placed(schedule(cells, [], [task()])) == {"c1": ["t"]}


def test_instances_spread_over_zones_before_cells() -> None:
    cells = [
        cell("a0", zone="a", lrps=running("web", 1)),
        cell("a1", zone="a"),
        cell("b0", zone="b", available_resources=Resources(memory_mb=100, disk_mb=100, containers=1)),
    ]

    assert placed(schedule(cells, [lrp(1)], [])) == {"b0": ["web.1"]}


def test_a_fuller_zone_is_used_when_the_emptier_has_no_room() -> None:
    cells = [
        cell("a0", zone="a", lrps=running("web", 2)),
        cell("b0", zone="b", available_resources=Resources()),
        cell("c0", zone="c", lrps=running("web", 1)),
    ]

    assert placed(schedule(cells, [lrp(3)], [])) == {"c0": ["web.3"]}


def test_zones_with_equal_counts_are_compared_together() -> None:
    half = Resources(memory_mb=500, disk_mb=500, containers=5)
    cells = [cell("a0", zone="a", available_resources=half), cell("b0", zone="b")]

    assert placed(schedule(cells, [lrp()], [])) == {"b0": ["web.0"]}


def test_a_zone_counts_its_incompatible_cells_too() -> None:
    cells = [
        cell("a0", zone="a", rootfs_providers={}, lrps=running("web", 1)),
        cell("a1", zone="a"),
        cell("b0", zone="b", available_resources=Resources(memory_mb=100, disk_mb=100, containers=1)),
    ]

    assert placed(schedule(cells, [lrp(1)], [])) == {"b0": ["web.1"]}


def test_tasks_ignore_zones() -> None:
    cells = [
        cell("a0", zone="a", tasks=(task("one"),)),
        cell("a1", zone="a"),
        cell("b0", zone="b", available_resources=Resources(memory_mb=500, disk_mb=500, containers=5)),
    ]

    assert placed(schedule(cells, [], [task()])) == {"a1": ["t"]}


def test_the_first_fit_weight_fills_cells_of_a_zone_in_order() -> None:
    cells = [cell("c7", cell_index=7), cell("c3", cell_index=3), cell("c9", cell_index=9)]
    tasks_full = [lrp(0, f"p{number}") for number in range(5)]

    result = schedule(cells, tasks_full, [], Weights(bin_pack_first_fit_weight=10))

    assert list(placed(result)) == ["c3"]


def test_the_in_flight_limit_counts_what_starts_anywhere_and_what_this_batch_adds() -> None:
    cells = [cell("c0", starting_container_count=1), cell("c1")]

    result = schedule(cells, [lrp(0), lrp(1), lrp(2)], [task()], Weights(starting_container_count_maximum=3))

    assert sorted(name for names in placed(result).values() for name in names) == ["t", "web.0"]
    text = "waiting to start instance: reached in-flight start limit"
    assert [(getattr(failed, "index", None), why) for failed, why in result.failed] == [(1, text), (2, text)]


def test_no_limit_means_no_limit() -> None:
    result = schedule([cell(starting_container_count=500)], [lrp(0)], [])

    assert placed(result) == {"c0": ["web.0"]}


def test_work_names_its_cell_and_keeps_what_was_asked() -> None:
    wanted = lrp(volume_drivers=())

    work = schedule([cell()], [wanted], []).work["c0"]

    assert (work.cell_id, work.lrps) == ("c0", (wanted,))


@pytest.mark.parametrize(
    ("remaining", "total", "fraction"),
    [
        (
            Resources(memory_mb=50, disk_mb=25, containers=1),
            Resources(memory_mb=100, disk_mb=100, containers=1),
            1.25 / 3,
        ),
        (Resources(), Resources(), 0.0),
        (Resources(memory_mb=0), Resources(memory_mb=10), 1 / 3),
    ],
)
def test_used_fraction(remaining: Resources, total: Resources, fraction: float) -> None:
    assert used_fraction(remaining, total) == pytest.approx(fraction)


@given(cells=st.integers(1, 6), instances=st.integers(1, 30), zones=st.integers(1, 3))
def test_uniform_work_spreads_evenly_over_zones_and_over_the_cells_of_a_zone(
    cells: int, instances: int, zones: int
) -> None:
    room = Resources(memory_mb=10_000, disk_mb=10_000, containers=1000)
    states = [
        cell(f"z{zone}-{number}", zone=f"z{zone}", available_resources=room, total_resources=room)
        for zone in range(zones)
        for number in range(cells)
    ]

    result = schedule(states, [lrp(index) for index in range(instances)], [])

    per_cell = {state.cell_id: len(placed(result).get(state.cell_id, [])) for state in states}
    per_zone: Counter[str] = Counter()
    for state in states:
        per_zone[state.zone] += per_cell[state.cell_id]
    assert sum(per_cell.values()) == instances
    assert max(per_zone.values()) - min(per_zone.values()) <= 1
    for zone in per_zone:
        inside = [per_cell[state.cell_id] for state in states if state.zone == zone]
        assert max(inside) - min(inside) <= 1


@given(
    memory=st.lists(st.integers(0, 400), max_size=20),
    rooms=st.lists(st.integers(0, 1000), min_size=1, max_size=4),
    containers=st.integers(0, 5),
)
def test_no_cell_is_given_more_than_it_has_and_nothing_is_lost(
    memory: list[int], rooms: list[int], containers: int
) -> None:
    states = [
        cell(f"c{number}", available_resources=Resources(memory_mb=room, disk_mb=9999, containers=containers))
        for number, room in enumerate(rooms)
    ]
    lrps = [lrp(index, memory_mb=need) for index, need in enumerate(memory)]

    result = schedule(states, lrps, [])

    for number, room in enumerate(rooms):
        given_work = result.work.get(f"c{number}")
        if given_work:
            assert sum(item.demand.memory_mb for item in given_work.lrps) <= room
            assert len(given_work.lrps) <= containers
    everything = [item for work in result.work.values() for item in work.lrps]
    everything += [item for item, _ in result.failed]
    assert sorted(item.index for item in everything) == list(range(len(lrps)))


def recorded_auctions() -> Iterator[Any]:
    for file in sorted(GOLDEN.glob("auction-*.json")):
        by_path: dict[str, list[Any]] = {}
        for record in json.loads(file.read_text())["records"]:
            by_path.setdefault(record["request"]["path"], []).append(record)
        yield pytest.param(by_path, id=file.stem)


@pytest.mark.parametrize("auction", list(recorded_auctions()))
def test_a_recorded_auction_is_decided_as_it_was(auction: dict[str, list[Any]]) -> None:
    states = [CellState.loads(r["response"]["body_text"]) for r in auction.get("/state", [])]
    lrps = [
        LRP(process_guid=r.process_guid, index=index, domain=r.domain, demand=r.demand)
        for record in auction.get("/v1/lrps", [])
        for r in lrp_start_requests(record["request"]["body_text"])
        for index in r.indices
    ]
    tasks = [
        Task(task_guid=r.task_guid, domain=r.domain, demand=r.demand)
        for record in auction.get("/v1/tasks", [])
        for r in task_start_requests(record["request"]["body_text"])
    ]

    result = schedule(states, lrps, tasks)

    assert [work.to_json() for work in result.work.values()] == [
        json.loads(record["request"]["body_text"]) for record in auction.get("/work", [])
    ]
    reported = auction.get("/v1/actual_lrps/fail", []) + auction.get("/v1/tasks/reject", [])
    texts = [why for _, why in result.failed]
    if states:
        assert len(texts) == len(reported)
    for text, record in zip(texts, reported, strict=False):
        assert json.dumps(text)[1:-1] in record["request"]["body_decode_raw"]


@pytest.mark.parametrize(
    ("state", "demand", "why"),
    [
        (
            cell(),
            {"root_fs": "preloaded:other"},
            "no root filesystem preloaded:other (it has docker:*, preloaded:cflinuxfs4)",
        ),
        (cell(rootfs_providers={}), {}, "no root filesystem preloaded:cflinuxfs4 (it has none)"),
        (cell(), {"volume_drivers": ("smb", "nfs")}, "no volume driver nfs; no volume driver smb"),
        (TAGGED, {}, "only for work with placement tag a"),
        (TAGGED, {"placement_tags": ("a", "x")}, "no placement tag x"),
        (cell(), {"memory_mb": 1001}, "1000 MB of memory left, 1001 needed"),
        (
            cell(proxy_memory_allocation_mb=32),
            {"memory_mb": 1000, "disk_mb": 2000},
            "1000 MB of disk left, 2000 needed; 1000 MB of memory left, 1032 needed",
        ),
        (
            cell(available_resources=Resources(memory_mb=99, disk_mb=99, containers=0)),
            {},
            "room for 0 containers left",
        ),
    ],
)
def test_each_cell_says_what_it_has_against_the_work(
    state: CellState, demand: dict[str, Any], why: str
) -> None:
    result = schedule([state], [lrp(**demand)], [])
    assert [failure.objections for failure in result.failures] == [{"c0": why}]


def test_a_cell_that_has_nothing_against_a_task_says_nothing() -> None:
    busy, free = cell("c0"), cell("c1", starting_container_count=1)
    result = schedule([busy, free], [], [task()], Weights(starting_container_count_maximum=1))
    assert [text for _, text in result.failed] == ["waiting to start instance: reached in-flight start limit"]
    assert [failure.objections for failure in result.failures] == [{}]


def test_the_reasons_are_found_once_for_equal_demands_and_for_few_cells() -> None:
    cells = [cell(f"c{number:02}", rootfs_providers={}) for number in range(2 * OBJECTIONS)]
    lrps = [lrp(index) for index in range(30)]

    (failure,) = schedule(cells, lrps, []).failures

    assert failure.items == lrps
    assert list(failure.objections) == [f"c{number:02}" for number in range(OBJECTIONS)]


def _simple(cells: list[CellState], items: list[LRP | Task], weights: Weights) -> list[tuple[Any, str]]:
    """The placement by its definition: every cell is scored for every item."""
    rooms_left = list(rooms(cells))
    decided: list[tuple[Any, str]] = []
    for item in items:
        need = Need.of(item)
        process = item.process_guid if isinstance(item, LRP) else None

        def zone_count(place: CellRoom, process: str | None = process) -> int:
            if process is None:
                return 0
            inside = [each for each in rooms_left if each.state.zone == place.state.zone]
            return sum(each.instances.get(process, 0) for each in inside)

        def score(place: CellRoom, process: str | None = process, need: Need = need) -> Any:
            load = place.load(need, weights) + 1000 * place.similar(process)
            return zone_count(place, process), load, place.position

        fitting = [each for each in rooms_left if each.fits(need)]
        if not fitting:
            names = ("containers", "disk", "memory")
            short = [name for name in names if all(each.lacks(name, need) for each in rooms_left)]
            decided.append((item, f"insufficient resources: {', '.join(short)}".removesuffix(": ")))
            continue
        best = min(fitting, key=score)
        best.take(item)
        decided.append((item, best.state.cell_id))
    return decided


small_cells = st.builds(
    lambda zone, index, left, starting, web, tasks: cell(
        f"{zone}{index}",
        zone=zone,
        cell_index=index,
        proxy_memory_allocation_mb=index,
        available_resources=Resources(memory_mb=left * 25, disk_mb=500, containers=left),
        starting_container_count=starting,
        lrps=running("web", web),
        tasks=tuple(task(f"old{number}") for number in range(tasks)),
    ),
    st.sampled_from("abc"),
    st.integers(0, 3),
    st.integers(0, 8),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)


@given(
    cells=st.lists(small_cells, min_size=1, max_size=8, unique_by=lambda state: state.cell_id),
    wanted=st.lists(
        st.tuples(st.sampled_from(["web", "api", ""]), st.integers(0, 4), st.sampled_from([10, 60, 150])),
        max_size=25,
        unique_by=lambda each: each[:2],
    ),
    many=st.sampled_from([1, 4, 1000]),
    weights=st.builds(
        Weights,
        starting_container_weight=st.sampled_from([0, 0.25, 3]),
        bin_pack_first_fit_weight=st.sampled_from([0, 7]),
    ),
)
def test_the_heaps_decide_as_a_comparison_of_all_cells_does(
    cells: list[CellState], wanted: list[tuple[str, int, int]], weights: Weights, many: int
) -> None:
    lrps = [lrp(index, process, memory_mb=memory) for process, index, memory in wanted if process]
    tasks = [task(f"t{index}", memory_mb=memory) for process, index, memory in wanted if not process]
    first = sorted((each for each in lrps if not each.index), key=lambda each: -each.demand.memory_mb)
    rest = sorted(
        (each for each in lrps if each.index), key=lambda each: (each.index, -each.demand.memory_mb)
    )
    middle = sorted(tasks, key=lambda each: -each.demand.memory_mb)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schedule_module, "MANY", many)
        result = schedule(cells, lrps, tasks, weights)

    decided: dict[Any, str] = dict(result.failed)
    for cell_id, work in result.work.items():
        decided |= dict.fromkeys((*work.lrps, *work.tasks), cell_id)
    assert decided == dict(_simple(cells, [*first, *middle, *rest], weights))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="starting_container_weight"):
        Weights(starting_container_weight=-1)
