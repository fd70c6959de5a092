"""Service binding files: written to a directory of the host, mounted read-only in the container.

Cells may share that directory; each has its own folder in it. The functions block; call them in a thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence, Set
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from bbs.models.common import File
from bbs.models.guid import Guid

CONTAINER_DIR = "/etc/cf-service-bindings"


def cell_folder(parent: str, cell_id: str) -> str:
    """The folder for the files of a cell's containers; empty if ``parent`` is empty."""
    return str(Path(parent, f"cell-{quote(cell_id, safe='')}")) if parent else ""


def sweep(folder: str, kept: Set[str]) -> None:
    """Remove the files of all containers but the kept ones. kept: guids. Raises OSError."""
    if not folder or not Path(folder).exists():
        return
    for path in Path(folder).iterdir():
        if path.name not in kept:
            shutil.rmtree(path)


def write(parent: str, guid: str, files: Sequence[File]) -> str:
    """Write the files of a container (directories 0755, files 0644) and return their directory.

    Raises OSError, and ValueError for a path that is empty or leads out of the directory.
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
    """Remove the files of a container, if any. Raises OSError, InvalidGuid."""
    root = Guid(guid).below(parent)
    if root.exists():
        shutil.rmtree(root)


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"service file path {path!r} is not a relative path of the form service/file")
    return parts
