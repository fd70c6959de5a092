"""Limits of unpacked archives, whatever their headers contain."""

from __future__ import annotations

import asyncio
import gzip
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor.cache import tars
from executor.cache.api import NO_CHECKSUM, ArchiveError
from executor.cache.archive import _CHUNK, check, extract, to_tar
from executor.cache.downloader import Downloader
from executor.cache.http import NO_VALIDATORS, Fetcher
from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits, Budget
from tests.support.archives import tar_of

pytestmark = pytest.mark.unit

LIMITS = ArchiveLimits(free_bytes=1 << 20, ratio=10, members=50)
ZEROS = bytes(8 << 20)


def zip_of(*members: tuple[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def sparse_tar(size: int, map_of_data: bytes = b"") -> bytes:
    """A tar of 4 KB whose only member claims to have ``size`` bytes, all of them a hole."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("hole")
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "hole",
            "GNU.sparse.realsize": str(size),
        }
        map_of_data = map_of_data or f"1\n{size}\n0\n".encode().ljust(512, b"\0")
        member.size = len(map_of_data)
        archive.addfile(member, io.BytesIO(map_of_data))
    return data.getvalue()


def many(count: int) -> list[tuple[str, bytes]]:
    return [(f"file-{number}", b"") for number in range(count)]


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    plain = tar_of(("zeros", ZEROS))
    return {
        "gzip": gzip.compress(plain),
        "gzip in members": gzip.compress(plain[:1_000_000]) + gzip.compress(plain[1_000_000:]),
        "zip": zip_of(("zeros", ZEROS)),
        "zip of many": zip_of(*((f"{part}", ZEROS[: 1 << 19]) for part in range(16))),
        "sparse": sparse_tar(1 << 40),
        "sparse in gzip": gzip.compress(sparse_tar(1 << 40)),
        "members": tar_of(*many(51)),
        "members in gzip": tar_of(*many(51), mode="w:gz"),
        "members in zip": zip_of(*many(51)),
    }


BOMBS = [
    ("gzip", "bytes unpack to more than 1048576"),
    ("gzip in members", "bytes unpack to more than 1048576"),
    ("zip", "bytes unpack to more than 1048576"),
    ("zip of many", "bytes unpack to more than 1048576"),
    ("sparse", "bytes unpack to more than 1048576"),
    ("sparse in gzip", "bytes unpack to more than 1048576"),
    ("members", "more than 50 members"),
    ("members in gzip", "more than 50 members"),
    ("members in zip", "more than 50 members"),
]


@pytest.mark.parametrize("form", ["file", "directory"])
@pytest.mark.parametrize(("bomb", "text"), BOMBS)
async def test_bombs_are_refused_at_once_and_leave_nothing(
    session: Any, site: Any, tmp_path: Path, bombs: dict[str, bytes], bomb: str, text: str, form: str
) -> None:
    site.answer(bombs[bomb], ETag='"1"')
    async with Downloader(Fetcher(session), tmp_path / "cache", 1 << 30, limits=LIMITS) as cache:
        fetch = cache.fetch_file if form == "file" else cache.fetch_directory
        with pytest.raises(ArchiveError, match=text):
            await fetch(site.url, "key")
        assert len(site.requests) == 1
        assert cache.footprint == 0
        assert [path.name for path in (tmp_path / "cache").iterdir() if path.name != "temp"] == [
            "saved_cache.json"
        ]
        assert list((tmp_path / "cache/temp").iterdir()) == []


async def test_an_answer_packed_for_its_way_is_bounded_while_it_comes(
    session: Any, site: Any, tmp_path: Path
) -> None:
    site.answer(gzip.compress(ZEROS), Content_Encoding="gzip", ETag='"1"')
    fetcher = Fetcher(session, limits=LIMITS)
    with pytest.raises(ArchiveError, match="bytes unpack to more than 1048576"):
        await fetcher.get(site.url, NO_VALIDATORS, NO_CHECKSUM, tmp_path / "body")
    assert len(site.requests) == 1
    assert (tmp_path / "body").stat().st_size <= 2 * LIMITS.free_bytes


def test_what_is_big_because_the_download_was_passes(tmp_path: Path) -> None:
    content = bytes(range(256)) * (1 << 13)
    (tmp_path / "x").write_bytes(tar_of(("content", content)))
    to_tar(tmp_path / "x", tmp_path / "y", Budget(LIMITS, (tmp_path / "x").stat().st_size))
    extract(tmp_path / "y", tmp_path / "out", Budget(LIMITS, (tmp_path / "y").stat().st_size))
    assert (tmp_path / "out/content").read_bytes() == content


@pytest.mark.parametrize(
    ("content", "text"), [(sparse_tar(1 << 40), "unpack to more than"), (None, "more than 50 members")]
)
def test_an_unpacking_is_bounded_by_itself(tmp_path: Path, content: bytes | None, text: str) -> None:
    (tmp_path / "x.tar").write_bytes(content or tar_of(*many(51)))
    with pytest.raises(ArchiveError, match=text):
        extract(tmp_path / "x.tar", tmp_path / "out", Budget(LIMITS, 1024))
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= LIMITS.free_bytes


def test_directories_that_are_only_implied_count_too(tmp_path: Path) -> None:
    """A name of 400 bytes may imply 200 directories."""
    (tmp_path / "x.tar").write_bytes(tar_of(*((f"{number}/1/2/3/4/file", b"") for number in range(10))))
    with pytest.raises(ArchiveError, match="more than 50 members"):
        extract(tmp_path / "x.tar", tmp_path / "out", Budget(LIMITS, 1 << 30))


class Counted(Budget):
    """A budget that records its use."""

    def __init__(self) -> None:
        super().__init__(DEFAULT_LIMITS, 1 << 40)

    def anew(self, packed_bytes: int) -> Budget:
        return self

    @property
    def taken(self) -> tuple[int, int]:
        return self._members, self._bytes


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("long_name", ["", "n" * 120])
def test_a_check_counts_with_and_without_extensions(tmp_path: Path, format: int, long_name: str) -> None:
    if long_name and format == tarfile.USTAR_FORMAT:
        long_name = f"{long_name[:60]}/{long_name[60:]}"
    folder, link = tarfile.TarInfo("folder"), tarfile.TarInfo("link")
    folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "a"
    folder.size = 5000  # which says nothing about a folder's content
    members = (("a", b"x" * 700), folder, link, ("empty", b""), ("b", bytes(512)))
    named = ((long_name, b"named"),) if long_name else ()
    (tmp_path / "x").write_bytes(tar_of(*named, *members, format=format) + b"rubbish behind the end")
    budget = Counted()
    check(tmp_path / "x", budget)
    assert budget.taken == (5 + len(named), 700 + 512 + sum(len(content) for _, content in named))


def member_with(record: str, size: int) -> bytes:
    """A tar whose only member has one extended attribute of that size."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("file")
        member.pax_headers = {record: "x" * size}
        archive.addfile(member)
    return data.getvalue()


def long_named(size: int) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * size))
    return data.getvalue()


