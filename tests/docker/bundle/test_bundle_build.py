"""The bundle's build: the same inputs give the same bytes, and nothing superfluous is in it."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from lifecycle.bundle import build
from lifecycle.bundle.debian import PackageError, drop_others, native_architecture, one_at_a_time
from lifecycle.bundle.sources import default_cache

# The fixture fills the cache with packages.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600), pytest.mark.usefixtures("bundle")]

GOAL_BYTES = 25_000_000
CACHE = default_cache()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    job = build.Build(native_architecture(), CACHE)
    job.fill(tmp_path)
    kept, again = (build.archive(tree, build.BUNDLES["lifecycle.tgz"]) for tree in (job.tree(), tmp_path))
    assert kept == again
    assert len(kept) < GOAL_BYTES


def test_two_builds_on_one_cache_do_not_run_at_the_same_time(tmp_path: Path) -> None:
    """A second build on an empty cache removed the folder that the first one was fetching packages into."""
    with one_at_a_time(tmp_path), (tmp_path / "lock").open() as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with one_at_a_time(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("buildpack_app_lifecycle.tgz", {"builder", "diego-sshd", "healthcheck", "launcher", "shell"}),
        ("docker_app_lifecycle.tgz", {"builder", "diego-sshd", "healthcheck", "launcher"}),
    ],
)
def test_what_the_platform_unpacks(name: str, programs: set[str]) -> None:
    tree = build.Build(native_architecture(), CACHE).tree()
    with tarfile.open(fileobj=io.BytesIO(build.archive(tree, build.BUNDLES[name]))) as archive:
        members = archive.getmembers()
    assert {member.name for member in members if "/" not in member.name} == programs
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 0)}
    assert [member.name for member in members if member.mode & 0o444 != 0o444] == []
    assert {member.mode for member in members if member.name in programs} == {0o755}


def test_the_library_has_what_is_needed_and_no_more() -> None:
    tree = build.Build(native_architecture(), CACHE).tree()
    (library,) = (tree / "lib").glob("python*.zip")
    names = zipfile.ZipFile(library).namelist()
    needed = {"lifecycle/docker/launcher.pyc", "encodings/utf_8.pyc", "sshd/program.pyc"}
    assert needed <= set(names)
    superfluous = {"bbs", "executor", "rep", "cell", "unittest", "tkinter", "distutils"}
    assert {name.partition("/")[0] for name in names} & superfluous == set()
    assert "healthcheck/probe.pyc" not in names


def test_the_bundle_says_what_it_is_made_of_and_under_which_licences(tmp_path: Path) -> None:
    job = build.Build(native_architecture(), CACHE)
    library = job.tree() / "lib"
    sources = {path.name: path for path in (*job.packages, *job.wheels)}
    listed = dict(line.split("  ")[::-1] for line in (library / "packages.txt").read_text().splitlines())
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sources.items()}

    licences = library / "licences"
    packages = {path.name.partition("_")[0] for path in job.packages}
    assert {path.name for path in (licences / "debian").iterdir()} == packages
    wheels = {path.name.partition("-")[0] for path in job.wheels}
    assert {path.name for path in (licences / "python").iterdir()} == wheels
    texts = [path for path in licences.rglob("*") if path.is_file()]
    assert [path for path in texts if path.stat().st_size < 100] == []
    assert "Apache License" in (licences / "diego-cell").read_text()


def test_the_digests_beside_an_archive_are_those_of_its_files(tmp_path: Path) -> None:
    with one_at_a_time(CACHE):
        build.write_archives(tmp_path / "archives", CACHE)
    for name in build.BUNDLES:
        unpacked = tmp_path / name.removesuffix(".tgz")
        unpacked.mkdir()
        with tarfile.open(tmp_path / "archives" / name) as archive:
            archive.extractall(unpacked, filter="data")
            files = [member.name for member in archive]
        sums = tmp_path / "archives" / f"{name}.sha256sums"
        check = ["sha256sum", "--check", "--strict", "--quiet", sums]
        subprocess.run(check, cwd=unpacked, check=True, capture_output=True)
        assert [line.split("  ")[1] for line in sums.read_text().splitlines()] == files


def test_an_extension_module_that_the_bundle_lacks_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [name for name in build.EXTENSIONS if name != "termios"]
    monkeypatch.setattr(build, "EXTENSIONS", kept)
    with pytest.raises(PackageError, match="programs import what the bundle lacks: termios;"):
        build.Build(native_architecture(), CACHE).fill(tmp_path)


def test_what_earlier_sources_came_to_goes(tmp_path: Path) -> None:
    old, recent, foreign = (tmp_path / name for name in ("amd64-old", "amd64-recent", "arm64-old"))
    for folder in (old, recent, foreign):
        folder.mkdir()
        (folder / "file").write_text("")
    for folder in (old, foreign):
        os.utime(folder, (0, 0))
    current = tmp_path / "amd64-current"
    current.mkdir()
    os.utime(current, (0, 0))
    drop_others(current, "amd64-*")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["amd64-current", "amd64-recent", "arm64-old"]
