"""Credential files on the host: one directory per container, which sees it read-only.

Blocking; call from a thread. The files are readable for every user of the container, as they always were;
the parent directory, if it is ours to make, keeps the other users of the host out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Set
from pathlib import Path

CERTIFICATE = "instance.crt"
KEY = "instance.key"


class CredentialFiles:
    """The directories below ``parent``."""

    def __init__(self, parent: str) -> None:
        self._parent = Path(parent)

    def directory(self, guid: str) -> Path:
        """Where a container's are. Raises ValueError for a guid that cannot name a directory."""
        if guid in {"", ".", ".."} or "/" in guid:
            raise ValueError(f"container guid {guid!r} cannot name a directory")
        return self._parent / guid

    def prepare(self, guid: str) -> str:
        """Make a container's directory, which must not be there yet. Raises OSError, ValueError."""
        directory = self.directory(guid)
        self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir()
        directory.chmod(0o755)
        return str(directory)

    def replace(self, guid: str, *, certificate: bytes, key: bytes) -> None:
        """Put new credentials in place of the old: each file is whole at any time. Raises OSError."""
        directory = self.directory(guid)
        written = [(_write(directory / f"{name}.tmp", content), directory / name) for name, content in (
            (KEY, key),
            (CERTIFICATE, certificate),
        )]  # fmt: skip
        for temporary, final in written:
            temporary.rename(final)

    def remove(self, guid: str) -> None:
        """Remove a container's directory, if there is one. Raises OSError."""
        try:
            shutil.rmtree(self.directory(guid))
        except FileNotFoundError:
            return

    def retain(self, guids: Set[str]) -> list[str]:
        """Remove the directories of all other containers; answers their guids. Raises OSError."""
        if not self._parent.exists():
            return []
        strays = sorted(entry.name for entry in os.scandir(self._parent) if entry.name not in guids)
        for guid in strays:
            self.remove(guid)
        return strays


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o644)
    return path
