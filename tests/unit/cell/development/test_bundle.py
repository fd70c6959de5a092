"""The lifecycle bundle of `cell dev`: its source, and the served files."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from cell.development import bundle
from cell.development.bundle import ARCHIVES, Bundle, BundleError, given_bundle, own_bundle
from lifecycle.bundle import sources
from lifecycle.bundle.debian import PackageError

pytestmark = pytest.mark.unit


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in ARCHIVES:
        with tarfile.open(folder / f"{name}.tgz", "w:gz") as archive:
            member = tarfile.TarInfo("healthcheck")
            member.mode, member.size = 0o755, len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def test_a_bundle_from_archives_is_unpacked_once(archives: Path, cache: Path) -> None:
    first = given_bundle(archives, cache)
    program = first.tree / "healthcheck"
    assert (program.read_text(), program.stat().st_mode & 0o777) == ("lifecycle", 0o755)
    assert first.tree.stat().st_mode & 0o777 == 0o755
    assert given_bundle(archives, cache) == first
    assert [path.name for path in cache.iterdir()] == [first.tree.name]


def test_a_folder_that_is_none(tmp_path: Path, archives: Path, cache: Path) -> None:
    with pytest.raises(BundleError, match=r"lifecycle\.tgz is missing"):
        given_bundle(tmp_path / "empty", cache)
    (archives / "lifecycle.tgz").write_bytes(b"no archive")
    with pytest.raises(BundleError, match="cannot be unpacked"):
        given_bundle(archives, cache)
    assert list(cache.iterdir()) == []


def test_ours_is_served_and_renewed_but_no_other_is_replaced(archives: Path, tmp_path: Path) -> None:
    static = tmp_path / "static"
    theirs = static / "docker_app_lifecycle" / "docker_app_lifecycle.tgz"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    for folder in (tmp_path / "an-earlier-build", archives):
        Bundle(archives=folder, tree=folder).serve(static)
    ours = static / "buildpack_app_lifecycle" / "buildpack_app_lifecycle.tgz"
    assert ours.read_bytes() == (archives / ours.name).read_bytes()
    assert theirs.read_text() == "theirs"


def test_a_build_happens_once_for_the_same_sources(
    archives: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = []

    def build(output: Path, packages: Path) -> None:
        builds.append(packages)
        shutil.copytree(archives, output, dirs_exist_ok=True)

    monkeypatch.setattr(bundle, "write_archives", build)
    monkeypatch.setattr(bundle, "default_cache", lambda: cache)
    first = own_bundle()
    assert own_bundle() == first
    assert builds == [cache]
    assert {first.archives.stat().st_mode & 0o777, first.tree.stat().st_mode & 0o777} == {0o755}
    abandoned = _made(first.archives.with_name("killed.x1y2"))
    monkeypatch.setattr(bundle, "sources_hash", lambda: "newer")
    newer = own_bundle()
    assert not abandoned.exists()
    assert newer.archives != first.archives
    assert newer.remove_others(()) == [first.archives]


def test_a_build_that_fails_says_why(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(output: Path, packages: Path) -> None:
        raise PackageError("gcc is not installed")

    monkeypatch.setattr(bundle, "write_archives", build)
    monkeypatch.setattr(bundle, "default_cache", lambda: cache)
    with pytest.raises(BundleError, match=r"cannot be built: gcc is not installed"):
        own_bundle()
    assert list((cache / "ready").iterdir()) == []


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text("")
    return folder


def test_only_the_current_one_and_those_in_use_stay(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    new = Bundle(archives=_made(ready / "new"), tree=_made(tmp_path / "bundle-new"))
    running = Bundle(archives=_made(ready / "running"), tree=_made(tmp_path / "bundle-running"))
    mounted = _made(tmp_path / "bundle-mounted")
    building = _made(ready / "built.x1y2")
    others = [_made(tmp_path / "bundle-old"), _made(ready / "old")]
    roots = _made(tmp_path / "roots")
    with running.held():
        assert new.remove_others({mounted / "launcher", Path("/elsewhere")}) == others
    kept = {new.archives, new.tree, running.archives, running.tree, mounted, building, roots}
    assert all((folder / "file").exists() for folder in kept)
    assert not any(folder.exists() for folder in others)
    # a process that has ended holds nothing
    assert new.remove_others(()) == [mounted, running.tree, running.archives]


def test_archives_of_somebodys_own_stay(archives: Path, cache: Path, tmp_path: Path) -> None:
    _made(tmp_path / "another's archives")
    old = _made(cache / "bundle-old")
    ours = given_bundle(archives, cache)
    assert ours.remove_others(()) == [old]
    assert (tmp_path / "another's archives/file").exists()


def test_one_that_was_taken_away_cannot_be_held(tmp_path: Path) -> None:
    gone = Bundle(archives=tmp_path / "gone", tree=tmp_path / "gone")
    with pytest.raises(BundleError, match="gone: No such file"), gone.held():
        pass


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("/var/cache/own", "/var/cache/own"), ("", "/home/ada/.cache"), ("relative", "/home/ada/.cache")],
)
def test_an_installed_package_builds_in_the_users_cache(
    variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    assert sources.default_cache() == Path(expected) / "diego-cell/bundle"
    (tmp_path / "pyproject.toml").touch()
    assert sources.default_cache() == tmp_path / ".cache/bundle"
