"""Unpacking stays inside its destination."""

from __future__ import annotations

import os
import stat
import tarfile

import pytest

from executor.cache.api import ArchiveError
from executor.cache.archive import extract, tar_directory, to_tar
from tests.support.archives import tar_of

pytestmark = pytest.mark.unit


def member(name, kind=tarfile.REGTYPE, target="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


@pytest.fixture
def unpack(tmp_path):
    def unpack(*members):
        (tmp_path / "x.tar").write_bytes(tar_of(*members))
        extract(tmp_path / "x.tar", tmp_path / "out")
        return tmp_path / "out"

    return unpack


SYM, HARD, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("a/../../evil", b"x")],
        [("/../evil", b"x")],
        [("/tmp/evil", b"x")],
        [("a/../evil", b"x")],
        [("a", b"x"), member("evil", HARD, "/a")],
        [("a/" * 300 + "evil", b"x")],
        [member("deep", SYM, "a/" * 150), member("a/" * 150, DIR), ("deep/" + "a/" * 100 + "evil", b"x")],
        [member("up", SYM, ".."), ("up/evil", b"x")],
        [member("abs", SYM, "/tmp"), ("abs/evil", b"x")],
        [member("a", SYM, "b"), member("b", SYM, ".."), ("a/evil", b"x")],
        [member("up", SYM, ".."), member("up/evil", DIR)],
        [member("up", SYM, ".."), member("up/evil", SYM, "x")],
        [member("evil", HARD, "../precious")],
        [member("evil", HARD, "missing")],
        [member("link", SYM, "../precious"), member("evil", HARD, "link")],
        [member("dev", tarfile.CHRTYPE)],
        [member("a", DIR), ("a/b", b""), ("a", b"file over directory")],
    ],
)
def test_hostile_archives_are_refused(unpack, tmp_path, members):
    (tmp_path / "precious").write_text("precious")
    with pytest.raises(ArchiveError):
        unpack(*members)
    assert not (tmp_path / "evil").exists()
    assert not os.path.lexists("/tmp/evil")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_link_is_replaced_and_never_written_through(unpack, tmp_path):
    (tmp_path / "precious").write_text("precious")
    out = unpack(member("a", SYM, "../precious"), ("a", b"mine"))
    assert (out / "a").read_bytes() == b"mine"
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_directory_member_over_a_link_makes_a_directory(unpack, tmp_path):
    out = unpack(member("a", SYM, ".."), member("a", DIR), ("a/b", b"x"))
    assert not (out / "a").is_symlink()
    assert (out / "a/b").read_bytes() == b"x"


def test_links_inside_and_links_that_only_point_outside_are_kept(unpack):
    out = unpack(
        member("lib", DIR),
        member("current", SYM, "lib"),
        ("current/a", b"1"),
        member("etc", SYM, "/etc/passwd"),
    )
    assert (out / "lib/a").read_bytes() == b"1"
    assert os.readlink(out / "etc") == "/etc/passwd"


def test_names_with_a_dot_are_those_without(unpack):
    out = unpack(member("./", DIR), ("./a/b", b"1"), ("./c", b"2"), ("d/./e", b"3"))
    assert {str(path.relative_to(out)) for path in out.rglob("*")} == {"a", "a/b", "c", "d", "d/e"}


def test_modes_are_the_archive_s_with_a_umask_of_022_and_without_set_id_bits(unpack):
    out = unpack(
        member("bin", DIR, mode=0o500),
        member("bin/run", mode=0o755),
        member("open", mode=0o666),
        member("root", mode=0o4755),
        member("shared", DIR, mode=0o2777),
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*")}
    assert modes == {"bin": 0o500, "run": 0o755, "open": 0o644, "root": 0o755, "shared": 0o755}


def test_times_are_the_archive_s(unpack):
    dated = member("dated", mode=0o600)
    dated.mtime = 1_500_000_000
    folder = member("folder", DIR, mode=0o755)
    folder.mtime = 1_400_000_000
    out = unpack(dated, folder, ("folder/a", b"1"))
    assert (out / "dated").stat().st_mtime == 1_500_000_000
    assert (out / "folder").stat().st_mtime == 1_400_000_000


def test_a_fifo_becomes_an_empty_file(unpack):
    """Containers that share the directory would be connected by it."""
    out = unpack(member("fifo", tarfile.FIFOTYPE))
    assert (out / "fifo").is_file()


def test_hard_links_share_their_file(unpack):
    out = unpack(("a", b"1"), member("b", HARD, "a"))
    assert (out / "b").read_bytes() == b"1"
    assert (out / "a").stat().st_nlink == 2


def test_a_cut_tar_is_broken(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_of(("a", b"1" * 5000))[:3000])
    with pytest.raises(ArchiveError, match="broken archive: it ends inside a member"):
        extract(tmp_path / "x.tar", tmp_path / "out")


def test_a_directory_packed_and_unpacked_is_the_same(tmp_path, unpack):
    out = unpack(member("bin", DIR, mode=0o755), ("bin/a", b"1"), member("bin/l", SYM, "a"))
    tar_directory(out, tmp_path / "again.tar")
    extract(tmp_path / "again.tar", tmp_path / "again")
    assert sorted(str(path.relative_to(tmp_path / "again")) for path in (tmp_path / "again").rglob("*")) == [
        "bin", "bin/a", "bin/l",
    ]  # fmt: skip
    assert os.readlink(tmp_path / "again/bin/l") == "a"


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 1000, b"ustar\0" * 100])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArchiveError, match="unknown archive format"):
        to_tar(tmp_path / "x", tmp_path / "y")
