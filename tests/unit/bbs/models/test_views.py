"""Older and narrower views of a record, compared with a Go server's."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from bbs.models.actions import EmitProgressAction, RunAction, SerialAction, TimeoutAction, TryAction
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task
from bbs.models.views import (
    desired_lrp_v0,
    desired_lrp_v2,
    routing_info,
    scheduling_info,
    task_v2,
    with_source_id,
)
from bbs.models.workload import CachedDependency
from bbs.wire.mapping import to_model
from bbs.wire.messages import message_class
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

WIRE = GOLDEN_FILES / "wire"
RUN = RunAction(path="p", user="u")


def message(name: str, encoded: str) -> Any:
    return message_class(name).FromString(base64.b64decode(encoded))


def answer(record: str) -> Any:
    """Body of a recorded answer."""
    records = json.loads((WIRE / "bbs-replies" / "view.json").read_text())["records"]
    response = next(r["response"] for r in records if r["name"] == f"view/{record}")
    return message(response["message"], response["body_base64"])


def first_event(stream: str) -> Any:
    event = json.loads((WIRE / "events" / "views" / f"{stream}.json").read_text())["response"]["events"][0]
    return message(event["message"], event["data_base64"])


def test_desired_lrp_v2() -> None:
    whole = to_model(answer("desired-get-r3").desired_lrp)
    assert desired_lrp_v2(whole) == to_model(answer("desired-get-r2").desired_lrp)


def test_desired_lrp_v0() -> None:
    whole = to_model(first_event("events-lrp_instances.r1").desired_lrp)
    assert desired_lrp_v0(whole) == to_model(first_event("events-lrp_instances").desired_lrp)


def test_task_v2() -> None:
    whole = to_model(answer("task-get-r3").task)
    assert task_v2(whole) == to_model(answer("task-get-r2").task)
    from_events = to_model(first_event("events-tasks.r1").task)
    assert task_v2(from_events) == to_model(first_event("events-tasks").task)


def test_a_damaged_task_has_no_views() -> None:
    assert task_v2(Task(task_guid="t")) == Task(task_guid="t")


def test_answers_fill_the_metrics_guid_that_events_lack() -> None:
    stored = to_model(first_event("events-lrp_instances.r1").desired_lrp)
    read = to_model(answer("desired-get-r3").desired_lrp)
    assert stored.metrics_guid == ""
    assert with_source_id(stored) == read


def test_metric_tags_fill_from_the_metrics_guid() -> None:
    old = DesiredLRP(metrics_guid="m", metric_tags={"a": MetricTagValue(static="b")})
    assert with_source_id(old).metric_tags == {
        "a": MetricTagValue(static="b"),
        "source_id": MetricTagValue(static="m"),
    }
    both = DesiredLRP(metrics_guid="m", metric_tags={"source_id": MetricTagValue(static="m")})
    assert with_source_id(both) == both
    assert with_source_id(DesiredLRP()) == DesiredLRP()


def test_scheduling_info() -> None:
    whole = to_model(answer("desired-get-r3").desired_lrp)
    recorded = to_model(answer("scheduling-info-get").desired_lrp_scheduling_info)
    assert scheduling_info(whole) == recorded


def test_routing_info() -> None:
    whole = to_model(answer("desired-get-r3").desired_lrp)
    assert routing_info(whole) == to_model(answer("routing-info-list").desired_lrps[0])


def test_without_layers_nothing_is_put_ahead() -> None:
    lrp = DesiredLRP(action=RUN)
    assert desired_lrp_v2(lrp) == lrp


def test_v0_of_dependencies_without_setup() -> None:
    lrp = DesiredLRP(
        action=RUN,
        cached_dependencies=(CachedDependency(from_="http://x", to="/y", checksum_algorithm="md5"),),
    )
    setup = desired_lrp_v0(lrp).setup
    assert isinstance(setup, SerialAction)
    assert len(setup.actions) == 1


def test_v0_timeouts_nested_in_each_other() -> None:
    inner = TimeoutAction(action=RUN, timeout_ms=1)
    lrp = DesiredLRP(
        action=TimeoutAction(action=TryAction(action=EmitProgressAction(action=inner)), timeout_ms=2)
    )
    assert desired_lrp_v0(lrp).action == TimeoutAction(
        action=replace(inner, deprecated_timeout_ns=1_000_000), timeout_ms=2, deprecated_timeout_ns=2_000_000
    )
