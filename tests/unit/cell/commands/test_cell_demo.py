"""Messages of a failing `cell demo`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cell.commands import demo
from cell.development.local import LocalCellError
from cell.main import main

pytestmark = pytest.mark.unit


def test_the_cause_of_a_failure_is_told_not_what_the_end_brought_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def half_broken(_: Path) -> AsyncIterator[Any]:
        yield SimpleNamespace(endpoints={"receptor": "http://127.0.0.1:1"})
        raise LocalCellError("`cell dev` ended with 1")

    async def fail(*_: object) -> None:
        raise LocalCellError("waited 30 s for RUNNING")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo, "local_cell", half_broken)
    monkeypatch.setattr(demo, "_run_lrp", fail)
    assert main(["demo", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "cell demo: waited 30 s for RUNNING\n"
