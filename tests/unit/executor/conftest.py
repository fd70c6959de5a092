"""A scripted executor, and requests for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from executor.config import ExecutorConfig
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
