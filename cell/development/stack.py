"""The stack of `cell dev`: a root filesystem for buildpack apps, built from this machine's files.

It contains busybox for the usual tools, bash for the launcher, and Python, which a small buildpack cannot
download. Nothing is downloaded. The shared objects of the programs are in ``/lib``.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from docker import APIClient

from cell.development.images import BUSYBOX, build_rootfs_tar, ensure_image, remove_others

REPOSITORY = "diego-cell/cellfs"
BASH = Path("/bin/bash")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = frozenset(
    {
        *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter"),
        *("turtledemo", "ensurepip", "lib2to3", "pydoc_data"),
    }
)
"""Large parts of the standard library that apps do not need."""
LEFT_OUT_BEGINNINGS = ("config-", "_tkinter", "_test", "_ctypes_test", "_xxtest", "xxlimited")
LINKED = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x", re.MULTILINE)
VERSION = "1"
"""Increment it when this file changes the result for the same machine."""


class StackError(Exception):
    """A program of this machine that the stack needs is missing; the message names it."""


def ensure_stack(client: APIClient, folder: Path) -> str:
    """Create the stack's image if the engine lacks it; returns its name. Removes unused earlier ones.

    Raises StackError, OSError, docker's errors.
    """
    tag = f"{REPOSITORY}:{_fingerprint()}"
    ensure_image(client, tag, folder, build_stack_tar)
    remove_others(client, tag)
    return tag


def build_stack_tar(path: Path) -> None:
    """Write the root filesystem's archive. Raises StackError, OSError."""
    build_rootfs_tar(path)
    library = Path(sysconfig.get_path("stdlib"))
    inside = f"usr/{sys.platlibdir}/{library.name}"
    python = Path(sys.executable).resolve()
    modules = sorted(_modules(library))
    extensions = [module for module in modules if module.suffix == ".so"]
    with tarfile.open(path, "a") as archive:
        _link(archive, "usr/bin/env", "/bin/busybox")
        _file(archive, "bin/bash", BASH, 0o755)
        _file(archive, f"usr/bin/{PYTHON}", python, 0o755)
        for name in ("python3", "python"):
            _link(archive, f"usr/bin/{name}", PYTHON)
        for module in modules:
            _file(archive, f"{inside}/{module.relative_to(library)}", module, 0o644)
        for name, source in _shared_objects([BASH, python, *extensions]).items():
            _file(archive, name, source, 0o755)


def _fingerprint() -> str:
    """A fingerprint of the input files, without a full read."""
    digest = hashlib.sha256(f"{VERSION} {sys.version} {sys.platlibdir}".encode())
    for path in (BUSYBOX, BASH, Path(sys.executable).resolve()):
        try:
            status = path.stat()
        except OSError as error:
            raise StackError(f"{path}: {error.strerror}; the stack of `cell dev` needs it") from error
        digest.update(f"\0{path} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _modules(library: Path) -> Iterator[Path]:
    for entry in library.iterdir():
        if entry.name in LEFT_OUT or entry.name.startswith(LEFT_OUT_BEGINNINGS):
            continue
        if entry.is_dir():
            yield from _modules(entry)
        elif entry.is_file():
            yield entry


def _shared_objects(programs: Iterable[Path]) -> dict[str, Path]:
    """Map of member name to file: the loader under its own path, the others in ``lib``."""
    found: dict[str, Path] = {}
    listing = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    ).stdout
    for name, path in LINKED.findall(listing):
        member = f"lib/{Path(name).name}" if name else path.lstrip("/")
        found[member] = Path(path).resolve()
    return found


def _file(archive: tarfile.TarFile, name: str, source: Path, mode: int) -> None:
    content = source.read_bytes()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    archive.addfile(member)
