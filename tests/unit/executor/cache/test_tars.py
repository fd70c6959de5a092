"""The tar reader: it reads archives of other writers, and any damage is an ArchiveError."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.cache import tarheaders
from executor.cache.api import ArchiveError
from executor.cache.tars import Kind, Member, members
from tests.support.thorough import examples

pytestmark = pytest.mark.unit

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
TYPES = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.FIFOTYPE: Kind.FIFO,
    tarfile.CHRTYPE: Kind.DEVICE,
}
NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=60)


def read(tar: bytes) -> list[tuple[Member, bytes]]:
    """Members with their content, holes left out."""
    with tempfile.TemporaryFile() as file:
        file.write(tar)
        file.flush()
        return [
            (member, b"".join(os.pread(file.fileno(), part.length, part.position) for part in member.parts))
            for member in members(file.fileno())
        ]


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """What was written, and the tar."""
    format = draw(st.sampled_from(FORMATS))
    name = st.text("abc", min_size=1, max_size=60) if format == tarfile.USTAR_FORMAT else NAMES
    path = st.lists(name, min_size=1, max_size=2 if format == tarfile.USTAR_FORMAT else 4).map("/".join)
    data, written = io.BytesIO(), []
    with tarfile.open(fileobj=data, mode="w", format=format) as archive:
        for _ in range(draw(st.integers(0, 5))):
            info = tarfile.TarInfo(draw(path))
            info.type = draw(st.sampled_from([*TYPES]))
            info.mode, info.uid = draw(st.integers(0, 0o7777)), draw(st.integers(0, 1 << 20))
            info.mtime = draw(st.integers(0, 1 << 32))
            content = draw(st.binary(max_size=1100)) if info.type == tarfile.REGTYPE else b""
            if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = draw(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            written.append({"info": info, "content": content})
    return written, data.getvalue()


@settings(max_examples=examples(60), deadline=None)
@given(archives())
def test_it_sees_what_the_library_wrote(case: tuple[list[dict[str, Any]], bytes]) -> None:
    written, tar = case
    found = read(tar)
    assert len(found) == len(written)
    for (member, content), wanted in zip(found, written, strict=True):
        info = wanted["info"]
        assert (member.name.rstrip("/"), member.link) == (info.name.rstrip("/"), info.linkname)
        assert (member.kind, member.mode, member.uid) == (TYPES[info.type], info.mode, info.uid)
        assert (member.mtime, member.size, content) == (
            info.mtime * 10**9,
            len(wanted["content"]),
            wanted["content"],
        )


@settings(max_examples=examples(150), deadline=None)
@given(
    archives(),
    st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=13)), min_size=1, max_size=4),
    st.booleans(),
)
def test_damage_is_an_archive_error_or_in_the_content(
    case: tuple[list[dict[str, Any]], bytes], damage: list[tuple[int, bytes]], sealed: bool
) -> None:
    """No other error gets out, and the reader ends, also when the checksums fit."""
    tar = bytearray(case[1])
    for position, data in damage:
        position %= len(tar)
        tar[position : position + len(data)] = data
    if sealed:
        for block in range(0, len(tar) - 511, 512):
            if any(tar[block : block + 512]):
                total = sum(tar[block : block + 148]) + 256 + sum(tar[block + 156 : block + 512])
                tar[block + 148 : block + 156] = b"%06o\0 " % total
    try:
        found = read(bytes(tar))
    except ArchiveError:
        return
    for member, content in found:
        assert member.name
        assert len(content) <= member.size


def test_a_map_of_holes_for_all_members_is_ignored() -> None:
    """A map fits one file, and is parsed for each member: half a million members would take hours."""
    records = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1," * 1000 + "0,0"}
    records |= {"mtime": "12.5", "comment": "a commit"}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT, pax_headers=records) as archive:
        for name in ("a", "b"):
            info = tarfile.TarInfo(name)
            info.size = 7
            archive.addfile(info, io.BytesIO(b"content"))
    found = read(data.getvalue())
    assert [(member.name, member.mtime, content) for member, content in found] == [
        ("a", 12_500_000_000, b"content"),
        ("b", 12_500_000_000, b"content"),
    ]


def test_records_that_no_member_needs_are_not_kept() -> None:
    assert tarheaders.records(b"9 note=x\n9 path=y\n") == {"path": "y"}
