"""Opening of the journal's file: migration, examination, and what happens to an unusable file.

An unusable file does not keep the agent from starting. A damaged one is renamed, with the time in its new
name, and a new file begins. A file that can be read but not written (full disk, read-only file system) is
read, and the journal is opened for writing again at each write. Only the file of a newer version is an error,
because an older version could neither read it nor may replace it.

The caller holds the lock of the state folder, so no other process has the file open. SQLite's exclusive mode
uses this: it needs no ``-shm`` file, for which a full disk has no space.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Final

from executor.journal import schema
from executor.journal.api import Contents, FactRow, FailureReason, JournalError, Put
from executor.journal.schema import Damaged
from executor.privatedir import make_private

DISTRIBUTION: Final = "diego-cell"
UNKNOWN_VERSION: Final = "unknown"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
BOOT_FACT: Final = "boot_id"
"""Key of the fact that names the boot in which an agent last opened the file."""
VERSION_FACT: Final = "version"
"""Key of the fact that names the version of the agent that last opened the file."""
FILE_MODE: Final = 0o600
SMALLEST_PAGE: Final = 512
BUSY_TIMEOUT_S: Final = 5.0
FILES: Final = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files that make up a database."""
KEPT_ASIDE: Final = 5
"""Number of damaged files that are kept; older ones are removed."""

_SQLITE_REASONS: Final = {
    sqlite3.SQLITE_FULL: FailureReason.FULL,
    sqlite3.SQLITE_READONLY: FailureReason.READ_ONLY,
    sqlite3.SQLITE_PERM: FailureReason.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: FailureReason.DAMAGED,
    sqlite3.SQLITE_NOTADB: FailureReason.DAMAGED,
    sqlite3.SQLITE_FORMAT: FailureReason.DAMAGED,
    sqlite3.SQLITE_ERROR: FailureReason.DAMAGED,  # our statements are correct: a table or a column is missing
}
_ERRNO_REASONS: Final = {
    errno.ENOSPC: FailureReason.FULL,
    errno.EDQUOT: FailureReason.FULL,
    errno.EROFS: FailureReason.READ_ONLY,
    errno.EACCES: FailureReason.READ_ONLY,
    errno.EPERM: FailureReason.READ_ONLY,
}


class Finding(Enum):
    """The state of the file at opening."""

    NEW = "new"
    SOUND = "sound"
    MIGRATED = "migrated"
    DAMAGED = "damaged"
    UNWRITABLE = "unwritable"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What opening found and did.

    kept_aside: the new name of a damaged file. failure: why the file cannot be written. detail: the text of
    the error.
    """

    finding: Finding
    path: Path
    kept_aside: Path | None = None
    failure: FailureReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An opened journal. connection: None if the file cannot be written."""

    connection: sqlite3.Connection | None
    contents: Contents
    same_boot: bool
    report: Report


def open_journal(path: Path, boot_id: str, now: Callable[[], float] = time.time) -> Opened:
    """Open, create or replace the file. Blocks. Raises JournalError for the file of a newer version."""
    kept_aside: Path | None = None
    detail = ""
    try:
        make_private(path.parent)
        try:
            connection, version, contents = _open(path, boot_id)
        except (sqlite3.Error, Damaged) as error:
            # the file itself is writable, so SQLite calls it read-only because of its header
            if failure_reason(error) not in (FailureReason.DAMAGED, FailureReason.READ_ONLY):
                raise
            kept_aside, detail = keep_aside(path, now()), str(error)
            connection, version, contents = _open(path, boot_id)
    except (sqlite3.Error, OSError, Damaged) as error:
        return _read_only(path, boot_id, error)
    if kept_aside is not None:
        finding = Finding.DAMAGED
    elif version == schema.SCHEMA_VERSION:
        finding = Finding.SOUND
    else:
        finding = Finding.MIGRATED if version else Finding.NEW
    return Opened(
        connection=connection,
        contents=contents,
        same_boot=_is_same_boot(contents, boot_id),
        report=Report(finding=finding, path=path, kept_aside=kept_aside, detail=detail),
    )


