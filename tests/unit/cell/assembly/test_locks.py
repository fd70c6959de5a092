"""What a cell uses alone on its machine, and how long its end may take."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cell.assembly.cell import running_executor
from cell.assembly.locks import AlreadyInUse, alone
from cell.assembly.process import ExitDeadline, raise_descriptor_limit
from executor.logs.api import LogLine
from rep.config import RepConfig, executor_config
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@pytest.fixture
def config(tmp_path: Path) -> RepConfig:
    return RepConfig(
        cell_id="cell-1",
        state_dir=str(tmp_path / "state"),
        cache_path=str(tmp_path / "cache"),
        temp_dir=str(tmp_path / "tmp"),
        network_name="n1",
        nft_table="t1",
        docker_host=f"unix://{tmp_path}/engine.sock",
        preloaded_root_fs=("stack:/x.tar",),
        sidecar_root_fs="stack",
    )


def another(config: RepConfig, folder: Path, **same: Any) -> RepConfig:
    """A second cell beside it that shares nothing but ``same``."""
    own = replace(
        config,
        cell_id="cell-2",
        state_dir=str(folder / "state2"),
        cache_path=str(folder / "cache2"),
        temp_dir=str(folder / "tmp2"),
        network_name="n2",
        nft_table="t2",
    )
    return replace(own, **same)


SHARED = ["cell_id", "state_dir", "cache_path", "temp_dir", "network_name", "nft_table"]


@pytest.mark.parametrize("key", SHARED)
def test_two_cells_share_nothing(config: RepConfig, tmp_path: Path, key: str) -> None:
    """A second one with the same cell id or network removed containers and links of the first."""
    locks = tmp_path / "run"
    second = another(config, tmp_path, **{key: getattr(config, key)})
    with alone(config, executor_config(config), locks):
        with pytest.raises(AlreadyInUse) as raised, alone(second, executor_config(second), locks):
            pass
        said = str(raised.value)
        assert f"is in use by another cell (process {os.getpid()})" in said
        assert f"another `{key}`" in said
        third = another(config, tmp_path)
        with alone(third, executor_config(third), locks):
            """It shares nothing."""
    with alone(second, executor_config(second), locks):
        """The first one has let go."""


def test_an_engine_is_known_by_its_socket_whatever_path_leads_to_it(
    config: RepConfig, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    second = another(config, tmp_path, cell_id="cell-1", docker_host=f"unix://{tmp_path}/link/engine.sock")
    locks = tmp_path / "run"
    with alone(config, executor_config(config), locks):
        with (
            pytest.raises(AlreadyInUse, match="cell id 'cell-1'"),
            alone(second, executor_config(second), locks),
        ):
            pass
        elsewhere = replace(second, docker_host="tcp://engine:2376")
        with alone(elsewhere, executor_config(elsewhere), locks):
            """The same id on another engine is another cell."""


def test_a_killed_cell_leaves_no_lock(config: RepConfig, tmp_path: Path) -> None:
    locks = tmp_path / "run"
    program = (
        "import sys; from pathlib import Path; from contextlib import ExitStack\n"
        "from cell.assembly.locks import take\n"
        "assert take(Path(sys.argv[1]), ExitStack().__enter__()) is None\n"
        "print(flush=True); sys.stdin.read()"
    )
    state = Path(config.state_dir)
    state.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(state / "agent.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with (
            pytest.raises(AlreadyInUse, match=rf"state folder .* \(process {holder.pid}\)"),
            alone(config, executor_config(config), locks),
        ):
            pass
        holder.kill()
        holder.wait()
    with alone(config, executor_config(config), locks):
        assert (state / "agent.lock").stat().st_mode & 0o777 == 0o600


def test_a_new_state_folder_is_for_its_owner_only(config: RepConfig, tmp_path: Path) -> None:
    with alone(config, executor_config(config), tmp_path / "run"):
        assert Path(config.state_dir).stat().st_mode & 0o777 == 0o700


class Unwanted:
    """An unused log sink."""

    def emit(self, line: LogLine) -> None:
        raise AssertionError(line)


async def test_an_executor_begins_with_the_locks(config: RepConfig) -> None:
    """Refused before anything is removed and before any call to the engine."""
    with alone(config, executor_config(config)):
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(AlreadyInUse):
                async with running_executor(config, Unwanted()):
                    pass
    assert not (Path(config.state_dir) / "engine").exists()
    assert not Path(config.cache_path).exists()


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_descriptors_is_raised(limit: tuple[int, int]) -> None:
    """The usual 1,024 end an agent of 60 containers, or one under 1,500 silent connections."""
    _, hard = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    most = 1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20)
    assert raise_descriptor_limit() == most
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    assert raise_descriptor_limit() == most


def test_an_end_that_takes_too_long_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    with ExitDeadline(exit=end) as deadline:
        deadline.arm(0.01)
        deadline.arm(3600)
        assert ended.wait(10)
    assert statuses == [1]
    assert [record.message for record in caplog.records] == ["shutdown-timed-out"]


def test_an_end_in_time_is_left_alone() -> None:
    statuses: list[int] = []
    with ExitDeadline(exit=statuses.append) as deadline:
        deadline.arm(3600)
    with ExitDeadline(exit=statuses.append):
        """No stop was requested."""
    assert statuses == []
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
