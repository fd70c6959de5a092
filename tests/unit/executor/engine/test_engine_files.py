"""Copies in and out of a file tree that represents a container's: results and refusals."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import re
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits
from executor.engine import files
from executor.engine.copies import Copies
from executor.errors import EngineError, FileTooLarge, NoSuchFile, ProcessStartError
from tests.support.archives import tar_of

pytestmark = pytest.mark.unit

T = TypeVar("T")

LIMITS = ArchiveLimits(free_bytes=1 << 20, ratio=2, members=50, depth=5)
PASSWD = "root:x:0:0::/root:/bin/sh\nvcap:x:2000:3000::/home/vcap:/bin/sh\n"


def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Work that changes the rights of its thread."""
    return asyncio.run(Copies().run("guid", "copy", work))


class Tree:
    """A root directory, and a directory of /proc that leads to it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        for name in ("etc", "home/vcap", "tmp"):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/passwd").write_text(PASSWD)
        os.chown(self.root / "home/vcap", 2000, 3000)
        (self.root / "tmp").chmod(0o1777)
        (folder / "proc").mkdir()
        (folder / "proc/root").symlink_to(self.root)
        for table in ("uid_map", "gid_map"):
            (folder / "proc" / table).write_text("         0          0 4294967295\n")
        self.proc_fd = os.open(folder / "proc", os.O_PATH | os.O_DIRECTORY)
        self._tar = folder / "in.tar"

    def unpack(
        self,
        *members: tarfile.TarInfo | tuple[str, bytes],
        content: bytes | None = None,
        to: str = "to",
        user: str = "vcap",
        limits: ArchiveLimits = LIMITS,
    ) -> Path:
        """Where a relative target is."""
        self._tar.write_bytes(tar_of(*members) if content is None else content)
        in_thread(lambda revoked: files.unpack(self.proc_fd, to, user, self._tar, limits, revoked))
        return self.root / os.path.join("/home/vcap", to).lstrip("/")

    def copy_out(self, path: str, user: str = "vcap", limit: int = 8 << 20) -> bytes:
        target = io.BytesIO()
        size = in_thread(lambda revoked: files.copy_out(self.proc_fd, path, user, target, limit, revoked))
        assert size == len(target.getvalue())
        return target.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    os.close(tree.proc_fd)


def member(name: str, type: bytes = tarfile.REGTYPE, link: str = "", **fields: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_uid, path.lstat().st_gid)
        for path in folder.rglob("*")
    }


def test_everything_is_the_users_and_implied_directories_are_made(tree: Tree) -> None:
    to = tree.unpack(
        ("a/b/file", b"x"),
        member("a/other", uid=7, gid=8),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("hard", tarfile.LNKTYPE, "a/b/file"),
        member("fifo", tarfile.FIFOTYPE),
    )
    assert set(owners(to).values()) == {(2000, 3000)}
    assert sorted(owners(to)) == ["a", "a/b", "a/b/file", "a/other", "fifo", "hard", "link"]
    assert (to.stat().st_uid, to.stat().st_gid) == (2000, 3000)


def test_the_layer_of_an_image_keeps_its_owners_and_modes(tree: Tree) -> None:
    tree.unpack(member("a/other", uid=7, gid=8, mode=0o4755), to="/layer", user="")
    to = tree.root / "layer"
    assert owners(to) == {"a": (0, 0), "a/other": (7, 8)}
    assert stat.S_IMODE((to / "a/other").stat().st_mode) == 0o4755


def test_a_download_has_a_umask_and_no_set_id_bits(tree: Tree) -> None:
    """Modes of downloads kept 4755 and 666: one that root downloads left set-user-id programs of root."""
    for user in ("root", "vcap"):
        to = tree.unpack(
            member("program", mode=0o4755),
            member("group", mode=0o2755),
            member("open", mode=0o666),
            member("folder", tarfile.DIRTYPE, mode=0o7777),
            member("pipe", tarfile.FIFOTYPE, mode=0o666),
            to=f"/tmp/{user}",
            user=user,
        )
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in to.iterdir()}
        assert modes == {"program": 0o755, "group": 0o755, "open": 0o644, "folder": 0o755, "pipe": 0o644}


def test_a_fifo_of_a_download_is_one(tree: Tree) -> None:
    assert (tree.unpack(member("pipe", tarfile.FIFOTYPE)) / "pipe").is_fifo()


def test_dates_are_the_archives(tree: Tree) -> None:
    to = tree.unpack(
        member("file", mtime=1_500_000_000),
        member("folder", tarfile.DIRTYPE, mtime=1_400_000_000, mode=0o500),
        ("folder/file", b""),
        member("link", tarfile.SYMTYPE, "x", mtime=1_300_000_000),
    )
    dates = {name: (to / name).lstat().st_mtime for name in ("file", "folder", "link")}
    assert dates == {"file": 1_500_000_000, "folder": 1_400_000_000, "link": 1_300_000_000}


def test_the_users_rights_decide_what_may_be_written_and_read(tree: Tree) -> None:
    with pytest.raises(EngineError, match=r"^/etc/new: permission denied$"):
        tree.unpack(("new", b""), to="/etc")
    (tree.root / "etc/secret").write_text("secret")
    (tree.root / "etc/secret").chmod(0o600)
    with pytest.raises(NoSuchFile, match=r"^/etc/secret: permission denied$"):
        tree.copy_out("/etc/secret")
    assert tree.copy_out("/etc/secret", user="root") == b"secret"
    assert (tree.unpack(("new", b""), to="/etc", user="root") / "new").exists()


def test_a_thread_with_a_users_rights_changes_no_other(tree: Tree) -> None:
    tree.unpack(("a", b""))
    assert "Uid:\t0\t0\t0\t0" in Path("/proc/self/status").read_text()


def test_content_arrives_whatever_its_size(tree: Tree) -> None:
    contents = {f"f{size}": os.urandom(size) for size in (0, 1, 511, 512, 513, 256 << 10, (256 << 10) + 1)}
    to = tree.unpack(*contents.items())
    assert {path.name: path.read_bytes() for path in to.iterdir()} == contents


def test_files_and_links_are_replaced_and_directories_stay(tree: Tree) -> None:
    to = tree.unpack(("a", b"old"), ("d/e", b"kept"))
    (to / "b").symlink_to(tree.root / "etc/passwd")
    (to / "d").chmod(0o711)
    tree.unpack(("a", b"new"), ("b", b"new"), member("d", tarfile.DIRTYPE), ("d/f", b"new"))
    assert {path.name: path.read_bytes() for path in to.rglob("?") if path.is_file()} == {
        "a": b"new", "b": b"new", "e": b"kept", "f": b"new",
    }  # fmt: skip
    assert (tree.root / "etc/passwd").read_text() == PASSWD
    assert stat.S_IMODE((to / "d").stat().st_mode) == 0o711


def test_links_that_were_there_lead_around_in_the_container_only(tree: Tree) -> None:
    to = tree.unpack(("a", b""))
    (to / "there").symlink_to("/tmp/elsewhere")
    (tree.root / "tmp/elsewhere").mkdir(mode=0o777)
    (tree.root / "tmp/elsewhere").chmod(0o777)
    tree.unpack(("there/file", b"x"))
    assert (tree.root / "tmp/elsewhere/file").read_bytes() == b"x"


def test_links_of_the_archive_are_followed_inside_of_the_target(tree: Tree) -> None:
    to = tree.unpack(
        member("lib", tarfile.DIRTYPE), member("current", tarfile.SYMTYPE, "lib"), ("current/a", b"1")
    )
    assert (to / "lib/a").read_bytes() == b"1"


def sparse(size: int) -> bytes:
    """A tar of a few blocks with a file of that size, all of it a hole."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("hole")
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "hole",
            "GNU.sparse.realsize": str(size),
        }
        map_of_data = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
        info.size = len(map_of_data)
        archive.addfile(info, io.BytesIO(map_of_data))
    return data.getvalue()


