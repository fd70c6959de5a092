"""A file gets each line once and in order, however often its writer is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.thorough import THOROUGH
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

LIVES = 100 if THOROUGH else 20


def test_kills_lose_and_double_no_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killed_readers", str(tmp_path), str(LIVES), "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    numbers: dict[str, list[int]] = {"OUT": [], "ERR": []}
    for text in (tmp_path / "app.log").read_text().splitlines():
        line = json.loads(text)
        numbers[line["stream"]].append(int(line["message"].split()[0]))
    written = [int(count) for count in ended.stdout.split()]
    assert all(written)
    assert list(numbers.values()) == [list(range(count)) for count in written]
    assert not list((tmp_path / "spool").iterdir())
