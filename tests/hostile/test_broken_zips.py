"""Damaged zips, and other packings, as a download and as a cached dependency: each fails promptly."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from bbs.models.workload import CachedDependency
from executor.cache.api import DownloadError
from executor.clock import SystemClock
from executor.containers.applog import AppLog
from executor.containers.dependencies import CachedDependencies
from executor.logs.api import LogLine
from executor.model import Container, LogConfig, RunInfo
from executor.places import FairPlaces
from tests.support.archive_cache import Cache
from tests.support.archive_cache import cache as cache

pytestmark = pytest.mark.unit


def zip_of(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        archive.writestr("first", b"1" * 500)
        archive.writestr("folder/second", os.urandom(500))
    return data.getvalue()


def directory_of(packed: bytes) -> int:
    return int(struct.unpack_from("<I", packed, packed.rfind(b"PK\5\6") + 16)[0])


async def test_a_cut_zip_is_refused(cache: Cache) -> None:
    packed = zip_of()
    for cut in range(4, len(packed) - 1, 37):
        await cache.refuse(packed[:cut], cut)


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("compression", METHODS)
async def test_a_zip_with_broken_content_is_refused(cache: Cache, compression: int) -> None:
    """Broken LZMA got out as the reader's own error."""
    packed = zip_of(compression)
    second = packed.find(b"folder/second") + len("folder/second")
    for at in range(second, directory_of(packed), 23):
        damaged = packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :]
        if rightly_read(damaged):
            continue  # bits that mean nothing
        await cache.refuse(damaged, (compression, at))


def rightly_read(packed: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            return archive.testzip() is None
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        ValueError,
        lzma.LZMAError,
        NotImplementedError,
        RuntimeError,
    ):
        return False
    except Exception:  # noqa: BLE001 - whatever else the library raises
        return False


def with_flag(packed: bytes, flag: int) -> bytes:
    entry = packed.rfind(b"PK\1\2")
    local = packed.rfind(b"PK\3\4")
    for at in (entry + 8, local + 6):
        packed = (
            packed[:at] + struct.pack("<H", struct.unpack_from("<H", packed, at)[0] | flag) + packed[at + 2 :]
        )
    return packed


ZIPS: dict[str, Callable[[], bytes]] = {
    "encrypted": lambda: with_flag(zip_of(), 0x1),
    "a name that is no UTF-8": lambda: with_flag(zip_of(), 0x800).replace(
        b"folder/second", b"folder/seco\xe9d"
    ),
    "NUL in a name": lambda: zip_of().replace(b"folder/second", b"folder/s\0cond"),
    "an empty name": lambda: zip_named(""),
    "a name of slashes": lambda: zip_named("//"),
    "an unknown method": lambda: zip_of().replace(
        b"PK\1\2\x14\x03\x14\0\0\0\x08\0", b"PK\1\2\x14\x03\x14\0\0\0\x63\0"
    ),
    "an entry cut": lambda: zip_of()[:-60] + zip_of()[-22:],
}


def zip_named(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("first", b"1")
        archive.writestr(zipfile.ZipInfo(name) if name else _nameless(), b"2")
    return data.getvalue()


def _nameless() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = ""
    return info


@pytest.mark.parametrize("case", ZIPS)
async def test_a_zip_the_reader_cannot_take_is_refused(cache: Cache, case: str) -> None:
    """Encrypted members, names that are empty, have NUL or are no UTF-8 got out as the reader's own
    errors."""
    await cache.refuse(ZIPS[case](), case)


async def test_dates_and_names_in_a_zip_are_kept(cache: Cache) -> None:
    """Dates were lost (1970); a name without the mark for UTF-8 was taken for code page 437."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(zipfile.ZipInfo("plain", (2017, 7, 14, 2, 40, 0)), b"1")
        stamped = zipfile.ZipInfo("stamped", (2001, 1, 1, 0, 0, 0))
        stamped.extra = struct.pack("<HHBI", 0x5455, 5, 1, 1_400_000_000)
        archive.writestr(stamped, b"2")
        windows = zipfile.ZipInfo("windows", (2001, 1, 1, 0, 0, 0))
        ticks = (1_300_000_000 + 11_644_473_600) * 10_000_000
        windows.extra = struct.pack("<HHIHHQQQ", 0x0A, 32, 0, 1, 24, ticks, ticks, ticks)
        archive.writestr(windows, b"3")
        never = zipfile.ZipInfo("never")
        never.date_time = (1980, 0, 0, 0, 0, 0)
        archive.writestr(never, b"4")
        archive.writestr(zipfile.ZipInfo("unmarked-XX"), b"5")
    body = data.getvalue().replace(b"unmarked-XX", "unmarked-é".encode())
    source = cache.source
    source.body = body
    fetched = await cache.downloader.fetch_directory("http://blobs/it", "dated")
    dates = {path.name: path.stat().st_mtime for path in fetched.path.iterdir()}
    fetched.release()
    assert set(dates) == {"plain", "stamped", "windows", "never", "unmarked-é"}
    assert (dates["plain"], dates["stamped"], dates["windows"]) == (
        1_500_000_000,
        1_400_000_000,
        1_300_000_000,
    )


async def test_other_packings_are_no_archives(cache: Cache) -> None:
    for body in (bz2.compress(b"x"), lzma.compress(b"x"), b"", b"PK\3\4", b"\x1f\x8b", b"PK\5\6" + bytes(10)):
        await cache.refuse(body, body[:6])


async def test_the_app_is_told_that_a_damaged_dependency_failed(cache: Cache) -> None:
    """The reason of the failure was "unhandled errors in a TaskGroup (1 sub-exception)"."""
    lines: list[LogLine] = []

    class Sink:
        emit = staticmethod(lines.append)

    wanted = CachedDependency(name="it", from_="http://blobs/it", to="/it", cache_key="k", log_source="DEP")
    info = RunInfo(cached_dependencies=(wanted,), log_config=LogConfig(guid="app"))
    dependencies = CachedDependencies(cache.downloader, FairPlaces(1), AppLog(Sink(), "cell", SystemClock()))
    for body in (ZIPS["encrypted"](), gzip.compress(b"x" * tarfile.BLOCKSIZE)):
        cache.source.body = body
        with pytest.raises(DownloadError, match=r"^broken archive: "):
            await dependencies.mounts(Container(guid="g", run_info=info))
    told = [line.payload.decode() for line in lines]
    assert told == ["Downloading it...", "Downloading it failed"] * 2
