"""Private directories with predictable names."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from executor.privatedir import NotPrivate, make_private

pytestmark = pytest.mark.unit


def test_it_is_made_with_its_parents_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a/b"
    for _ in range(2):
        make_private(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (path / "file").touch()
    path.chmod(0o777)
    make_private(path, 0o750)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert (path / "file").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    with pytest.raises(NotPrivate, match="ours: it is a link or no directory; remove it"):
        make_private(tmp_path / "ours")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours").touch()
    with pytest.raises(NotPrivate, match="no directory"):
        make_private(tmp_path / "ours")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    os.chown(tmp_path / "ours", 1234, 1234)
    with pytest.raises(NotPrivate, match="ours: it belongs to user 1234"):
        make_private(tmp_path / "ours")
