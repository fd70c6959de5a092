"""The state folder of a command: exclusive to one process, private to its owner."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from cell.assembly.locks import AlreadyInUse
from cell.development.certs import development_identities, development_instance_authority
from cell.development.endpoints import NoEndpoints, published, read_endpoints
from cell.development.statefolder import LOCK_NAME, held, open_private

pytestmark = pytest.mark.unit


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def readable_for_others(folder: Path) -> list[str]:
    return [
        str(path) for path in (folder, *folder.rglob("*")) if mode(path) & 0o077 and not path.is_symlink()
    ]


@pytest.fixture(autouse=True)
def usual_umask() -> object:
    before = os.umask(0o022)
    yield before
    os.umask(before)


def test_what_a_development_cell_writes_is_for_its_owner(tmp_path: Path) -> None:
    """State folder 0700; cell.log, endpoints.json, certificates and keys 0600."""
    folder = tmp_path / "deep" / "state"
    with held(folder, "cell dev"), open_private(folder / "cell.log", "a"):
        development_identities(folder / "tls")
        development_instance_authority(folder / "tls")
        with published(folder, {"bbs": "x"}):
            assert readable_for_others(folder) == []
            assert len(list(folder.rglob("*"))) >= 10


def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (folder / "tls").mkdir(parents=True)
    (folder / "static").mkdir()
    for path in ("cell.log", "endpoints.json", "tls/client.crt", "tls/client.key", "static/app.tgz"):
        (folder / path).write_text("")
        (folder / path).chmod(0o644)
    foreign = tmp_path / "foreign"
    foreign.write_text("")
    foreign.chmod(0o644)
    (folder / "tls" / "link").symlink_to(foreign)
    with held(folder, "cell dev"):
        assert readable_for_others(folder) == [str(folder / "static"), str(folder / "static/app.tgz")]
    assert mode(foreign) == 0o644


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "cell.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), open_private(tmp_path / "cell.log", "a"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_one_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """Two cells on one state folder: the second is refused with words; endpoints.json stays."""
    folder = tmp_path / "state"
    with held(folder, "cell dev"), published(folder, {"bbs": "first"}):
        (folder / "cell.log").write_text("")
        (folder / "cell.log").chmod(0o644)
        before = {path: path.read_bytes() for path in folder.rglob("*")}
        with ExitStack() as stack, pytest.raises(AlreadyInUse) as refused:
            stack.enter_context(held(folder, "cell dev"))
        assert {path: path.read_bytes() for path in folder.rglob("*")} == before
        assert mode(folder / "cell.log") == 0o644
    assert str(refused.value) == (
        f"the state folder {folder} is in use by another `cell dev` (process {os.getpid()}): stop that one, "
        "or give this one another --state-dir"
    )
    with held(folder, "cell dev"):
        assert (folder / LOCK_NAME).exists()


def test_who_may_not_read_the_endpoints_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NoEndpoints, match=r"is readable only for the user of `cell dev`"):
        read_endpoints(tmp_path)
