"""Packages for the file server, from local folders and archives."""

from __future__ import annotations

import copy
import hashlib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from bbs.models.workload import MediaType
from cell.apps.ignoring import FILE_NAME, OF_BUILDPACKS, Ignored
from cell.client.target import BadArguments
from common import goyaml
from lifecycle.buildpack.processes import PROCFILE

ZIPS: Final = (".zip", ".jar", ".war")
TARS: Final = (".tgz", ".tar.gz")
ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of a zip without a prefix; the second is that of an empty one."""
NO_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError)
"""Exceptions of the library for a damaged, encrypted or unsupported zip."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive. sha256: hex, of its bytes."""

    path: Path
    sha256: str
    media: MediaType


def pack_app(source: Path, target: Path) -> Packed:
    """The package of an app's folder or archive, without the ignored files.

    An archive is used unchanged if none of its files is ignored and it has no data before its first entry.
    Otherwise, and for a folder, the package is written to ``target``. Raises BadArguments.
    """
    if source.is_file() and source.name.lower().endswith(ZIPS):
        return _readable(_pack_zip, source, target)
    if _is_archive(source):
        return _readable(_packed, source, MediaType.TGZ)
    if not source.is_dir():
        problem = f"is neither a folder nor a {', '.join((*ZIPS, *TARS))} file"
        raise BadArguments(f"{source} {problem if source.exists() else 'does not exist'}: expected an app")
    return _readable(_pack_app, source, target)


def pack_buildpack(folder: Path, target: Path) -> Packed:
    """A buildpack's folder, or its archive unchanged. Raises BadArguments."""
    if _is_archive(folder):
        media = MediaType.ZIP if folder.name.lower().endswith(ZIPS) else MediaType.TGZ
        return _readable(_packed, folder, media)
    if not (folder / "bin").is_dir():
        problem = "has no bin/" if folder.is_dir() else "does not exist"
        raise BadArguments(f"buildpack {folder} {problem}: expected a folder with bin/, an archive or a URL")
    return _readable(_pack, folder, Ignored(always=OF_BUILDPACKS).included(folder), target)


def is_url(text: str) -> bool:
    """Whether the builder downloads the buildpack itself."""
    return "://" in text and bool(urlsplit(text).scheme)


def procfile_error(source: Path) -> str:
    """Why the builder cannot read a folder's Procfile, with line and column; empty if it can.

    The builder reads it after the buildpacks have run, and does not report the position of an error.
    """
    file = source / PROCFILE
    try:
        types = goyaml.mapping(
            goyaml.load(file.read_text(encoding="utf-8", errors="surrogateescape")), PROCFILE
        )
        for name, command in types.items():
            goyaml.text(command, name)
    except goyaml.YAMLError as error:
        problem = str(error).removeprefix("yaml: ")
        return f"{file} cannot be read: {problem}; expected lines such as `web: ./start`"
    except OSError:
        return ""
    return ""


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith((*ZIPS, *TARS))


def _readable(pack: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call ``pack``. Raises BadArguments for unreadable files."""
    try:
        return pack(*args, **kwargs)
    except OSError as error:
        raise BadArguments(f"{error.filename or 'a file'}: {error.strerror or error}") from error


def _pack_app(folder: Path, target: Path) -> Packed:
    folder = folder.resolve()
    ignored = Ignored.of(folder)
    if not any(True for _ in ignored.included(folder)):
        raise BadArguments(f"{folder} is empty, except for ignored files: expected the folder of an app")
    return _pack(folder, ignored.included(folder), target)


def _pack(folder: Path, files: Iterable[tuple[Path, str]], target: Path) -> Packed:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        archive.add(folder.resolve(), ".", recursive=False, filter=_owned_by_root)
        for file, inside in files:
            mode = file.lstat().st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                kind = "named pipe" if stat.S_ISFIFO(mode) else "device"
                raise BadArguments(f"{file} is a {kind}, which a package cannot hold: list it in {FILE_NAME}")
            archive.add(file, f"./{inside}", recursive=False, filter=_owned_by_root)
    return _packed(target, MediaType.TGZ)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _pack_zip(source: Path, target: Path) -> Packed:
    """Raises BadArguments, OSError."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            ignored = _ignored_of(archive, source)
            wanted = [member for member in members if member.filename not in ignored]
            if not wanted:
                raise BadArguments(f"{source} has no files, except for ignored ones: expected an app")
            if len(wanted) == len(members) and _begins_as_zip(source):
                return _packed(source, MediaType.ZIP)
            with zipfile.ZipFile(target, "w") as fresh:
                for member in wanted:
                    _copy_member(archive, member, fresh)
    except NO_ZIP as error:
        raise BadArguments(f"{source} is not a readable zip archive: {error}") from error
    return _packed(target, MediaType.ZIP)


def _ignored_of(archive: zipfile.ZipFile, source: Path) -> Ignored:
    if FILE_NAME not in archive.namelist():
        return Ignored()
    text = archive.read(FILE_NAME).decode("utf-8", "surrogateescape")
    return Ignored(text, f"{source}/{FILE_NAME}")


def _copy_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, fresh: zipfile.ZipFile) -> None:
    """Copy with mode, date and compression: some Java programs need uncompressed nested archives."""
    if member.is_dir():
        fresh.writestr(copy.copy(member), b"")
        return
    with archive.open(member) as content, fresh.open(copy.copy(member), "w") as out:
        shutil.copyfileobj(content, out)


def _begins_as_zip(path: Path) -> bool:
    """Whether there is no data before the first entry, such as the script of an executable jar."""
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGICS[0])) in ZIP_MAGICS


def _packed(path: Path, media: MediaType) -> Packed:
    with path.open("rb") as file:
        return Packed(path, hashlib.file_digest(file, "sha256").hexdigest(), media)
