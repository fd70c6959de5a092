"""Messages of the buildpack builder if a droplet or a cache cannot be packed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.buildpack.build import NO_SUPPLY
from lifecycle.buildpack.builder import status_of
from lifecycle.buildpack.buildpacks import BuildError
from lifecycle.buildpack.scripts import pack_cache, pack_droplet

pytestmark = pytest.mark.unit


CHOSEN = "buildpacks chosen to supply dependencies"


@pytest.fixture
def tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The image's tar is a script, its cp a real one."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cp").symlink_to("/bin/cp")
    monkeypatch.setenv("PATH", str(tools))

    def be(script: str) -> None:
        program = tools / "tar"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return be


FAILURES = [
    ("echo no room >&2; exit 2", "no room\n: exit status 2"),
    ("echo out; echo err >&2; exit 1", "out\nerr\n: exit status 1"),
    ("kill -9 $$", ": signal: killed"),
]
"""Behaviour of tar -> message."""


@pytest.mark.parametrize(("script", "reason"), FAILURES)
def test_a_tar_that_fails_with_the_droplet(
    script: str, reason: str, tar: Callable[[str], None], tmp_path: Path
) -> None:
    tar(script)
    for name in ("app", "work"):
        (tmp_path / name).mkdir()
    with pytest.raises(BuildError) as error:
        pack_droplet(tmp_path / "app", tmp_path / "work", tmp_path / "droplet")
    assert str(error.value) == f"Failed to compress droplet filesystem: {reason}"
    assert status_of(str(error.value)) == 1


@pytest.mark.parametrize(("script", "reason"), FAILURES)
def test_a_tar_that_fails_with_the_cache(
    script: str, reason: str, tar: Callable[[str], None], tmp_path: Path
) -> None:
    tar(script)
    with pytest.raises(BuildError) as error:
        pack_cache(tmp_path, tmp_path / "out" / "cache")
    assert str(error.value) == f"Failed to compress build artifacts: {reason}"
    assert status_of(str(error.value)) == 1


def test_a_folder_for_logs_that_cannot_be_made(tar: Callable[[str], None], tmp_path: Path) -> None:
    tar("exit 0")
    for name in ("app", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "tmp").write_text("")
    with pytest.raises(BuildError, match=r"^Failed to set up droplet filesystem: file exists$"):
        pack_droplet(tmp_path / "app", tmp_path / "work", tmp_path / "droplet")


def test_a_place_for_the_cache_that_cannot_be_made(tar: Callable[[str], None], tmp_path: Path) -> None:
    tar("exit 0")
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError) as error:
        pack_cache(tmp_path, tmp_path / "file" / "deep" / "cache")
    words = f"Failed to create output build artifacts cache dir: mkdir {tmp_path}/file/deep: not a directory"
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("None of the buildpacks detected a compatible application", 222),
        ("Failed to compile droplet: Failed to compile droplet: exit status 7", 223),
        ("Failed to compile droplet: Failed to run all supply scripts: exit status 4", 223),
        ("Failed to compile droplet: Failed to run finalize script: exit status 4", 223),
        ("Failed to build droplet release: exit status 3", 224),
        ("Failed to build droplet release: buildpack's release output invalid: x", 224),
        ("Failed to run all supply scripts: exit status 4", 225),
        (f"Error: one of the {CHOSEN} does not support multi-buildpack apps", 225),
        ("Failed to run finalize script: exit status 4", 226),
        ("Failed to run finalize script: Failed to build droplet release: x", 224),
        (NO_SUPPLY, 225),
        ("Failed to run all supply scripts: x None of the buildpacks detected a compatible application", 222),
        ("Failed to copy compiled droplet: exit status 1", 1),
        ("yaml: line 1: did not find expected node content", 1),
        ("", 1),
    ],
)
def test_exit_status_by_the_last_message(message: str, status: int) -> None:
    assert status_of(message) == status
