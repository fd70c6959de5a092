"""What a tar on disk would become: how many members, and bytes of content; sparse ones can be bigger than the
tar itself. Blocking.
"""

from __future__ import annotations

import os
import tarfile
from contextlib import suppress
from pathlib import Path

from executor.cache.limits import Budget
from executor.cache.tars import reading

_MAGIC = b"ustar"
_END = bytes(tarfile.BLOCKSIZE)
_WITH_CONTENT, _WITHOUT = tarfile.REGTYPE, (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


class _NotPlain(Exception):
    """There is more to a header than a size at its place."""


def weigh(path: Path, budget: Budget) -> None:
    """Count what a tar holds against the budget. Raises ArchiveError when it is too much.

    What is broken is found by who unpacks it, who also says so in the words known for that.
    """
    try:
        _weigh_plain(path, budget.anew(budget.packed_bytes))
    except _NotPlain:
        with suppress(tarfile.TarError, EOFError), reading(path) as archive:
            for member in archive:
                budget.take_member(member.name)
                budget.take_bytes(member.size)


def _weigh_plain(path: Path, budget: Budget) -> None:
    """The same for a tar without extensions, which most are, in a fraction of the library's time."""
    with path.open("rb") as file:
        while (header := file.read(tarfile.BLOCKSIZE)) not in (_END, b""):
            kind = header[156:157]
            if header[257:262] != _MAGIC or (kind != _WITH_CONTENT and kind not in _WITHOUT):
                raise _NotPlain
            try:
                size = int(header[124:136].strip(b" \0") or b"0", 8)
            except ValueError as error:
                raise _NotPlain from error
            budget.take_member()
            budget.take_bytes(size)
            if kind == _WITH_CONTENT:
                file.seek(-(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