def holed(blocks: int) -> bytes:
    """A sparse file in GNU's old form, whose map has that many further blocks."""
    member = tarfile.TarInfo("holes")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # the map continues
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    one = (b"%011o\0" % 0) * 42
    return bytes(header) + (one + b"\1" + bytes(7)) * blocks + bytes(1024)


BIG_HEADERS: dict[str, Callable[[], bytes]] = {
    "extended attribute": lambda: member_with("SCHILY.xattr.user.note", 2 << 20),
    "long name": lambda: long_named(2 << 20),
    "map of holes": lambda: holed(4096),
    "pax map of holes": lambda: sparse_tar(1, b"999999\n" + b"0\n" * (1 << 20)),
}


@pytest.mark.parametrize("kind", BIG_HEADERS)
def test_headers_are_not_read_when_they_are_too_big(tmp_path: Path, kind: str) -> None:
    """They would be kept in memory, whatever bounds there are for content."""
    path = tmp_path / "x.tar"
    path.write_bytes(BIG_HEADERS[kind]())
    with pytest.raises(ArchiveError, match="one of its headers has more than 1048576 bytes"):
        check(path, Budget(DEFAULT_LIMITS, 1 << 30))
    with pytest.raises(ArchiveError, match="one of its headers has more than 1048576 bytes"):
        extract(path, tmp_path / "out")


