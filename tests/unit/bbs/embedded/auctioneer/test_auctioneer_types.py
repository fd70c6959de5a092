"""JSON of auctioneer and rep, compared with recordings of Go programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bbs.embedded.calls.startrequests import (
    LRPStartRequest,
    TaskStartRequest,
    lrp_start_requests,
    task_start_requests,
)
from bbs.models.auction import LRP, CellState, Demand, RootFSProvider, Work
from bbs.models.codec import InvalidDocument, compact
from bbs.models.task import TaskState
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire"


def bodies(folder: str, path: str, side: str, sender: str) -> Iterator[Any]:
    """Every non-empty body on a path as one kind of program sent it."""
    for file in sorted((GOLDEN / folder).glob("*.json")):
        for record in json.loads(file.read_text())["records"]:
            texted = record[side].get("body_text")
            if record["request"]["path"] == path and record["from"] == sender and texted:
                yield pytest.param(texted, id=f"{file.stem}-{record.get('t', 0)}-{len(texted)}")


def read_lrps(text: str) -> Any:
    return [request.to_json() for request in lrp_start_requests(text)]


def read_tasks(text: str) -> Any:
    return [request.to_json() for request in task_start_requests(text)]


@pytest.mark.parametrize("text", list(bodies("rep-http", "/state", "response", "auctioneer")))
def test_a_captured_cell_state_is_written_as_it_was_read(text: str) -> None:
    assert compact(CellState.loads(text).to_json()) == text.strip()


@pytest.mark.parametrize("text", list(bodies("rep-http", "/work", "request", "auctioneer")))
def test_captured_work_is_written_as_it_was_read(text: str) -> None:
    assert compact(Work.loads(text).to_json()) == text


@pytest.mark.parametrize("text", list(bodies("rep-http", "/work", "response", "auctioneer")))
def test_captured_refusals_are_written_as_they_were_read(text: str) -> None:
    assert compact(Work.loads(text).to_json()) == text.strip()


@pytest.mark.parametrize(
    ("text", "rewrite"),
    [
        *(
            pytest.param(*p.values, read_lrps, id=p.id)
            for p in bodies("auctioneer", "/v1/lrps", "request", "bbs")
        ),
        *(
            pytest.param(*p.values, read_tasks, id=p.id)
            for p in bodies("auctioneer", "/v1/tasks", "request", "bbs")
        ),
    ],
)
def test_captured_start_requests_are_written_as_they_were_read(
    text: str, rewrite: Callable[[str], Any]
) -> None:
    assert compact(rewrite(text)) == text


def test_keys_are_read_in_any_case() -> None:
    text = '[{"Process_GUID":"web","DOMAIN":"d","Indices":[1],"rootfs":"docker:///x","memorymb":5}]'

    (request,) = lrp_start_requests(text)

    assert request == LRPStartRequest(
        process_guid="web", domain="d", indices=(1,), demand=Demand(root_fs="docker:///x", memory_mb=5)
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{nope", "JSON"),
        ("", "JSON"),
        ("{}", "list of start requests"),
        ("[3]", r"\$\[0\]: expected an object"),
        ('[{},{"indices":["x"]}]', r"\$\[1\]\.indices\[0\]"),
        ('[{"MemoryMB":4294967296}]', r"\$\[0\]\.MemoryMB"),
        ('[{"MemoryMB":1.5}]', r"\$\[0\]\.MemoryMB"),
    ],
)
def test_a_bad_body_is_refused_with_the_place(text: str, where: str) -> None:
    with pytest.raises(InvalidDocument, match=where):
        lrp_start_requests(text)


def test_an_unknown_task_state_is_refused() -> None:
    with pytest.raises(InvalidDocument, match=r"Tasks\[0\]\.state"):
        Work.loads('{"Tasks":[{"TaskGuid":"t","state":"Dancing"}]}')


def test_work_without_anything_is_null_not_empty() -> None:
    assert Work().to_json() == {"LRPs": None, "Tasks": None}


def test_a_cell_state_without_anything_is_empty_not_null() -> None:
    written = CellState(cell_id="c").to_json()

    assert written["LRPs"] == []
    assert written["Tasks"] == []
    assert written["PlacementTags"] is None


def test_a_task_on_its_way_is_invalid() -> None:
    assert TaskStartRequest(task_guid="t", domain="d").to_json()["state"] == TaskState.Invalid.name


VALID_LRP: dict[str, Any] = {"process_guid": "p", "domain": "d", "indices": (0,)}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"process_guid": ""}, "process guid is empty"),
        ({"domain": ""}, "domain is empty"),
        ({"indices": ()}, "indices must not be empty"),
        ({"indices": (2, -1)}, "indices must not be negative"),
        ({"demand": Demand(memory_mb=-1)}, "resources cannot be less than zero"),
        ({"demand": Demand(disk_mb=-1)}, "resources cannot be less than zero"),
    ],
)
def test_what_is_wrong_with_an_lrp_start_request(change: dict[str, Any], problem: str) -> None:
    assert LRPStartRequest(**VALID_LRP | change).problem() == problem


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (TaskStartRequest(task_guid="t", domain="d"), ""),
        (TaskStartRequest(domain="d"), "task guid is empty"),
        (TaskStartRequest(task_guid="t"), "domain is empty"),
        (
            TaskStartRequest(task_guid="t", domain="d", demand=Demand(disk_mb=-5)),
            "resources cannot be less than zero",
        ),
    ],
)
def test_what_is_wrong_with_a_task_start_request(request_: TaskStartRequest, problem: str) -> None:
    assert request_.problem() == problem


@pytest.mark.parametrize(
    ("provider", "accepted"),
    [
        (RootFSProvider.arbitrary(), True),
        (RootFSProvider.fixed_set("a", "b"), True),
        (RootFSProvider.fixed_set("b"), False),
        (RootFSProvider(type="new-kind"), False),
    ],
)
def test_what_a_provider_accepts(provider: RootFSProvider, accepted: bool) -> None:
    assert provider.accepts("a") is accepted


def test_an_lrp_keeps_the_difference_between_no_tags_and_an_empty_list() -> None:
    null, empty = (LRP(process_guid="p", demand=Demand(placement_tags=tags)).to_json() for tags in (None, ()))

    assert (null["PlacementTags"], empty["PlacementTags"]) == (None, [])
