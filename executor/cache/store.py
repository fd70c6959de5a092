"""Contents of the cache: versions by key, their users, sizes and eviction order.

Only quick file system calls; the downloader unpacks and packs archives.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from executor.cache.http import NO_VALIDATORS, Validators
from executor.privatedir import make_private

INDEX_NAME = "saved_cache.json"
TEMP_NAME = "temp"
_DIRECTORY_SUFFIX = ".d"
_MODE = 0o750
"""Permissions of the cache directory."""


class Form(Enum):
    """The two forms of a version."""

    FILE = "file"
    DIRECTORY = "directory"


@dataclass(slots=True, eq=False)
class Version:
    """One download of a key.

    base: path of the tar; the directory's path is the same with ``.d``.
    size: bytes of its tar.
    digests: of the downloaded bytes, in hex by algorithm.
    forms: existing forms.
    pins: number of users of each form.
    current: whether it is the entry of its key.
    """

    key: str
    base: Path
    size: int
    validators: Validators
    digests: dict[str, str] = field(default_factory=dict)
    forms: set[Form] = field(default_factory=set)
    pins: dict[Form, int] = field(default_factory=lambda: dict.fromkeys(Form, 0))
    last_access: float = 0
    current: bool = True

    def path(self, form: Form) -> Path:
        """Path of a form, existing or not."""
        return self.base if form is Form.FILE else self.base.with_name(self.base.name + _DIRECTORY_SUFFIX)

    @property
    def used(self) -> bool:
        return any(self.pins.values())

    @property
    def footprint(self) -> int:
        """Bytes counted against the limit."""
        return self.size * len(self.forms)


class Store:
    """The entries of one cache directory.

    max_bytes: limit of current entries' size. now: access time, for the eviction order.
    """

    def __init__(self, path: Path, max_bytes: int, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._now = now
        self._entries: dict[str, Version] = {}
        self._unclaimed: set[Path] = set()
        self._replaced: dict[Path, tuple[Version, Form]] = {}
        self._serial = itertools.count(1)

    @property
    def footprint(self) -> int:
        """Size of all current entries in bytes."""
        return sum(version.footprint for version in self._entries.values())

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._entries)

    def entry(self, key: str) -> Version | None:
        """The current version of a key, unless its files have been deleted."""
        version = self._entries.get(key)
        if version is None:
            return None
        version.forms = {form for form in version.forms if version.path(form).exists()}
        if not version.forms:
            self.remove(key)
            return None
        return version

    def new_base(self, key: str) -> Path:
        """Path for a new version."""
        return self._path / f"{key}-{time.time_ns()}-{next(self._serial)}"

    def temp(self) -> Path:
        """A path for temporary data; leftovers are deleted at the next start.

        Restores its directory if the cache was deleted. Raises OSError.
        """
        return _temp_directory(self._path) / f"{time.time_ns()}-{next(self._serial)}"

    def put(self, version: Version) -> list[Path]:
        """Make a version the entry of its key; return the paths to delete."""
        garbage = self.remove(version.key)
        self._entries[version.key] = version
        version.last_access = self._now()
        return garbage

    def remove(self, key: str) -> list[Path]:
        """Remove the entry of a key; a version in use stays until its users release it."""
        version = self._entries.pop(key, None)
        if version is None:
            return []
        version.current = False
        return [] if version.used else self._drop_all(version)

    def pin(self, version: Version, form: Form) -> None:
        """Count a new user of a form."""
        version.pins[form] += 1
        version.last_access = self._now()

    def unpin(self, version: Version, form: Form) -> list[Path]:
        """Remove a user of a form; return the paths to delete."""
        version.pins[form] -= 1
        return self._drop_all(version) if not version.current and not version.used else []

    def drop(self, version: Version, form: Form) -> list[Path]:
        """Remove one form unless it is in use; return the paths to delete."""
        if form not in version.forms or version.pins[form]:
            return []
        version.forms.discard(form)
        return self.aside(version.path(form))

    def make_room(self, size: int) -> list[Path]:
        """Evict unused entries, least recently used first, until ``size`` more bytes fit; return the paths to
        delete.
        """
        garbage: list[Path] = []
        while self.footprint + size > self._max_bytes:
            idle = [version for version in self._entries.values() if not version.used]
            if not idle:
                break
            garbage += self.remove(min(idle, key=lambda version: version.last_access).key)
        return garbage

    def _drop_all(self, version: Version) -> list[Path]:
        return [path for form in Form for path in self.drop(version, form)]

    def aside(self, path: Path) -> list[Path]:
        """Move a path to the temporary directory; a thread deletes it later, because that may take long."""
        target = self.temp()
        try:
            path.rename(target)
        except FileNotFoundError:  # deleted from outside
            return []
        return [target]

    def index(self) -> bytes:
        """Content for :func:`write_index`."""
        entries = {
            version.key: {
                "base": version.base.name,
                "size": version.size,
                "etag": version.validators.etag,
                "last_modified": version.validators.last_modified,
                "last_access": version.last_access,
                "digests": version.digests,
            }
            for version in self._entries.values()
        }
        return json.dumps({"entries": entries}).encode()

    def recover(self) -> None:
        """Create the directory and load the entries of its index. Blocks. Raises OSError.

        Everything else stays until :meth:`unclaimed`, except temporary data.
        """
        make_private(self._path, _MODE)
        for version in _read_index(self._path):
            version.forms = {form for form in Form if version.path(form).exists()}
            if version.forms:
                self._entries[version.key] = version
        known = {version.path(form) for version in self._entries.values() for form in version.forms}
        delete([self._path / TEMP_NAME])
        _temp_directory(self._path)
        known |= {self._path / TEMP_NAME, self._path / INDEX_NAME}
        self._unclaimed = {path for path in self._path.iterdir() if path not in known}

    def find(self, path: Path) -> tuple[Version, Form] | None:
        """The version and form at a path: a current one, or one that a previous process replaced."""
        for version in self._entries.values():
            for form in version.forms:
                if version.path(form) == path:
                    return version, form
        if path in self._replaced:
            return self._replaced[path]
        if path not in self._unclaimed:
            return None
        self._unclaimed.discard(path)
        form = Form.DIRECTORY if path.is_dir() else Form.FILE
        base = path.with_name(path.name.removesuffix(_DIRECTORY_SUFFIX)) if form is Form.DIRECTORY else path
        version = Version(base.name, base, 0, NO_VALIDATORS, forms={form}, current=False)
        self._replaced[path] = version, form
        return version, form

    def unclaimed(self) -> list[Path]:
        """Forget what is neither current nor found, and evict down to the limit.

        Returns the paths to delete.
        """
        left, self._unclaimed = self._unclaimed, set()
        self._replaced.clear()
        garbage = [moved for path in sorted(left) for moved in self.aside(path)]
        return garbage + self.make_room(0)


def _temp_directory(path: Path) -> Path:
    """The directory for temporary data of the cache at ``path``. Raises OSError."""
    directory = path / TEMP_NAME
    if not directory.is_dir():
        make_private(path, _MODE)
        directory.mkdir(mode=0o750, exist_ok=True)
    return directory


def _read_index(path: Path) -> list[Version]:
    """The entries of the index; empty if it is missing or invalid."""
    try:
        entries = json.loads((path / INDEX_NAME).read_bytes())["entries"]
        return [
            Version(
                key=key,
                base=path / Path(entry["base"]).name,
                size=int(entry["size"]),
                validators=Validators(etag=entry["etag"], last_modified=entry["last_modified"]),
                last_access=float(entry["last_access"]),
                digests=dict(entry.get("digests", {})),
            )
            for key, entry in entries.items()
        ]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return []


def write_index(path: Path, index: bytes) -> None:
    """Replace the index of the cache at ``path``. Blocks. Raises OSError."""
    temp = _temp_directory(path) / f"{INDEX_NAME}-{time.time_ns()}"
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(index)
    temp.rename(path / INDEX_NAME)


def delete(paths: list[Path]) -> None:
    """Delete files and directories. Blocks. Raises OSError."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
