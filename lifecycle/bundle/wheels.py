"""Wheels of the Python packages that ``diego-sshd`` needs.

``wheels.txt`` names them with their versions; ``constraints.txt`` of the project includes that file.
``hashes.txt``, which `scripts/lock` writes, has the digests of their files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from lifecycle.bundle.debian import PackageError, run
from lifecycle.bundle.sources import HERE

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
LIBCS = ("2_36", "2_34", "2_28", "2_17")
"""glibc versions of usable wheels: up to the bundle's version."""


def fetch(architecture: str, python: str, cache: Path, refresh: bool) -> list[Path]:
    """The wheels for one architecture and Python version.

    Downloaded wheels are kept. Raises PackageError.
    """
    pinned = HERE / "hashes.txt"
    key = hashlib.sha256(f"{pinned.read_text()} {python}".encode()).hexdigest()[:16]
    folder = cache / architecture / key
    if refresh or not folder.is_dir():
        fresh = cache / architecture / f"{key}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        if importlib.util.find_spec("pip") is None:
            raise PackageError(
                f"{sys.executable} has no pip, which downloads parts of the bundle; run `ensurepip`"
            )
        platforms = [f"manylinux_{libc}_{MACHINES[architecture]}" for libc in LIBCS]
        platforms.append(f"manylinux2014_{MACHINES[architecture]}")
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--require-hashes", "--requirement", pinned,
            "--implementation", "cp", "--python-version", python, "--dest", fresh,
            *(option for platform in platforms for option in ("--platform", platform)),
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return sorted(folder.glob("*.whl"))


def unpack(wheels: Iterable[Path], into: Path) -> None:
    """Unpack wheels into one tree."""
    into.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
