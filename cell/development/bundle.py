"""The lifecycle bundle of `cell dev`: archives for staging and starting apps, built if missing.

A bundle is a folder with the three archives of ``make bundle``. It is built once per state of the sources and
kept in the cache folder of the builds. Bundles of earlier sources are removed unless a process of ours or a
container uses them; users hold a lock on the bundle's folders.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lifecycle.bundle.build import write_archives
from lifecycle.bundle.debian import PackageError, one_at_a_time
from lifecycle.bundle.sources import PREBUILT, default_cache, sources_hash

READY = "ready"
"""Folder of the archives in the cache folder of the builds."""
UNPACKED = "bundle-"
"""Name prefix of unpacked bundles."""
ARCHIVES = ("lifecycle", "buildpack_app_lifecycle", "docker_app_lifecycle")


class BundleError(Exception):
    """There is no bundle and none can be built; the message gives the reason and the consequences."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder of archives, and the unpacked in-container programs."""

    archives: Path
    tree: Path

    def serve(self, static_dir: Path) -> None:
        """Serve the archives, see :func:`serve_archives`."""
        serve_archives(self.archives, static_dir)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Protect the bundle against another process's :meth:`remove_others`. Raises BundleError."""
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
        """Remove bundles of earlier sources; returns them. mounted: host paths that containers use."""
        folders = [path for path in self.tree.parent.glob(f"{UNPACKED}*") if path != self.tree]
        siblings = self.archives.parent
        if siblings == self.tree.parent / READY:
            folders += [path for path in siblings.iterdir() if path != self.archives and _is_complete(path)]
        free = [each for each in sorted(folders) if not any(path.is_relative_to(each) for path in mounted)]
        return [folder for folder in free if _removed(folder)]


def serve_archives(archives: Path, static_dir: Path) -> None:
    """Link the archives at the paths that the Cloud Controller's recipes use.

    An existing file, such as the Go bundle, stays.
    """
    for name in ARCHIVES:
        link = static_dir / name / f"{name}.tgz"
        if link.is_symlink():
            link.unlink()
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(archives / f"{name}.tgz")


def check_complete(archives: Path) -> None:
    """Raises BundleError if an archive is missing."""
    missing = [name for name in ARCHIVES if not (archives / f"{name}.tgz").is_file()]
    if missing:
        raise BundleError(f"{archives} is not a lifecycle bundle: {missing[0]}.tgz is missing")


def _removed(folder: Path) -> bool:
    """Remove a folder; False if it does not exist or is locked."""
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
    """False for a bundle under construction."""
    return folder.is_dir() and "." not in folder.name


def given_bundle(archives: Path, folder: Path) -> Bundle:
    """The bundle in ``archives``, unpacked into a new folder inside ``folder``. Raises BundleError."""
    return _unpacked(archives.resolve(), folder)


def own_bundle() -> Bundle:
    """The bundle of this version's sources; built if it does not exist. Raises BundleError."""
    cache = default_cache()
    ready = PREBUILT if PREBUILT.is_dir() else cache / READY / sources_hash()
    try:
        with one_at_a_time(cache):
            if not ready.is_dir():
                _build(ready, cache)
            return _unpacked(ready, cache)
    except (PackageError, OSError) as error:
        raise BundleError(f"the lifecycle bundle cannot be built: {error}") from error


def _unpacked(archives: Path, cache: Path) -> Bundle:
    check_complete(archives)
    archive = archives / "lifecycle.tgz"
    with archive.open("rb") as file:
        tree = cache / f"{UNPACKED}{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    if not tree.is_dir():
        fresh = Path(tempfile.mkdtemp(dir=cache))
        try:
            with tarfile.open(archive) as packed:
                # Python 3.11.2 has no extraction filters; these archives are our own.
                packed.extraction_filter = getattr(tarfile, "data_filter", None)
                packed.extractall(fresh)
            fresh.chmod(0o755)
            fresh.rename(tree)
        except (OSError, tarfile.TarError) as error:
            raise BundleError(f"{archive} cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return Bundle(archives=archives, tree=tree)


def _build(ready: Path, cache: Path) -> None:
    """The caller holds the cache's lock, so a bundle under construction is of a killed process.

    Raises PackageError, OSError.
    """
    ready.parent.mkdir(exist_ok=True)
    for abandoned in [path for path in ready.parent.iterdir() if not _is_complete(path)]:
        shutil.rmtree(abandoned, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{ready.name}.", dir=ready.parent))
    print("building the lifecycle bundle (once for these sources)", file=sys.stderr, flush=True)
    try:
        write_archives(fresh, cache)
        fresh.chmod(0o755)
        fresh.rename(ready)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
