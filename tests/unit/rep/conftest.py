"""A scripted executor, BBS and Locket, and containers for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, Presence
from executor.model import (
    Container,
    ContainerState,
    Resources,
)
from rep import tags
from tests.support.rep_doubles import (
    CELL,
    INSTANCE,
    KEY,
    TASK,
    FakeExecutor,
    FakeLocket,
    RecordedMetrics,
    ScriptedBBS,
)


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor(Resources(memory_mb=1000, disk_mb=2000, containers=249))


@pytest.fixture
def bbs() -> ScriptedBBS:
    return ScriptedBBS()


@pytest.fixture
def locket() -> FakeLocket:
    return FakeLocket()


@pytest.fixture
def metrics() -> RecordedMetrics:
    return RecordedMetrics()


@pytest.fixture
def lrp_container() -> Callable[..., Container]:
    """Makes a container of the LRP instance ``INSTANCE``."""

    def make(state: ContainerState = ContainerState.RESERVED, **values: Any) -> Container:
        described = {
            "guid": INSTANCE,
            "external_ip": "192.0.2.1",
            "tags": tags.lrp_tags(KEY, INSTANCE, None, []),
        }
        return Container(state=state, **{**described, **values})

    return make


@pytest.fixture
def task_container() -> Callable[..., Container]:
    """Makes a container of the task ``TASK``."""

    def make(
        state: ContainerState = ContainerState.RESERVED, result_file: str = "", **values: Any
    ) -> Container:
        described = tags.task_tags("apps", None, None)
        if result_file:
            described[tags.RESULT_FILE] = result_file
        return Container(guid=TASK, state=state, tags=described, **values)

    return make


@pytest.fixture
def actual_lrp() -> Callable[..., ActualLRP]:
    """Makes a record of an instance, by default of ``INSTANCE``."""

    def make(presence: Presence = Presence.ORDINARY, guid: str = INSTANCE) -> ActualLRP:
        return ActualLRP(
            actual_lrp_key=KEY,
            actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid=guid, cell_id=CELL),
            presence=presence,
        )

    return make
