"""The sources of the bundle, and the cache folder of its builds.

The sources are part of the installed package, so a bundle can be built in a checkout and from a wheel.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
"""The folder of our Python packages: a checkout, or ``site-packages``."""
PREBUILT = HERE / "prebuilt"
"""The archives of the bundle in a wheel that has them (`scripts/wheel`)."""
PACKAGES = ("common", "lifecycle", "healthcheck", "sshd")
"""Our packages with in-container programs."""
_SUFFIXES = (".py", ".c", ".txt")


def sources_hash() -> str:
    """The hash of all source files. It is the same in a checkout and in its wheel."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in _SUFFIXES:
                content = path.read_bytes()
                digest.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def default_cache() -> Path:
    """``.cache/bundle`` of a checkout; ``diego-cell/bundle`` in the user's cache for an installed package."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / ".cache/bundle"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "diego-cell/bundle"
