"""Damaged tars, as a download and as a cached dependency: each fails promptly.

The corpus is made here: tars of all formats, packed and plain; each is damaged in its headers, sizes,
checksums, names, maps of holes, pax records and links, and cut at every block.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.archive_cache import Cache, tree
from tests.support.archive_cache import cache as cache

pytestmark = pytest.mark.unit

BLOCK = tarfile.BLOCKSIZE
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_of(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=format) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def sample(format: int, long: str = "n" * 120) -> bytes:
    """All kinds of members, with extension headers where the format has such."""
    if format == tarfile.USTAR_FORMAT:
        long = f"{long[:60]}/{long[60:]}"
    return tar_of(
        (member("a", mtime=1_500_000_000), b"A" * 700),
        (member("d", tarfile.DIRTYPE), b""),
        (member(f"d/{long}"), b"L" * 513),
        (member("link", tarfile.SYMTYPE, linkname="a"), b""),
        (member("hard", tarfile.LNKTYPE, linkname="a"), b""),
        (member("z"), b"Z" * 512),
        format=format,
    )


def headers_of(tar: bytes) -> list[int]:
    """Where the header blocks are."""
    found, position = [], 0
    while tar[position : position + BLOCK].strip(b"\0"):
        found.append(position)
        block = tar[position : position + BLOCK]
        size = int(block[124:135], 8) if block[156:157] in b"0xgLK" else 0
        position += BLOCK + -(-size // BLOCK) * BLOCK
    return found


def sealed(block: bytes) -> bytes:
    """A header with the right checksum."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def patched(tar: bytes, header: int, offset: int, data: bytes, *, seal: bool = True) -> bytes:
    block = bytearray(tar[header : header + BLOCK])
    block[offset : offset + len(data)] = data
    return tar[:header] + (sealed(bytes(block)) if seal else bytes(block)) + tar[header + BLOCK :]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("format", FORMATS)
async def test_a_tar_with_a_flipped_bit_in_any_header_is_refused(
    cache: Cache, format: str, packed: bool
) -> None:
    """It became part of an app, with success: only the members in front of the damage were there."""
    tar = sample(FORMATS[format])
    for header in headers_of(tar):
        for offset in (0, 101, 117, 130, 137, 150, 156, 158, 300, 346, 500):
            damaged = bytearray(tar)
            damaged[header + offset] ^= 4
            if not packed and header == 0 and format != "pax":
                continue  # may be no tar any more, which is said in other words
            label = (format, header, offset)
            body = gzip.compress(damaged, 1) if packed else bytes(damaged)
            if packed or format != "gnu":
                assert "broken archive: " in await cache.refuse(body, label)


SIZES = {
    "negative": b"-0000000512\0",
    "not octal": b"0000000009 \0",
    "Python's notation": b"0o000000017\0",
    "underscores": b"0_000000017\0",
    "words": b"garbage!!!!!",
    "binary -512": (-512).to_bytes(12, "big", signed=True),
    "binary -1024": (-1024).to_bytes(12, "big", signed=True),
    "binary -1536": (-1536).to_bytes(12, "big", signed=True),
    "binary giant": b"\x80" + (1 << 70).to_bytes(11, "big"),
    "beyond the end": b"00077777777\0",
}


@pytest.mark.parametrize("size", SIZES)
async def test_a_bad_size_in_any_header_is_refused_at_once(cache: Cache, size: str) -> None:
    """Negative sizes led the reader backwards, for 30 s, or past members."""
    tar = sample(tarfile.PAX_FORMAT)
    for header in headers_of(tar):
        if tar[header + 156 : header + 157] in b"125" and "beyond" in size:
            continue  # links and directories have no content, whatever the size says
        await cache.refuse(gzip.compress(patched(tar, header, 124, SIZES[size]), 1), (size, header))


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (100, b"rwxr-xr\0"),
        (108, b"nobody!\0"),
        (116, b"0000008\0"),
        (136, b"yesterday!!\0"),
        (148, b"none\0\0\0\0"),
    ],
    ids=["mode", "user", "group", "time", "checksum"],
)
async def test_a_number_that_is_none_is_refused(cache: Cache, offset: int, data: bytes) -> None:
    tar = sample(tarfile.USTAR_FORMAT)
    for header in headers_of(tar):
        body = gzip.compress(patched(tar, header, offset, data, seal=offset != 148), 1)
        await cache.refuse(body, (offset, header))


