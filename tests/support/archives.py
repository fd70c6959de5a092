"""Archives in memory."""

from __future__ import annotations

import io
import tarfile


def tar_of(
    *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w", format: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar of files given as (name, content) and of other members as they are."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode, format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return data.getvalue()