def big_header() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * (2 << 20)))
    return data.getvalue()


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE

REFUSED = {
    "a sparse giant": (sparse(1 << 40), "bytes unpack to more than 1048576"),
    "too many": (tar_of(*((f"f{number}", b"") for number in range(51))), "more than 50 members"),
    "too many implied": (
        tar_of(*((f"{number}/1/2/3/4/file", b"") for number in range(10))),
        "more than 50 members",
    ),
    "too deep": (tar_of(("1/2/3/4/5/6/file", b"")), "more than 5 directories deep"),
    "long names": (
        tar_of(*(("n" * 200 + f"/{number}" + "m" * 200, b"") for number in range(40))),
        "names of its members have more than 12800 bytes",
    ),
    "a big header": (big_header(), "one of its headers has more than 1048576 bytes"),
    "packed twice": (gzip.compress(tar_of(("file", b"x"))), "broken archive: "),
    "no archive": (b"x" * 2000, "broken archive: "),
    "cut off": (tar_of(("file", b"x" * 5000))[:3000], "broken archive: it ends inside a member"),
    "upwards": (tar_of(("../x", b"")), "leads out of its destination"),
    "absolute": (tar_of(("/etc/x", b"")), "leads out of its destination"),
    "device": (tar_of(member("dev", tarfile.CHRTYPE)), "it is a device"),
    "behind a link": (tar_of(member("l", SYM, "/etc"), ("l/passwd", b"")), "behind a link that leaves"),
    "behind a link up": (tar_of(member("l", SYM, ".."), ("l/x", b"")), "behind a link that leaves"),
    "foreign hard link": (tar_of(member("h", HARD, "/etc/shadow")), "leads out of its destination"),
    "hard link to nothing": (tar_of(member("h", HARD, "none")), "which is no file"),
    "an owner that is none": (tar_of(member("f", uid=(1 << 32) - 1)), "there is no owner 4294967295:0"),
}


