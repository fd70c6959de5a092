"""Files excluded from an app's package: ``.cfignore``, with the rules of gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from cell.client.target import BadArguments

FILE_NAME: Final = ".cfignore"
VERSION_CONTROL: Final = (".DS_Store", ".git", ".gitignore", ".hg", ".svn", "_darcs")
OF_APPS: Final = (FILE_NAME, *VERSION_CONTROL, "manifest.yaml", "manifest.yml")
"""Files that ``cf push`` never uploads."""
OF_BUILDPACKS: Final = (*VERSION_CONTROL, "__pycache__")
"""A buildpack's manifest.yml is part of it."""


class Ignored:
    """The exclusions of a ``.cfignore`` and the defaults. Paths are relative to the app's folder."""

    def __init__(self, lines: str = "", where: str = FILE_NAME, *, always: Sequence[str] = OF_APPS) -> None:
        """lines: content of the file. where: its path, for errors. Raises BadArguments."""
        try:
            self._spec = GitIgnoreSpec.from_lines([*lines.splitlines(), *always])
        except (ValueError, re.error) as error:
            raise BadArguments(f"{where}: {error}") from error
        self._includes_again = any(line.startswith("!") for line in lines.splitlines())

    @classmethod
    def of(cls, folder: Path) -> Ignored:
        """The exclusions of an app's folder. Raises BadArguments, OSError."""
        file = folder / FILE_NAME
        try:
            return cls(file.read_text(encoding="utf-8", errors="surrogateescape"), str(file))
        except FileNotFoundError:
            return cls()

    def __contains__(self, path: str) -> bool:
        """path: relative, with a slash at its end for a directory."""
        return self._spec.match_file(path)

    def included(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """All files of a folder that are not ignored, with their relative paths, sorted by name.

        Links are not followed. A file included again with ``!`` counts even inside an ignored directory.
        Raises OSError.
        """
        waiting = [("", folder)]
        while waiting:
            inside, directory = waiting.pop()
            folders = []
            for entry in sorted(directory.iterdir()):
                path = f"{inside}{entry.name}"
                is_folder = entry.is_dir() and not entry.is_symlink()
                ignored = (f"{path}/" if is_folder else path) in self
                if not ignored:
                    yield entry, path
                if is_folder and (not ignored or self._includes_again):
                    folders.append((f"{path}/", entry))
            waiting += reversed(folders)
