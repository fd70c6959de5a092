"""Debian packages for one architecture: download and unpack without installation."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

COMPILERS = {"amd64": ("gcc", "gcc"), "arm64": ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")}
"""Architecture -> its compiler, and the Debian package of the cross compiler."""


MIN_AGE_S = 3600.0
"""Newer files than this are kept, even when replaced: a running build may use them."""


class PackageError(Exception):
    """A required package or tool is unavailable; ``str()`` says which and why."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command. Raises PackageError with the command's error output."""
    try:
        done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        if error.filename != str(command[0]):
            raise PackageError(f"{' '.join(map(str, command))}: no folder {error.filename}") from error
        raise PackageError(f"{command[0]} is not installed; it is needed for the bundle") from error
    except subprocess.CalledProcessError as error:
        raise PackageError(f"{' '.join(map(str, command))}: {error.stderr.strip()}") from error
    return done.stdout


@contextmanager
def one_at_a_time(cache: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, so that concurrent builds wait for each other."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def drop_others(current: Path, pattern: str) -> None:
    """Remove what matches ``pattern`` beside ``current``, unless another build may still read it."""
    for path in current.parent.glob(pattern):
        if path != current and time.time() - path.stat().st_mtime > MIN_AGE_S:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def native_architecture() -> str:
    """Debian's name for this machine's architecture."""
    return run("dpkg", "--print-architecture").strip()


def need_tools(tools: dict[str, str]) -> None:
    """Install the missing ``tools`` (program -> Debian package). Raises PackageError if not root."""
    missing = sorted({package for tool, package in tools.items() if shutil.which(tool) is None})
    if not missing:
        return
    if os.geteuid() != 0:
        raise PackageError(f"the bundle's build needs these packages installed: {' '.join(missing)}")
    print(f"bundle: installing {' '.join(missing)}", file=sys.stderr)
    run("apt-get", "update")
    run("apt-get", "install", "-y", "--no-install-recommends", *missing)


def compiler(architecture: str) -> str:
    """The C compiler for an architecture, installed if missing. Raises PackageError."""
    native = architecture == native_architecture()
    name, package = ("gcc", "gcc") if native else COMPILERS[architecture]
    need_tools({name: package})
    return name


def default_python() -> str:
    """The version of this machine's Debian Python 3, like ``3.11``."""
    for line in run("apt-cache", "depends", "python3-minimal").splitlines():
        package = line.rpartition(" ")[2]
        if package.startswith("python3.") and package.endswith("-minimal"):
            return package.removeprefix("python").removesuffix("-minimal")
    raise PackageError("apt knows no python3-minimal: run apt-get update, or use a Debian system")


class Archive:
    """Package source of one architecture, with a cache folder."""

    def __init__(self, architecture: str, cache: Path) -> None:
        self.architecture = architecture
        self._cache = cache / architecture
        self._options: list[str] = []

    def fetch(self, packages: Iterable[str], refresh: bool = False) -> list[Path]:
        """The .deb files of ``packages``, in order. Downloaded files are kept until ``refresh``.

        Raises PackageError.
        """
        wanted = sorted(packages)
        key = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:16]
        folder = self._cache / key
        if refresh or not folder.is_dir():
            fresh = self._cache / f"{key}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            self._load_package_lists()
            run(
                "apt-get", *self._options, "-o", "APT::Sandbox::User=root", "download",
                *(f"{package}:{self.architecture}" for package in wanted), cwd=fresh,
            )  # fmt: skip
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        found = sorted(folder.glob("*.deb"))
        if len(found) != len(wanted):
            raise PackageError(
                f"{folder}: {len(found)} packages instead of {len(wanted)}; run with --refresh"
            )
        return found

    def _load_package_lists(self) -> None:
        """Load the package lists of another architecture, separate from the system's lists."""
        if self.architecture == native_architecture():
            return
        state = self._cache.parent / f"apt-{self.architecture}"
        for folder in ("lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        self._options = [
            *("-o", f"APT::Architecture={self.architecture}"),
            *("-o", f"APT::Architectures={self.architecture}"),
            *("-o", f"Dir::State::Lists={state / 'lists'}"),
            *("-o", f"Dir::State::Status={state / 'status'}"),
            *("-o", f"Dir::Cache={state / 'cache'}"),
            *("-o", "APT::Sandbox::User=root"),
        ]
        run("apt-get", *self._options, "update")


def unpack(packages: Iterable[Path], into: Path) -> None:
    """Unpack .deb files into one tree."""
    into.mkdir(parents=True, exist_ok=True)
    for package in packages:
        run("dpkg-deb", "-x", package, into)
