"""Credential files on the host: one directory per container, which sees it read-only.

Blocks; call it from a thread. The files are readable for every user of the container, for compatibility.
If we create the parent directory, other users of the host have no access to it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Set
from pathlib import Path

from bbs.models.guid import Guid, is_guid

CERTIFICATE = "instance.crt"
KEY = "instance.key"
_TEMPORARY = ".tmp"
_OURS = frozenset({CERTIFICATE, KEY, f"{CERTIFICATE}{_TEMPORARY}", f"{KEY}{_TEMPORARY}"})

log = logging.getLogger(__name__)


class CredentialFiles:
    """The credential directories below ``parent``."""

    def __init__(self, parent: str) -> None:
        self._parent = Path(parent)

    def directory(self, guid: str) -> Path:
        """The directory of a container. Raises InvalidGuid."""
        return Guid(guid).below(self._parent)

    def prepare(self, guid: str) -> str:
        """Create a container's directory, which must not exist yet. Raises OSError, InvalidGuid."""
        directory = self.directory(guid)
        self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir()
        directory.chmod(0o755)
        return str(directory)

    def replace(self, guid: str, *, certificate: bytes, key: bytes) -> None:
        """Replace the credentials: each file is complete at any time. Raises OSError."""
        directory = self.directory(guid)
        contents = ((KEY, key), (CERTIFICATE, certificate))
        for name, content in contents:
            _write(directory / f"{name}{_TEMPORARY}", content)
        for name, _ in contents:
            (directory / f"{name}{_TEMPORARY}").rename(directory / name)

    def read(self, guid: str) -> tuple[bytes, bytes]:
        """The certificate and the key of a container. Raises OSError; FileNotFoundError before the first."""
        directory = self.directory(guid)
        return (directory / CERTIFICATE).read_bytes(), (directory / KEY).read_bytes()

    def remove(self, guid: str) -> None:
        """Remove a container's directory, if it exists.

        Removes only our files: a directory with other files stays. Raises OSError.
        """
        directory = self.directory(guid)
        try:
            for name in _OURS:
                (directory / name).unlink(missing_ok=True)
            directory.rmdir()
        except FileNotFoundError:
            return

    def retain(self, guids: Set[str]) -> list[str]:
        """Remove the directories of all other containers; return their guids. Raises OSError.

        The parent may be shared: entries that do not look like our directories are ignored.
        """
        if not self._parent.exists():
            return []
        with os.scandir(self._parent) as entries:
            others = [entry for entry in entries if entry.name not in guids]
        strays = sorted(entry.name for entry in others if _is_ours(entry))
        foreign = sorted({entry.name for entry in others} - {*strays})
        for guid in strays:
            self.remove(guid)
        if foreign:
            data = {"directory": str(self._parent), "count": len(foreign), "first": foreign[0]}
            log.warning("foreign-entries-among-instance-credentials", extra={"data": data})
        return strays


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory named by a guid with credential files only."""
    if not is_guid(entry.name) or not entry.is_dir(follow_symlinks=False):
        return False
    return set(os.listdir(entry.path)) <= _OURS


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
