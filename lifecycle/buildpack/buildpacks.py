"""The buildpack order: which buildpacks are downloaded, and the directory of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from common.gourl import URLError, parse
from lifecycle.buildpack.xxh64 import xxh64


class BuildError(Exception):
    """A failed build; ``str()`` is the last message, which determines the exit status."""


@dataclass(frozen=True, slots=True)
class Buildpack:
    """One buildpack of the order: ``key`` as given, ``folder`` as the place of its directory."""

    key: str
    folder: Path

    @property
    def hash(self) -> str:
        """The name of the buildpack's directory and of its cache directory."""
        return xxh64(self.key.encode("utf-8", "surrogateescape"))

    def locate(self) -> Path:
        """The directory that contains ``bin``. Raises BuildError."""
        own = self.folder / self.hash
        digest = hashlib.md5(self.key.encode("utf-8", "surrogateescape"), usedforsecurity=False)
        older = self.folder / digest.hexdigest()
        for path in (own, older):
            if (path / "bin").exists():
                return path
        entries = _entries(own) or _entries(older)
        if entries is None:
            raise BuildError(f"Failed to read buildpack directory '{own}' for buildpack '{own}'")
        if len(entries) == 1 and (entries[0] / "bin").exists():
            return entries[0]
        raise BuildError(f"malformed buildpack does not contain a /bin dir: {self.key}")


def _entries(folder: Path) -> list[Path] | None:
    """The entries of a directory; None if the directory does not exist."""
    try:
        return list(folder.iterdir())
    except OSError:
        return None


def is_custom(key: str) -> bool:
    """Whether the builder has to download this buildpack. Raises BuildError for an unparsable key."""
    try:
        return bool(parse(key).scheme)
    except URLError as error:
        raise BuildError(f"Invalid buildpack url ({key}): {error}") from error