async def test_garbage_and_lone_empty_blocks_between_members_are_refused(cache: Cache) -> None:
    tar = sample(tarfile.USTAR_FORMAT)
    for header in headers_of(tar):
        for block in (os.urandom(BLOCK), b"x" * BLOCK, bytes(BLOCK)):
            body = tar[:header] + block + tar[header + BLOCK :]
            await cache.refuse(gzip.compress(body, 1), (header, block[:2]))


@pytest.mark.parametrize("format", FORMATS)
async def test_a_cut_tar_is_refused_unless_it_ends_between_two_members(cache: Cache, format: str) -> None:
    """Two empty blocks may be missing, as they may for those who made the protocol; a cut in a header passed
    too."""
    tar = sample(FORMATS[format])
    starts = headers_of(tar)
    extended = {after for before, after in itertools.pairwise(starts) if extends(tar, before)}
    end = starts[-1] + 2 * BLOCK
    for cut in sorted({*range(0, end + 2 * BLOCK, BLOCK), *(start + 100 for start in starts), end - 100}):
        body = gzip.compress(tar[:cut], 1)
        if (cut in starts and cut not in extended) or cut >= end:
            assert {name.rstrip("/") for name in await cache.file(body)} <= set(await cache.directory(body))
        else:
            await cache.refuse(body, (format, cut))


def extends(tar: bytes, header: int) -> bool:
    return tar[header + 156 : header + 157] in b"xgLK"


