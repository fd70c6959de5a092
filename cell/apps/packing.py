"""Folders and archives of this machine, as the file server gets them."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bbs.models.workload import MediaType
from cell.client.target import BadArguments

IGNORED = frozenset({".cfignore", ".DS_Store", ".git", ".gitignore", ".hg", ".svn", "_darcs", "__pycache__"})
"""Of no app's business."""
ARCHIVES = (".zip", ".tgz", ".tar.gz")


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive. sha256: hex, of its bytes."""

    path: Path
    sha256: str

    @property
    def media(self) -> MediaType:
        return MediaType.ZIP if self.path.suffix == ".zip" else MediaType.TGZ


def pack_app(folder: Path, target: Path) -> Packed:
    """The package of an app's folder, or an archive as it is. Raises BadArguments, OSError."""
    if _is_archive(folder):
        return _packed(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise BadArguments(f"{folder} {what}: expected the folder of an app")
    if not any(entry.name not in IGNORED for entry in folder.iterdir()):
        raise BadArguments(f"{folder} is empty: expected the folder of an app")
    return _pack(folder, target)


def pack_buildpack(folder: Path, target: Path) -> Packed:
    """A buildpack's folder, or its archive as it is. Raises BadArguments, OSError."""
    if _is_archive(folder):
        return _packed(folder)
    if not (folder / "bin").is_dir():
        what = "has no bin/" if folder.is_dir() else "does not exist"
        raise BadArguments(f"buildpack {folder} {what}: expected a folder with bin/, an archive or a URL")
    return _pack(folder, target)


def is_url(text: str) -> bool:
    """Whether a buildpack is one the builder fetches by itself."""
    return "://" in text and bool(urlsplit(text).scheme)


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(ARCHIVES)


def _pack(folder: Path, target: Path) -> Packed:
    def cleaned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(member.name).name in IGNORED:
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".", filter=cleaned)
    return _packed(target)


def _packed(path: Path) -> Packed:
    with path.open("rb") as file:
        return Packed(path, hashlib.file_digest(file, "sha256").hexdigest())
