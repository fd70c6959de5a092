"""`cell version` and `cell help`."""

from __future__ import annotations

import json

import pytest

from cell.main import main
from cell.registry import COMMANDS

pytestmark = pytest.mark.unit


def test_the_version_names_the_cell_and_what_it_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found)[:4] == ["cell", "journal", "python", "kernel"]
    assert main(["version"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"cell {found['cell']}"


def test_help_lists_the_commands_and_describes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    listed = capsys.readouterr().out
    assert [name for name in COMMANDS if f"  {name} " not in listed] == []
    assert main(["help", "drain"]) == 0
    described = capsys.readouterr().out
    assert main(["drain", "--help"]) == 0
    assert described == capsys.readouterr().out
    assert main(["help", "nonsense"]) == 2