@pytest.mark.parametrize("hostile", REFUSED)
def test_hostile_archives_are_refused(tree: Tree, hostile: str) -> None:
    content, reason = REFUSED[hostile]
    with pytest.raises(EngineError, match=re.escape(reason)):
        tree.unpack(content=content, user="" if "owner" in hostile else "vcap")
    assert (tree.root / "etc/passwd").read_text() == PASSWD


def test_a_tar_that_is_not_there_is_missed_without_the_path_on_the_host(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^the archive cannot be read: no such file or directory$"):
        in_thread(
            lambda revoked: files.unpack(
                tree.proc_fd, "to", "root", tmp_path / "none", DEFAULT_LIMITS, revoked
            )
        )


def test_something_is_in_the_way_of_the_target(tree: Tree) -> None:
    (tree.root / "home/vcap/to").write_text("a file")
    with pytest.raises(EngineError, match=r"^/home/vcap/to: not a directory$"):
        tree.unpack(("file", b""))


@pytest.mark.parametrize("path", ["/home/vcap/a\0b", "a\0", "/home/vcap/\ud800"])
def test_a_text_that_is_no_path_is_told_as_that(tree: Tree, path: str) -> None:
    with pytest.raises(EngineError, match=r": invalid argument$"):
        tree.unpack(("file", b"x"), to=path)
    with pytest.raises(EngineError, match=r": invalid argument$"):
        tree.copy_out(path)


def test_an_unknown_user(tree: Tree) -> None:
    with pytest.raises(ProcessStartError, match="unable to find user nobody"):
        tree.unpack(("file", b""), user="nobody")


def test_parallel_copies_make_the_same_missing_target(tree: Tree, tmp_path: Path) -> None:
    """Parallel downloads into a folder that is not there yet failed with "Not a directory"."""
    tar = tmp_path / "one.tar"
    tar.write_bytes(tar_of(("file", b"x")))

    async def all_at_once(number: int) -> None:
        copies = Copies()
        target = f"new/{number}/deeper"
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(
                    copies.run(
                        "g",
                        "copy",
                        lambda revoked: files.unpack(tree.proc_fd, target, "vcap", tar, LIMITS, revoked),
                    )
                )

    for number in range(100):
        with suppress(EngineError):
            asyncio.run(all_at_once(number))
        assert (tree.root / f"home/vcap/new/{number}/deeper").is_dir()


def test_relative_paths_start_at_the_users_home(tree: Tree) -> None:
    """Relative ``from`` and ``result_file`` were not found."""
    (tree.root / "home/vcap/a").mkdir()
    (tree.root / "home/vcap/a/r").write_text("result")
    assert [tree.copy_out(path) for path in ("a/r", "./a/r", "/home/vcap/a/r")] == [b"result"] * 3
    (tree.root / "root").mkdir()
    (tree.root / "root/r").write_text("root's")
    assert tree.copy_out("r", user="root") == b"root's"


def test_a_link_is_followed_in_the_container_and_a_directory_is_empty(tree: Tree) -> None:
    """A symlink as result file gave an empty success."""
    (tree.root / "tmp/real").write_text("real")
    (tree.root / "home/vcap/link").symlink_to("/tmp/real")
    assert tree.copy_out("link") == b"real"
    assert tree.copy_out("/tmp") == b""


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK, None])
def test_what_is_no_file_is_not_found(tree: Tree, kind: int | None) -> None:
    """A FIFO or a device as result file gave an empty success. None of them is opened."""
    if kind is not None:
        os.mknod(tree.root / "tmp/thing", kind | 0o666, os.makedev(1, 5))
    with pytest.raises(NoSuchFile, match=r"^/tmp/thing: "):
        tree.copy_out("/tmp/thing")


