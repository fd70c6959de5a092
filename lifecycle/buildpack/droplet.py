"""Packing the droplet and the build artifacts cache with the image's own tools."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from lifecycle.buildpack.buildpacks import BuildError
from lifecycle.buildpack.scripts import ScriptError, run_tool, run_tool_quietly
from lifecycle.system import LookError, look_path, reason

COMPRESS_FAILED: Final = "Failed to compress droplet filesystem"
SPECIAL_FILES: Final = {stat.S_IFIFO: "named pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
"""What an archive can hold and a cell cannot unpack. Tar itself leaves sockets out."""


def pack_droplet(build_dir: Path, work: Path, output: Path) -> None:
    """``work`` with the app and empty ``tmp`` and ``logs`` as one archive. Raises BuildError."""
    try:
        run_tool("cp", "-a", build_dir, work / "app")
    except (ScriptError, LookError) as error:
        raise BuildError(f"Failed to copy compiled droplet: {error}") from error
    try:
        for name in ("tmp", "logs"):
            (work / name).mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise BuildError(f"Failed to set up droplet filesystem: {reason(error)}") from error
    try:
        look_path("tar", os.environ)
    except LookError as error:
        raise BuildError(f"Unable to find tar executable: {error}") from error
    special = _special_file(work)
    if special is not None:
        path, kind = special
        raise BuildError(
            f"{COMPRESS_FAILED}: {path.relative_to(work)} is a {kind}; a droplet can hold only files, "
            "folders and links: remove it, or make it when the app starts"
        )
    _tar(work, output, COMPRESS_FAILED)


def pack_cache(cache: Path, output: Path) -> None:
    """Raises BuildError."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        words = f"mkdir {output.parent}: {reason(error)}"
        raise BuildError(f"Failed to create output build artifacts cache dir: {words}") from error
    _tar(cache, output, "Failed to compress build artifacts")


def _special_file(folder: Path) -> tuple[Path, str] | None:
    """The first file under ``folder`` that is none of file, directory, link and socket, and its kind."""
    waiting = [folder]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue  # tar says what is wrong with it
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif not (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
                kind = SPECIAL_FILES.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode))
                if kind is not None:
                    return Path(entry.path), kind
    return None


def _tar(folder: Path, output: Path, failed: str) -> None:
    try:
        run_tool_quietly("tar", "-czf", output, "-C", folder, ".")
    except (ScriptError, LookError) as error:
        raise BuildError(f"{failed}: {error}") from error
