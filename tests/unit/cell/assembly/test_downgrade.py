"""`cell rep` of an older version than the journal's refuses to start and says how to go back."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cell.assembly.cell import JOURNAL_FOLDER
from executor.journal import schema
from executor.journal.sqlite import FILE_NAME, SQLiteJournal

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(os.geteuid() != 0, reason="the locks of a cell are root's"),
]


async def test_a_newer_journal_is_refused_and_kept(tmp_path: Path) -> None:
    config = tmp_path / "rep.json"
    config.write_text(
        json.dumps(
            {
                "cell_id": tmp_path.name,
                "bbs_address": "http://127.0.0.1:1",
                "locket_address": "127.0.0.1:2",
                "docker_host": f"unix://{tmp_path}/no-engine.sock",
                "state_dir": str(tmp_path / "state"),
                "cache_path": str(tmp_path / "cache"),
                "temp_dir": str(tmp_path / "tmp"),
                "network_name": tmp_path.name[-15:],
                "nft_table": tmp_path.name,
            }
        )
    )
    (tmp_path / "state").mkdir(mode=0o700)
    async with SQLiteJournal(tmp_path / "state" / JOURNAL_FOLDER):
        """An agent of the newer version."""
    file, newer = tmp_path / "state" / JOURNAL_FOLDER / FILE_NAME, schema.SCHEMA_VERSION + 1
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE facts SET value = ? WHERE key = 'version'", (b"9.9.9",))
        connection.execute(f"PRAGMA user_version={newer}")
        connection.execute(f"PRAGMA application_id={schema.mark(newer)}")
    before = file.read_bytes()

    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cell", "rep", "-config", str(config)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr.decode()
    entry = json.loads(ended.stdout.splitlines()[-1])
    assert entry["message"] == "rep.exited-with-failure"
    said = entry["data"]["error"]
    assert "start that version again, or drain the cell with it and then move the file away" in said
    assert f"{file}: schema {newer}, written by version 9.9.9; this is version" in said
    assert file.read_bytes() == before
