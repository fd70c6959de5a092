"""Archives on their way into a container: what becomes of them, and what is refused whoever made them."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits, Budget
from executor.engine.files import packed
from executor.errors import EngineError

pytestmark = pytest.mark.unit

LIMITS = ArchiveLimits(free_bytes=1 << 20, ratio=2, members=50, depth=5)

Pack = Callable[..., bytes]


@pytest.fixture
def root() -> Iterator[int]:
    """The file tree of this process stands in for a container's."""
    fd = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def pack(root: int, tmp_path: Path) -> Pack:
    """What the engine gets for unpacking members at ``tmp_path/to``."""

    def pack(
        *members: tarfile.TarInfo | tuple[str, bytes],
        content: bytes | None = None,
        user: str = "12:34",
        limits: ArchiveLimits = LIMITS,
    ) -> bytes:
        path = tmp_path / "in.tar"
        path.write_bytes(tar_of(*members) if content is None else content)
        return b"".join(packed(root, str(tmp_path / "to"), user, path, Budget(limits, 0)))

    return pack


def tar_of(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return data.getvalue()


def owned(name: str, uid: int, gid: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.uid, member.gid = uid, gid
    return member


def listed(archive: bytes, tmp_path: Path) -> list[tuple[str, int, int]]:
    """Names below the target, with their owners."""
    start = f"{str(tmp_path / 'to').lstrip('/')}/"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(member.name.removeprefix(start), member.uid, member.gid) for member in tar]


def test_everything_is_the_users_and_implied_directories_are_made(pack: Pack, tmp_path: Path) -> None:
    made = pack(("a/b/file", b"x"), owned("a/other", 7, 8))
    assert listed(made, tmp_path) == [
        ("a", 12, 34),
        ("a/b", 12, 34),
        ("a/b/file", 12, 34),
        ("a/other", 12, 34),
    ]
    target = (tmp_path / "to").stat()
    assert (target.st_uid, target.st_gid) == (12, 34)


def test_the_layer_of_an_image_keeps_its_owners(pack: Pack, tmp_path: Path) -> None:
    assert listed(pack(owned("a/other", 7, 8), user=""), tmp_path) == [("a", 0, 0), ("a/other", 7, 8)]


def test_content_arrives_whatever_its_size(pack: Pack) -> None:
    contents = {f"f{size}": os.urandom(size) for size in (0, 1, 511, 512, 513, 256 << 10, (256 << 10) + 1)}
    with tarfile.open(fileobj=io.BytesIO(pack(*contents.items()))) as tar:
        found = {member.name.rpartition("/")[2]: tar.extractfile(member) for member in tar}
        assert {name: file and file.read() for name, file in found.items()} == contents


def sparse(size: int) -> bytes:
    """A tar of a few blocks with a file of that size, all of it a hole."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("hole")
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "hole",
            "GNU.sparse.realsize": str(size),
        }
        map_of_data = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
        member.size = len(map_of_data)
        archive.addfile(member, io.BytesIO(map_of_data))
    return data.getvalue()


def big_header() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * (2 << 20)))
    return data.getvalue()


def kind(name: str, type: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type, link
    return member


REFUSED = {
    "a sparse giant": (sparse(1 << 40), "bytes unpack to more than 1048576"),
    "too many": (tar_of(*((f"f{number}", b"") for number in range(51))), "more than 50 members"),
    "too deep": (tar_of(("1/2/3/4/5/6/file", b"")), "more than 5 directories deep"),
    "long names": (
        tar_of(*((f"{number}/" + "n" * 200 + "/" + "m" * 200, b"") for number in range(40))),
        "names of its members have more than 12800 bytes",
    ),
    "a big header": (big_header(), "one of its headers has more than 1048576 bytes"),
    "packed twice": (gzip.compress(tar_of(("file", b"x"))), "is not a proper archive"),
    "no archive": (b"x" * 2000, "is not a proper archive"),
    "cut off": (tar_of(("file", b"x" * 5000))[:3000], "is not a proper archive"),
    "upwards": (tar_of(("../x", b"")), "leads out of the target directory"),
    "absolute": (tar_of(("/etc/x", b"")), "leads out of the target directory"),
    "device": (tar_of(kind("dev", tarfile.CHRTYPE)), "neither file, directory nor link"),
    "fifo": (tar_of(kind("fifo", tarfile.FIFOTYPE)), "neither file, directory nor link"),
    "behind a link": (tar_of(kind("l", tarfile.SYMTYPE, "/etc"), ("l/passwd", b"")), "behind a link"),
    "foreign hard link": (tar_of(kind("h", tarfile.LNKTYPE, "/etc/shadow")), "hard link to"),
}


@pytest.mark.parametrize("hostile", REFUSED)
def test_hostile_archives_are_refused(pack: Pack, hostile: str) -> None:
    content, reason = REFUSED[hostile]
    with pytest.raises(EngineError, match=re.escape(reason)):
        pack(content=content)


def test_a_file_that_is_not_there(root: int, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No such file or directory"):
        list(packed(root, str(tmp_path / "to"), "root", tmp_path / "none", Budget(DEFAULT_LIMITS, 0)))


def test_something_is_in_the_way_of_the_target(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("a file")
    with pytest.raises(EngineError, match=r"directory .*/to: Not a directory"):
        pack(("file", b""))


def test_packing_ends_at_the_next_member_when_nobody_waits(root: int, tmp_path: Path) -> None:
    path = tmp_path / "in.tar"
    path.write_bytes(tar_of(*((f"f{number}", bytes(300 << 10)) for number in range(4))))
    budget = Budget(DEFAULT_LIMITS, 0)
    blocks = packed(root, str(tmp_path / "to"), "root", path, budget)
    next(blocks)
    budget.revoked.set()
    with pytest.raises(EngineError, match="nobody waits for it"):
        next(blocks)
