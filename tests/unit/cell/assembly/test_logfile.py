"""The component log in a file: rotated by another program, or by itself."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cell.assembly.logfile import LogFile

pytestmark = pytest.mark.unit


@contextmanager
def opened(path: Path, *, most_bytes: int = 0, kept: int = 3) -> Iterator[LogFile]:
    log = LogFile(path, most_bytes=most_bytes, kept=kept)
    log.setFormatter(logging.Formatter("%(message)s"))
    try:
        yield log
    finally:
        log.close()


def write(log: LogFile, text: str) -> None:
    """Write one line and wait for it, so that the next one is in another batch."""
    log.handle(logging.LogRecord("x", logging.INFO, __file__, 1, text, None, None))
    log.flush()


def test_a_file_that_is_moved_away_is_made_again(tmp_path: Path) -> None:
    """As logrotate does without copytruncate: no line is lost or doubled, and no signal is needed."""
    path = tmp_path / "rep.log"
    with opened(path) as log:
        write(log, "one")
        path.rename(tmp_path / "rep.log.1")
        write(log, "two")
        path.unlink()
        write(log, "three")
    assert (tmp_path / "rep.log.1").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_a_file_is_appended_to_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "rep.log"
    path.write_text("before\n")
    path.chmod(0o644)
    with opened(path) as log:
        write(log, "after")
    assert path.read_text() == "before\nafter\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_large_file_is_rotated_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "cell.log"
    with opened(path, most_bytes=10, kept=2) as log:
        for number in range(5):
            write(log, f"line {number} ....")
    files = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert files == {
        "cell.log": "line 4 ....\n",
        "cell.log.1": "line 3 ....\n",
        "cell.log.2": "line 2 ....\n",
    }
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "rep.log", tmp_path / "other"
    with opened(path) as log:
        write(log, "one")
        path.unlink()
        path.symlink_to(other)
        write(log, "two")
        path.unlink()
        write(log, "three")
    assert not other.exists()
    assert path.read_text() == "three\n"
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(OSError, match=r"rep\.log"):
        LogFile(path)


def test_a_folder_that_is_gone_costs_no_cell(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    path = folder / "rep.log"
    with opened(path) as log:
        write(log, "one")
        path.unlink()
        os.rmdir(folder)
        write(log, "two")
        folder.mkdir()
        write(log, "three")
    assert path.read_text() == "three\n"
