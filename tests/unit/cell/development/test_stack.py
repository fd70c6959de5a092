"""The stack built from this machine's files."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from cell.development import stack
from cell.development.stack import PYTHON, StackError, build_stack_tar

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tarfile.TarInfo]:
    path = tmp_path_factory.mktemp("stack") / "stack.tar"
    build_stack_tar(path)
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def test_it_has_what_launcher_and_buildpacks_start(members: dict[str, tarfile.TarInfo]) -> None:
    for name in ("bin/busybox", "bin/bash", f"usr/bin/{PYTHON}"):
        assert members[name].mode & 0o111, name
    assert members["usr/bin/python3"].linkname == PYTHON
    assert members["home/vcap"].uid == 2000


def test_it_has_the_standard_library_without_its_tests(members: dict[str, tarfile.TarInfo]) -> None:
    library = f"usr/{sys.platlibdir}/{PYTHON}"
    assert f"{library}/http/server.py" in members
    assert not any(name.startswith((f"{library}/test/", f"{library}/idlelib/")) for name in members)


def test_programs_come_with_their_loader_and_libraries(members: dict[str, tarfile.TarInfo]) -> None:
    assert any(name.startswith("lib/libc.") for name in members)
    assert any(Path(name).name.startswith("ld-") for name in members)


def test_a_machine_without_bash_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stack, "BASH", tmp_path / "bash")
    with pytest.raises(StackError, match="bash: No such file"):
        stack._fingerprint()