def reopen(path: Path) -> sqlite3.Connection:
    """Open the file for writing while the agent runs, without an examination.

    Raises sqlite3.Error, OSError, Damaged, JournalError.
    """
    connection = connect(path)
    try:
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """A connection for writing to a file that is created if missing. Raises sqlite3.Error, OSError."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE))
    path.chmod(FILE_MODE)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def read(connection: sqlite3.Connection) -> Contents:
    """Examine the file and read all its rows. Raises sqlite3.Error, Damaged."""
    problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
    if problems != ["ok"]:
        raise Damaged(problems[0])
    try:
        return schema.contents(
            connection.execute(schema.SELECT_CONTAINERS).fetchall(),
            connection.execute(schema.SELECT_STEPS).fetchall(),
            connection.execute(schema.SELECT_FACTS).fetchall(),
            connection.execute(schema.SELECT_OUTCOMES).fetchall(),
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise Damaged(str(error)) from error


def failure_reason(error: Exception) -> FailureReason:
    """The kind of an error of SQLite or the operating system."""
    if isinstance(error, Damaged):
        return FailureReason.DAMAGED
    if isinstance(error, OSError):
        return _ERRNO_REASONS.get(error.errno or 0, FailureReason.IO)
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _SQLITE_REASONS.get(code & 0xFF, FailureReason.IO)
    # text that is no UTF-8
    return FailureReason.DAMAGED if isinstance(error, sqlite3.DatabaseError) else FailureReason.IO


def keep_aside(path: Path, now: float) -> Path:
    """Rename a damaged file with its companions, and remove the oldest kept ones. Raises OSError."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in FILES:
        source = Path(f"{path}{suffix}")
        if source.exists():
            source.rename(f"{aside}{suffix}")
    found = path.parent.glob(f"{path.name}.damaged-*")
    kept = sorted(each for each in found if not each.name.endswith(FILES[1:]))  # sorted by time
    for old in kept[:-KEPT_ASIDE]:
        for suffix in FILES:
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    return aside


def opening_facts(boot_id: str) -> Sequence[Put]:
    """The changes that record the present boot and the version of this agent."""
    return (
        Put(FactRow(key=BOOT_FACT, value=boot_id.encode())),
        Put(FactRow(key=VERSION_FACT, value=_own_version().encode())),
    )


def _open(path: Path, boot_id: str) -> tuple[sqlite3.Connection, int, Contents]:
    """An examined connection, the schema version before the migration, and the rows."""
    if path.is_symlink():
        raise Damaged("it is a link")
    if path.exists() and 0 < path.stat().st_size < SMALLEST_PAGE:
        raise Damaged("the file is shorter than its header")  # SQLite takes it for an empty one
    connection = connect(path)
    try:
        version = _migrate(connection, path)
        contents = read(connection)
        for change in opening_facts(boot_id):
            for statement, values in schema.statements(change):
                connection.execute(statement, values)
    except BaseException:
        connection.close()
        raise
    return connection, version, contents


def _migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Bring the schema up to date in one transaction; the version before. path: for the error.

    Raises JournalError, Damaged, sqlite3.Error.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version and connection.execute("PRAGMA application_id").fetchone()[0] != schema.mark(version):
        raise Damaged(f"the schema version {version} does not match its mark")
    if version > schema.SCHEMA_VERSION:
        found = (
            f"{path}: schema {version}, written by version {_version_in(connection)}; "
            f"this is version {_own_version()}, which knows schema {schema.SCHEMA_VERSION}"
        )
        raise JournalError(FailureReason.NEWER, found)
    if version < schema.SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        for step in schema.MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
        connection.execute(f"PRAGMA application_id={schema.mark(schema.SCHEMA_VERSION)}")
        connection.execute("COMMIT")
    return version


def _own_version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION


def _version_in(connection: sqlite3.Connection) -> str:
    """The version that wrote a file of an unknown schema."""
    try:
        row = connection.execute("SELECT value FROM facts WHERE key = ?", (VERSION_FACT,)).fetchone()
        return str(row[0], "ascii")
    except (sqlite3.Error, TypeError, UnicodeDecodeError):
        return UNKNOWN_VERSION


def _is_same_boot(contents: Contents, boot_id: str) -> bool:
    return contents.facts.get(BOOT_FACT) == boot_id.encode()


def _read_only(path: Path, boot_id: str, error: Exception) -> Opened:
    """The contents of a file that cannot be opened for writing, read from a copy."""
    failure, detail = failure_reason(error), str(error)
    try:
        contents = read_copy(path)
        finding = Finding.UNWRITABLE
    except (sqlite3.Error, OSError, Damaged) as second:
        contents, finding, detail = Contents(), Finding.UNREADABLE, f"{detail}; {second}"
    return Opened(
        connection=None,
        contents=contents,
        same_boot=_is_same_boot(contents, boot_id),
        report=Report(finding=finding, path=path, failure=failure, detail=detail),
    )


def read_copy(path: Path) -> Contents:
    """The rows of a file that no agent has open, without a change of the file; none if there is no file.

    Raises sqlite3.Error, OSError, Damaged, and JournalError for the file of a newer version.
    """
    if not path.exists():
        return Contents()
    with tempfile.TemporaryDirectory(prefix="diego-cell-journal-") as folder:
        copy = Path(folder) / path.name
        for suffix in FILES:
            source = Path(f"{path}{suffix}")
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        with closing(connect(copy)) as connection:
            _migrate(connection, path)
            return read(connection)