def test_big_headers_that_may_be(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(member_with("SCHILY.xattr.user.note", 64 << 10))
    extract(path, tmp_path / "out")
    assert (tmp_path / "out/file").exists()


def test_the_headers_of_an_archive_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attributes are parsed slowly: thousands of full headers, which pack to nothing, would take minutes."""
    monkeypatch.setattr(tars, "EXTENSIONS_LIMIT", 100_000)
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(*(("n" * 200 + f"/{number}", b"") for number in range(400))))
    check(path, Budget(DEFAULT_LIMITS, 1 << 30))
    one = member_with("SCHILY.xattr.user.note", 30_000)[: 61 * 512]
    path.write_bytes(one * 3)
    check(path, Budget(DEFAULT_LIMITS, 1 << 30))
    path.write_bytes(one * 4)
    with pytest.raises(ArchiveError, match="its headers have more than 100000 bytes together"):
        check(path, Budget(DEFAULT_LIMITS, 1 << 30))


def test_the_names_of_members_are_bounded_together(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(*(("n" * 200 + f"/{number}" + "m" * 200, b"") for number in range(40))))
    with pytest.raises(ArchiveError, match="the names of its members have more than 12800 bytes"):
        extract(path, tmp_path / "out", Budget(LIMITS, 1 << 30))


def test_a_zip_s_directory_is_not_read_when_it_is_too_big(tmp_path: Path) -> None:
    data = bytearray(zip_of(*many(60)))
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 12] = b"\1\0\1\0"  # it claims to have one member
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ArchiveError, match="more than 50 members"):
        to_tar(tmp_path / "x", tmp_path / "y", Budget(LIMITS, len(data)))
    long_names = zip_of(*((f"{number:0200d}" * 10, b"") for number in range(45)))
    (tmp_path / "x").write_bytes(long_names)
    with pytest.raises(ArchiveError, match="its directory has"):
        to_tar(tmp_path / "x", tmp_path / "y", Budget(LIMITS, len(long_names)))


MEASURED = """
import sys, tracemalloc
from pathlib import Path
from executor.cache.archive import extract, tar_directory, to_tar

folder = Path(sys.argv[1])
tracemalloc.start()
to_tar(folder / "x", folder / "y")
extract(folder / "y", folder / "out")
tar_directory(folder / "out", folder / "z")
print(tracemalloc.get_traced_memory()[1])
"""


def test_members_are_not_kept_in_memory(tmp_path: Path) -> None:
    """In a process of its own: tables of the interpreter grow when they must, by all that it has done."""
    count = 1000
    (tmp_path / "x").write_bytes(tar_of(*many(count)))
    measuring = [sys.executable, "-c", MEASURED, str(tmp_path)]
    peak = int(subprocess.run(measuring, check=True, capture_output=True, text=True).stdout)
    assert len(list((tmp_path / "out").iterdir())) == count
    assert peak < (1 << 20) + 300 * count  # one chunk, and names


async def test_an_unpacking_nobody_waits_for_ends_soon(
    session: Any, site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled fetch ends with its thread, which ends at its next chunk."""
    entered, interrupted = threading.Event(), threading.Event()
    copied: list[int] = []

    class Watched(Budget):
        def take_bytes(self, size: int) -> None:
            copied.append(size)
            entered.set()
            interrupted.wait(10)
            super().take_bytes(size)

    monkeypatch.setattr("executor.cache.downloader.Budget", Watched)
    site.serve(gzip.compress(tar_of(("zeros", bytes(20 * _CHUNK)))))
    async with Downloader(Fetcher(session), tmp_path / "cache", 1 << 30) as cache:
        fetching = asyncio.create_task(cache.fetch_file(site.url, "key"))
        assert await asyncio.to_thread(entered.wait, 10)
        fetching.cancel()
        asyncio.get_running_loop().call_later(0, interrupted.set)
        await asyncio.wait({fetching})
        assert fetching.cancelled()
        assert len(copied) == 1
        assert list((tmp_path / "cache/temp").iterdir()) == []
