"""The lifecycle bundle of a `cell dev`: the archives apps are staged and started with, built when missing.

A bundle is a folder with the three archives that ``make bundle`` makes. From a source tree it is built once
for the sources as they are, and kept in ``.cache/bundle/ready``. Those of earlier sources go, unless a
process of ours or a container has them: whoever uses one holds a lock on its folders meanwhile.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "packaging/bundle/build.py"
SOURCES = ("packaging/bundle", "healthcheck", "lifecycle", "sshd")
READY = ROOT / ".cache/bundle/ready"
UNPACKED = "bundle-"
"""How the names of unpacked ones begin."""
ARCHIVES = ("lifecycle", "buildpack_app_lifecycle", "docker_app_lifecycle")


class BundleError(Exception):
    """There is no bundle and none can be built; says why, and what does not work without."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder of archives, and the in-container programs unpacked."""

    archives: Path
    tree: Path

    def serve(self, static_dir: Path) -> None:
        """Put links to the archives where the Cloud Controller's recipes look for them.

        A file somebody put there, such as the Go bundle, stays.
        """
        for name in ARCHIVES:
            place = static_dir / name / f"{name}.tgz"
            if place.is_symlink():
                place.unlink()
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(self.archives / f"{name}.tgz")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else's :meth:`remove_others` takes it away while inside. Raises BundleError."""
        with ExitStack() as stack:
            for folder in (self.archives, self.tree):
                try:
                    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                except OSError as error:
                    raise BundleError(f"{folder}: {error.strerror}; start again") from error
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_SH)
            yield

    def remove_others(self, mounted: Collection[Path]) -> list[Path]:
        """Remove the bundles of earlier sources; what was removed. mounted: what containers have."""
        folders = [path for path in self.tree.parent.glob(f"{UNPACKED}*") if path != self.tree]
        if self.archives.parent == READY:
            folders += [path for path in READY.iterdir() if path != self.archives and _is_complete(path)]
        free = [each for each in sorted(folders) if not any(path.is_relative_to(each) for path in mounted)]
        return [folder for folder in free if _removed(folder)]


def _removed(folder: Path) -> bool:
    """Whether a folder was there and nobody held it; it is gone then."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(handle)


def _is_complete(folder: Path) -> bool:
    """Not one that is being built."""
    return folder.is_dir() and "." not in folder.name


def ready_bundle(archives: Path | None, cache: Path) -> Bundle:
    """The bundle in ``archives``, or that of this source tree. cache: where one from archives is unpacked.

    Raises BundleError.
    """
    if archives is not None:
        return _unpacked(archives.resolve(), cache)
    if not BUILD.exists():
        raise BundleError("no lifecycle bundle here: name the folder of one with --bundle")
    ready = READY / _sources_hash()
    if not ready.is_dir():
        _build(ready)
    return _unpacked(ready, READY.parent)


def _unpacked(archives: Path, cache: Path) -> Bundle:
    missing = [name for name in ARCHIVES if not (archives / f"{name}.tgz").is_file()]
    if missing:
        raise BundleError(f"{archives} is no lifecycle bundle: {missing[0]}.tgz is missing")
    archive = archives / "lifecycle.tgz"
    with archive.open("rb") as file:
        tree = cache / f"{UNPACKED}{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    if not tree.is_dir():
        fresh = Path(tempfile.mkdtemp(dir=cache))
        try:
            with tarfile.open(archive) as packed:
                # Python 3.11.2 has no filters yet; these archives are of our own making.
                packed.extraction_filter = getattr(tarfile, "data_filter", None)
                packed.extractall(fresh)
            fresh.chmod(0o755)
            fresh.rename(tree)
        except (OSError, tarfile.TarError) as error:
            raise BundleError(f"{archive} cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return Bundle(archives=archives, tree=tree)


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".c"):
                content = path.read_bytes()
                digest.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _build(ready: Path) -> None:
    ready.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{ready.name}.", dir=ready.parent))
    print("building the lifecycle bundle (once for these sources)", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [sys.executable, BUILD, "--output", fresh],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = done.stderr.strip() or f"exit status {done.returncode}"
            raise BundleError(f"the lifecycle bundle cannot be built: {reason}")
        fresh.chmod(0o755)
        if not ready.is_dir():
            os.replace(fresh, ready)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
