"""Service binding files: written below a directory of the host, seen by the app read-only.

Cells may share that directory: each has a folder of its own in it. Blocking; call from a thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from bbs.models.common import File
from bbs.models.guid import Guid

CONTAINER_DIR = "/etc/cf-service-bindings"


def cell_folder(parent: str, cell_id: str) -> str:
    """Where a cell keeps the files of its containers; empty without a directory for all cells."""
    return str(Path(parent, f"cell-{quote(cell_id, safe='')}")) if parent else ""


def sweep(folder: str) -> None:
    """Remove what an earlier life of the cell left. Raises OSError."""
    if folder and Path(folder).exists():
        shutil.rmtree(folder)


def write(parent: str, guid: str, files: Sequence[File]) -> str:
    """Write the files of a container (directories 0755, files 0644) and answer their directory.

    Raises ValueError for a path that is empty or leads out of the directory, OSError.
    """
    if not parent:
        raise ValueError(f"files were asked for {guid} but volume_mounted_files is not configured")
    root = Guid(guid).below(parent)
    root.mkdir(mode=0o755, parents=True)
    root.chmod(0o755)
    for file in files:
        target = root.joinpath(*_parts(file.path))
        for made in reversed(target.relative_to(root).parents[:-1]):
            (root / made).mkdir(exist_ok=True)
            (root / made).chmod(0o755)
        target.write_text(file.content)
        target.chmod(0o644)
    return str(root)


def remove(parent: str, guid: str) -> None:
    """Remove a container's files, if there are any. Raises OSError, InvalidGuid."""
    root = Guid(guid).below(parent)
    if root.exists():
        shutil.rmtree(root)


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"service file path {path!r} is not a relative path of the form service/file")
    return parts
