"""Admission of offered work: order, memory, stacks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from bbs.models.auction import LRP, Demand, Task, Work
from executor.model import AllocationRequest
from rep.auction import Admission, ForeignWork, admit, instance_guid, perform
from rep.rootfs import StackMap

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

STACKS = StackMap({"cflinuxfs4": "/stacks/cflinuxfs4.tar"})


def offered(work: Work, **values: Any) -> Admission:
    counter = itertools.count(1)
    defaults: dict[str, Any] = {
        "cell_id": "cell-1",
        "evacuating": False,
        "remaining_memory_mb": 100,
        "proxy_allocation_mb": 0,
        "stacks": STACKS,
        "new_guid": lambda: f"guid-{next(counter)}",
    }
    return admit(work, **{**defaults, **values})


def lrp(name: str, memory_mb: int, root_fs: str = "preloaded:cflinuxfs4") -> LRP:
    return LRP(process_guid=name, domain="apps", demand=Demand(memory_mb=memory_mb, root_fs=root_fs))


def taken(admission: Admission) -> list[str]:
    return [
        offer.work.process_guid if isinstance(offer.work, LRP) else offer.work.task_guid
        for offer in admission.offers
    ]


@pytest.mark.parametrize(
    ("memories", "remaining", "proxy", "names", "short"),
    [
        ([10, 60, 30], 100, 0, ["1", "2", "0"], []),
        ([10, 60, 30], 70, 0, ["1", "0"], ["2"]),
        ([60, 60], 100, 0, ["0"], ["1"]),
        ([50, 50], 100, 1, ["0"], ["1"]),
        ([0, 0], 1, 1, ["0"], ["1"]),
        ([0], 0, 0, ["0"], []),
    ],
)
def test_the_largest_come_first_while_memory_lasts(
    memories: list[int], remaining: int, proxy: int, names: list[str], short: list[str]
) -> None:
    work = Work(lrps=tuple(lrp(str(number), memory) for number, memory in enumerate(memories)))
    admission = offered(work, remaining_memory_mb=remaining, proxy_allocation_mb=proxy)
    assert taken(admission) == names
    assert [refused.process_guid for refused in admission.refused.lrps] == short


def test_work_for_another_cell() -> None:
    with pytest.raises(ForeignWork, match="workload cell ID does not match this cell"):
        offered(Work(cell_id="cell-2"), evacuating=True)


@pytest.mark.parametrize("cell_id", ["", "cell-1"])
def test_refused_work_does_not_name_the_cell(cell_id: str) -> None:
    work = Work(lrps=(lrp("x", 10, "preloaded:none"),), cell_id=cell_id)
    assert offered(work).refused == Work(lrps=work.lrps)


def test_nothing_is_taken_while_evacuating() -> None:
    work = Work(lrps=(lrp("a", 1), lrp("b", 2)), tasks=(Task(task_guid="t"),), cell_id="cell-1")
    admission = offered(work, evacuating=True)
    assert admission.offers == ()
    assert admission.refused == Work(lrps=(lrp("b", 2), lrp("a", 1)), tasks=work.tasks, cell_id="cell-1")


@pytest.mark.parametrize(("memory_mb", "reserved"), [(64, 96), (0, 0)])
def test_the_reservation_of_an_instance(memory_mb: int, reserved: int) -> None:
    wanted = LRP(
        process_guid="web",
        index=3,
        domain="apps",
        demand=Demand(placement_tags=("a",), memory_mb=memory_mb, disk_mb=128, max_pids=100),
    )
    (offer,) = offered(Work(lrps=(wanted,)), proxy_allocation_mb=32).offers
    assert offer.request == AllocationRequest(
        guid="guid-1",
        memory_mb=reserved,
        disk_mb=128,
        max_pids=100,
        tags={
            "lifecycle": "lrp",
            "domain": "apps",
            "process-guid": "web",
            "process-index": "3",
            "instance-guid": "guid-1",
            "placement-tags": '["a"]',
            "volume-drivers": "null",
        },
    )


def test_the_reservation_of_a_task() -> None:
    wanted = Task(task_guid="t", domain="apps", demand=Demand(volume_drivers=(), memory_mb=64))
    (offer,) = offered(Work(tasks=(wanted,)), proxy_allocation_mb=32).offers
    labels = {"lifecycle": "task", "domain": "apps", "placement-tags": "null", "volume-drivers": "[]"}
    assert offer.request == AllocationRequest(guid="t", memory_mb=64, tags=labels)


def test_refusals_are_ordered_by_kind(executor: FakeExecutor) -> None:
    unknown, short, disk = lrp("unknown", 70, "preloaded:none"), lrp("short", 60), lrp("fits", 20)
    big_disk = LRP(process_guid="disk", demand=Demand(memory_mb=5, disk_mb=10**6))
    admission = offered(Work(lrps=(disk, big_disk, short, unknown)))
    back = perform(admission, executor)
    assert [item.process_guid for item in back.lrps] == ["short", "unknown", "disk"]
    assert [container.tags["process-guid"] for container in executor.containers()] == ["fits"]


def test_a_task_offered_twice_is_taken_once(executor: FakeExecutor) -> None:
    first, second = (Task(task_guid="t", demand=Demand(memory_mb=memory)) for memory in (1, 2))
    back = perform(offered(Work(tasks=(first, second))), executor)
    assert back == Work(tasks=(second,))


def test_instance_guids_fit_into_host_names() -> None:
    guids = {instance_guid() for _ in range(100)}
    assert len(guids) == 100
    assert {(len(guid), [len(part) for part in guid.split("-")] == [8, 4, 4, 4, 4]) for guid in guids} == {
        (28, True)
    }


def test_the_log_says_why_work_goes_back(executor: FakeExecutor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    work = Work(
        lrps=(lrp("big", 500), lrp("odd", 1, "preloaded:other")),
        tasks=(Task(task_guid="t", demand=Demand(root_fs="docker:///x", disk_mb=10**6)),),
    )
    perform(offered(work), executor)
    said = [vars(record)["data"] for record in caplog.records]
    assert said == [
        {"work": "big.0", "reason": "100 MB of memory left for it, 500 needed"},
        {"work": "odd.0", "reason": "no root filesystem preloaded:other"},
        {"work": "t", "reason": "refused"},
    ]


def test_the_log_names_an_evacuation(executor: FakeExecutor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    perform(offered(Work(lrps=(lrp("web", 1),)), evacuating=True), executor)
    assert vars(caplog.records[0])["data"]["reason"] == "the cell is being evacuated"


def test_a_task_that_comes_again_waits_for_the_report_about_its_last_run() -> None:
    """The report would end the new run, because both have the same guid."""
    tasks = tuple(
        Task(task_guid=guid, domain="apps", demand=Demand(root_fs="docker:///x")) for guid in ("old", "new")
    )
    admission = offered(Work(tasks=tasks), unreported={"old"})
    assert taken(admission) == ["new"]
    assert admission.refused == Work(tasks=tasks[:1])
    assert admission.objections == (("old", "the report about its last run waits for the BBS"),)