def pax(records: bytes, content: bytes = b"content", **fields: Any) -> bytes:
    """A tar with a first member, and a second one that pax records are about."""
    header = member("PaxHeader", tarfile.XHDTYPE, size=len(records), **fields)
    extension = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(-(-len(records) // BLOCK) * BLOCK, b"\0")
    second = tar_of((member("b"), content), format=tarfile.USTAR_FORMAT)
    return tar_of((member("a"), b"A"), format=tarfile.USTAR_FORMAT)[: 2 * BLOCK] + extension + second


def record(key: str, value: bytes | str) -> bytes:
    body = b" " + key.encode() + b"=" + (value.encode() if isinstance(value, str) else value) + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


RECORDS = {
    "NUL in the path": record("path", b"a\0b"),
    "NUL in the link": record("linkpath", b"a\0b"),
    "NUL in a key": record("pa\0th", b"x"),
    "mtime nan": record("mtime", "nan"),
    "mtime inf": record("mtime", "-inf"),
    "mtime hex": record("mtime", "0x10"),
    "size negative": record("size", "-1"),
    "size negative blocks": record("size", "-1024"),
    "size word": record("size", "big"),
    "size beyond": record("size", "100000"),
    "uid word": record("uid", "root"),
    "length too long": b"99 path=x\n",
    "length too short": b"5 path=x\n",
    "length zero": b"0 path=x\n",
    "length huge": b"9" * 30 + b" path=x\n",
    "no length": b"path=x\n",
    "no value": b"7 path\n",
    "no key": record("", "x"),
    "no end of line": b"9 path=xy",
    "rubbish behind": record("path", "x") + b"\0rubbish",
}


@pytest.mark.parametrize("case", RECORDS)
async def test_a_broken_pax_record_is_refused(cache: Cache, case: str) -> None:
    """NUL in a path and times like nan got out as the reader's own errors; most others were passed over."""
    await cache.refuse(gzip.compress(pax(RECORDS[case]), 1), case)


def sparse_record(**fields: str) -> bytes:
    return b"".join(record(f"GNU.sparse.{key}", value) for key, value in fields.items())


V1 = {"major": "1", "minor": "0", "name": "s", "realsize": "2000"}
MAPS = {
    "1.0 no number": (sparse_record(**V1), b"x\n".ljust(BLOCK, b"\0")),
    "1.0 cut": (sparse_record(**V1), b"3\n0\n100\n".ljust(BLOCK, b"\0")),
    "1.0 giant": (sparse_record(**V1), b"99999999999\n".ljust(BLOCK, b"\0")),
    "1.0 negative": (sparse_record(**V1), b"1\n-5\n0\n".ljust(BLOCK, b"\0")),
    "1.0 out of order": (sparse_record(**V1), b"2\n1000\n0\n0\n0\n".ljust(BLOCK, b"\0")),
    "1.0 beyond the file": (sparse_record(**V1), b"1\n5000\n0\n".ljust(BLOCK, b"\0")),
    "1.0 more than there is": (sparse_record(**V1), b"1\n0\n1500\n".ljust(BLOCK, b"\0")),
    "1.0 less than there is": (sparse_record(**V1), b"1\n0\n1\n".ljust(BLOCK, b"\0") + b"xyz"),
    "1.0 no map": (sparse_record(**V1), b""),
    "0.1 odd": (sparse_record(map="0,1,2", size="10"), b"x"),
    "0.1 words": (sparse_record(map="a,b", size="10"), b"x"),
    "0.1 overlapping": (sparse_record(map="0,4,2,3", size="10"), b"1234567"),
    "0.1 size is none": (sparse_record(map="0,1", size="ten"), b"x"),
    "0.0 two offsets": (sparse_record(offset="0") * 2 + sparse_record(size="10"), b""),
    "0.0 commas": (sparse_record(offset="0,1") + sparse_record(numbytes="1", size="10"), b"x"),
}


@pytest.mark.parametrize("case", MAPS)
async def test_a_broken_map_of_holes_is_refused(cache: Cache, case: str) -> None:
    records, content = MAPS[case]
    await cache.refuse(gzip.compress(pax(records, content), 1), case)


def old_sparse(entries: list[tuple[int, int]], size: int, content: bytes) -> bytes:
    """GNU's old form, with up to four entries in the header."""
    block = bytearray(member("s", tarfile.GNUTYPE_SPARSE, size=len(content)).tobuf(tarfile.GNU_FORMAT))
    for number, (offset, length) in enumerate(entries):
        block[386 + 24 * number : 410 + 24 * number] = b"%011o\0%011o\0" % (offset, length)
    block[483:495] = b"%011o\0" % size
    padded = content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")
    return sealed(bytes(block)) + padded + bytes(2 * BLOCK)


@pytest.mark.parametrize(
    ("entries", "size"),
    [([(0, 3), (2, 1)], 10), ([(8, 4)], 10), ([(0, 3)], 10), ([(0, 5)], 10), ([(4, 2), (0, 2)], 10)],
    ids=["overlapping", "beyond the file", "too little", "too much", "out of order"],
)
async def test_a_broken_old_map_of_holes_is_refused(
    cache: Cache, entries: list[tuple[int, int]], size: int
) -> None:
    await cache.refuse(gzip.compress(old_sparse(entries, size, b"1234"), 1), entries)


async def test_sparse_members_of_all_forms_become_their_files(cache: Cache) -> None:
    whole = b"12" + bytes(6) + b"34" + bytes(2)
    forms = {
        "old": old_sparse([(0, 2), (8, 2), (12, 0)], 12, b"1234"),
        "0.0": pax(
            b"".join(record(f"GNU.sparse.{key}", value) for key, value in (
                ("size", "12"), ("numblocks", "2"), ("offset", "0"), ("numbytes", "2"), ("offset", "8"),
                ("numbytes", "2"),
            )) + record("GNU.sparse.name", "s"),
            b"1234",
        ),
        "0.1": pax(sparse_record(size="12", name="s", map="0,2,8,2,12,0"), b"1234"),
        "1.0": pax(
            sparse_record(major="1", minor="0", realsize="12", name="s"),
            b"3\n0\n2\n8\n2\n12\n0\n".ljust(BLOCK, b"\0") + b"1234",
        ),
    }  # fmt: skip
    for form, tar in forms.items():
        assert (await cache.directory(gzip.compress(tar)))["s"] == whole, form


NAMES: dict[str, bytes] = {
    "empty": patched(tar_of((member("a"), b"A"), (member("b"), b"B")), 2 * BLOCK, 0, bytes(100)),
    "empty long": (
        tar_of((member("a"), b"A"))[: 2 * BLOCK]
        + member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=5).tobuf(tarfile.GNU_FORMAT)
        + bytes(BLOCK)
        + tar_of((member("b"), b"B"))
    ),
    "extension at the end": pax(record("path", "x"))[: 4 * BLOCK] + bytes(2 * BLOCK),
    "extension cut": pax(record("path", "x"))[: 4 * BLOCK],
    "one of several volumes": patched(tar_of((member("a"), b"A")), 0, 156, b"M"),
}


@pytest.mark.parametrize("case", NAMES)
async def test_a_member_without_a_name_or_an_end_is_refused(cache: Cache, case: str) -> None:
    await cache.refuse(gzip.compress(NAMES[case], 1), case)


async def test_a_name_that_is_no_utf8_stays_as_it_is(cache: Cache) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    for format in FORMATS.values():
        tar = tar_of((member(name), b"x"), format=format)
        assert await cache.directory(gzip.compress(tar)) == {name: b"x"}
        assert await cache.file(gzip.compress(tar)) == [name]


async def test_a_gzip_that_is_cut_or_changed_is_refused(cache: Cache) -> None:
    packed = gzip.compress(sample(tarfile.PAX_FORMAT) + os.urandom(3000))
    for cut in range(20, len(packed), 199):
        await cache.refuse(packed[:cut], ("cut", cut))
    for at in (*range(12, len(packed), 211), len(packed) - 8, len(packed) - 1):
        await cache.refuse(packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :], ("changed", at))
    await cache.refuse(packed + b"rubbish", "rubbish behind")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something to archive: long names, links, holes."""
    folder = tmp_path / "folder"
    (folder / "deep" / ("d" * 90) / ("e" * 90)).mkdir(parents=True)
    (folder / "deep" / ("d" * 90) / ("e" * 90) / ("f" * 120)).write_bytes(b"long")
    (folder / "a").write_bytes(os.urandom(1500))
    (folder / "b").hardlink_to(folder / "a")
    (folder / "l").symlink_to("x" * 150)
    (folder / "run").write_bytes(b"#!")
    (folder / "run").chmod(0o755)
    with (folder / "holes").open("wb") as file:
        for at in range(0, 3 << 20, 128 << 10):
            file.seek(at)
            file.write(b"data")
        file.truncate(4 << 20)
    return folder


@pytest.mark.parametrize(
    "options",
    [("--format=v7", "--exclude=deep", "--exclude=l"), ("--format=ustar", "--exclude=f*", "--exclude=l"),
     ("--format=oldgnu",), ("--format=oldgnu", "--sparse"), ("--format=gnu", "--sparse"), ("--format=posix",),
     ("--format=posix", "--sparse"), ("--format=posix", "--sparse", "--sparse-version=0.0"),
     ("--format=posix", "--sparse", "--sparse-version=0.1"), ("--format=gnu", "--label=volume"),
     ("--format=gnu", "--blocking-factor=1")],
)  # fmt: skip
async def test_what_gnu_tar_makes_is_taken_as_it_is(
    cache: Cache, folder: Path, options: tuple[str, ...]
) -> None:
    command = ("tar", "-c", *options, "-C", str(folder), ".")
    tar = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    packed, _ = await tar.communicate()
    found = await cache.directory(gzip.compress(packed, 1))
    assert found == {name: value for name, value in tree(folder).items() if name in found}
    assert {"a", "b", "run", "holes"} <= set(found)
