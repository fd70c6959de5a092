"""`cell orphans` with a rep that runs: what it lists and removes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cell.commands import orphans as command
from cell.commands.orphans import Orphan, to_table
from cell.main import main
from executor.errors import EngineError
from executor.model import Resources
from rep.evacuation import EvacuationFlag
from rep.server import AdminRoutes, OrphanRoutes, listening
from tests.support.outcomes import idle_courier
from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> FakeExecutor:
    """With an orphan. The engine does not know its age."""
    monkeypatch.setattr(command, "_created", lambda *_: {})
    executor = FakeExecutor(Resources(memory_mb=1, disk_mb=1, containers=1))
    executor.unknown["lost"] = 41.7
    return executor


@asynccontextmanager
async def arguments(executor: FakeExecutor, folder: Path) -> AsyncIterator[list[str]]:
    """The arguments that name a running rep."""
    routes = OrphanRoutes(executor).routes()
    application = AdminRoutes(EvacuationFlag(), idle_courier()).application(routes)
    async with listening(application, "127.0.0.1:0", None) as address:
        config = folder / "rep.json"
        config.write_text(json.dumps({"cell_id": "cell-1", "listen_addr": str(address)}))
        yield ["orphans", "--config", str(config)]


async def test_a_rep_names_its_orphans(
    executor: FakeExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with arguments(executor, tmp_path) as words:
        assert await asyncio.to_thread(main, [*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "cell_id": "cell-1",
        "container_guid": "lost",
        "created_at": 0,
        "removed_in_s": 41.7,
        "reason": "it has no record in the journal",
    }
    assert executor.calls == []


async def test_orphans_are_removed_by_the_rep(
    executor: FakeExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with arguments(executor, tmp_path) as words:
        assert await asyncio.to_thread(main, [*words, "--remove", "--table"]) == 0
        assert executor.unknown == {}
        assert capsys.readouterr().out.splitlines()[-1] == "removed: 1"
        assert await asyncio.to_thread(main, [*words, "--json"]) == 0
    assert capsys.readouterr().out == ""


async def test_an_engine_that_refuses_is_quoted(
    executor: FakeExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executor.errors["remove_orphan"] = EngineError("destroy container lost: busy")
    async with arguments(executor, tmp_path) as words:
        assert await asyncio.to_thread(main, [*words, "--remove", "--table"]) == 4
    assert "cell cell-1: container lost: destroy container lost: busy" in capsys.readouterr().err


def test_the_age_is_that_of_the_container() -> None:
    orphan = Orphan(cell_id="c", container_guid="g", removed_in_s=None, created_at=100)
    header, row = to_table([orphan], 190_000_000_000).text().splitlines()
    assert header.split() == ["CELL", "CONTAINER", "AGE", "REMOVED", "IN", "REASON"]
    assert row.split() == ["c", "g", "1m30s", "-", *command.NOT_RECORDED.split()]