def test_a_device_an_app_made_is_not_opened_as_a_file_of_users(tree: Tree) -> None:
    """Device nodes of an app were opened with the rights of the host's root."""
    (tree.root / "etc/passwd").unlink()
    os.mknod(tree.root / "etc/passwd", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    tree.unpack(("file", b"x"), to="/tmp", user="root")
    assert (tree.root / "tmp/file").read_bytes() == b"x"


def test_a_file_with_more_bytes_than_wanted_is_refused_before_it_is_read(tree: Tree) -> None:
    """A sparse file of 6 GB, uploaded by an app with a disk limit of 64 MB, filled the host's temp folder."""
    with (tree.root / "tmp/sparse").open("wb") as file:
        file.truncate(6 << 30)
    with pytest.raises(FileTooLarge, match=r"^/tmp/sparse: more than 67108864 bytes$"):
        tree.copy_out("/tmp/sparse", limit=64 << 20)


def test_holes_take_no_space_in_the_copy(tree: Tree, tmp_path: Path) -> None:
    with (tree.root / "tmp/sparse").open("wb") as file:
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(64 << 20)
    with (tmp_path / "copy").open("xb") as target:
        size = in_thread(
            lambda revoked: files.copy_out(tree.proc_fd, "/tmp/sparse", "root", target, 64 << 20, revoked)
        )
    assert size == (tmp_path / "copy").stat().st_size == 64 << 20
    assert (tmp_path / "copy").stat().st_blocks * 512 <= 4 << 20
    assert (tmp_path / "copy").read_bytes() == (tree.root / "tmp/sparse").read_bytes()


def test_a_file_without_a_size_is_read_to_its_end(tree: Tree) -> None:
    """Result files and uploads from /proc were not found; the kernel says their size is 0."""
    os.close(tree.proc_fd)
    tree.proc_fd = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    assert tree.copy_out("/proc/version", user="root").startswith(b"Linux version")
