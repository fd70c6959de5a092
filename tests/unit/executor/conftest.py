"""A scripted executor, and requests for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bbs.models.actions import RunAction
from executor.config import ExecutorConfig
from executor.model import (
    AllocationRequest,
    LogConfig,
    RunInfo,
    RunRequest,
)
from tests.support.executor_doubles import CELL, World


@pytest.fixture
def config(tmp_path: Path) -> ExecutorConfig:
    return ExecutorConfig(
        cell_id=CELL, memory_mb=1024, disk_mb=2048, max_containers=5, temp_dir=str(tmp_path)
    )


@pytest.fixture
def make_world(config: ExecutorConfig) -> Callable[[], World]:
    return lambda: World(config)


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()


@pytest.fixture
def allocation() -> Callable[..., AllocationRequest]:
    def make(guid: str = "ig", **changes: Any) -> AllocationRequest:
        request = AllocationRequest(guid=guid, memory_mb=128, disk_mb=256, tags={"lifecycle": "lrp"})
        return replace(request, **changes)

    return make


@pytest.fixture
def run_request() -> Callable[..., RunRequest]:
    def make(guid: str = "ig", **changes: Any) -> RunRequest:
        info = RunInfo(
            root_fs="docker:///busybox",
            action=RunAction(path="/app", user="vcap"),
            log_config=LogConfig(guid="log-guid", index=3, source_name="APP"),
        )
        return RunRequest(guid=guid, run_info=replace(info, **changes), tags={"domain": "d"})

    return make
