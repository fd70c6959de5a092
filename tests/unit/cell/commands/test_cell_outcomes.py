"""`cell outcomes`: the reports that wait for the BBS, as a rep of this machine lists them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.errors import BBSError, ErrorType
from cell.commands.outcomes import to_table
from cell.development.endpoints import published
from cell.main import main
from executor.journal.api import FailureReason
from rep.evacuation import EvacuationFlag
from rep.outcomes.reports import CrashActualLRP, Instance
from rep.server import AdminRoutes, listening
from tests.support.journals import FailingJournal, Fault
from tests.support.outcomes import courier_for
from tests.support.rep_doubles import ScriptedBBS

pytestmark = pytest.mark.unit

REPORT = CrashActualLRP(
    Instance(
        key=ActualLRPKey(process_guid="web", index=0, domain="apps"),
        instance_key=ActualLRPInstanceKey(instance_guid="instance-1", cell_id="cell-1"),
    ),
    "boom",
)


@asynccontextmanager
async def rep() -> AsyncIterator[str]:
    """The address of an admin listener; one report waits behind a BBS and a full disk."""
    bbs, journal = ScriptedBBS(), FailingJournal()
    bbs.answers["crash_actual_lrp"] = [BBSError(ErrorType.Deadlock, "try again")]
    journal.fault = Fault(FailureReason.FULL)
    courier = courier_for(bbs, journal=journal)
    await courier.settle(REPORT, "")
    application = AdminRoutes(EvacuationFlag(), courier).application()
    async with listening(application, "127.0.0.1:0", None) as address:
        yield str(address)


async def test_a_configured_cell_says_what_waits_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "rep.json"
    async with rep() as address:
        config.write_text(json.dumps({"cell_id": "cell-1", "listen_addr": address}))
        assert await asyncio.to_thread(main, ["outcomes", "--config", str(config), "--table"]) == 0
    header, row, *said = capsys.readouterr().out.splitlines()
    assert header.split() == ["CELL", "CONTAINER", "REPORT", "AGE", "ATTEMPTS", "NEXT", "ANSWER"]
    assert row.split()[:3] == ["cell-1", "instance-1", "CrashActualLRP"]
    assert row.endswith("try again")
    assert said == [
        "cell-1: the BBS did not answer the last report",
        "cell-1: reports cannot be stored: the disk is full: free some space",
    ]


async def test_the_cells_of_a_cell_dev_are_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rep() as address:
        cells = [{"cell_id": "cell-7", "admin": f"http://{address}"}]
        with published(tmp_path, {"bbs": "b", "locket": "l", "cells": cells}):
            assert await asyncio.to_thread(main, ["outcomes", "--state-dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["cell_id"], found["container_guid"], found["stored"]) == ("cell-7", "instance-1", False)


def test_a_rep_that_does_not_answer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "rep.json"
    config.write_text(json.dumps({"cell_id": "cell-1", "listen_addr": "127.0.0.1:1"}))
    assert main(["outcomes", "--config", str(config)]) == 4
    assert capsys.readouterr().err.startswith("cell outcomes: cell cell-1: http://127.0.0.1:1/outcomes")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--state-dir", "none"], "no cell: name its rep.json with --config, or start `cell dev`"),
        (["--config", "none.json"], "none.json: cannot be read"),
        (["--config", "bad.json"], "bad.json: listen_addr"),
    ],
)
def test_arguments_that_name_no_cell(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text('{"cell_id": "cell-1", "listen_addr": "nonsense"}')
    assert main(["outcomes", *arguments]) == 3
    assert complaint in capsys.readouterr().err


def test_the_age_of_a_report_is_that_of_its_recording() -> None:
    row = {
        "cell_id": "c",
        "container_guid": "g",
        "report": "CompleteTask",
        "recorded_at": 100.0,
        "attempts": 3,
        "next_attempt_in_s": 0.25,
        "answer": "",
    }
    assert to_table([row], 190_000_000_000).text().splitlines()[1].split() == [
        *("c", "g", "CompleteTask", "1m30s", "3", "0.2s", "-")
    ]
