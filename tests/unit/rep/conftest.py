"""A scripted executor, BBS and Locket, and containers for them."""

from __future__ import annotations

import pytest

from executor.model import (
    Resources,
)
from tests.support.rep_doubles import (
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
