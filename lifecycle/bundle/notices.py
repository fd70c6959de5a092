"""What the bundle says about itself: where each part comes from, and under which licence it is passed on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from lifecycle.bundle.debian import PackageError
from lifecycle.bundle.sources import ROOT

PACKAGES_FILE = "packages.txt"
LICENCES_FOLDER = "licences"
_DOC = "usr/share/doc"
_WHEEL_LICENCES = ("licenses/**/*", "LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "AUTHORS*")


def listing(files: Iterable[Path]) -> str:
    """The packages and wheels that a bundle consists of, as ``sha256sum`` prints and checks them."""
    return "".join(f"{_digest(path)}  {path.name}\n" for path in files)


def manifest(members: Iterable[tuple[str, bytes]]) -> str:
    """The files of an archive, by name and content, as ``sha256sum`` prints and checks them."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members)


def shared_licences(debian: Path) -> set[str]:
    """The packages, not among the unpacked ones, that have the licences of some of these."""
    links = (path for path in (debian / _DOC).iterdir() if path.is_symlink())
    return {link.readlink().name for link in links if not link.exists()}


def write_licences(folder: Path, debian: Path, shared: Path, packages: Iterable[Path], site: Path) -> None:
    """Write the licences of Debian's packages and of the wheels, and our own.

    debian: the unpacked packages. shared: those of ``shared_licences``, unpacked. site: the unpacked wheels.
    Raises PackageError if a part has no licence text.
    """
    for name in sorted(path.name.partition("_")[0] for path in packages):
        place = debian / _DOC / name
        if place.is_symlink() and not place.exists():
            place = shared / _DOC / place.readlink().name
        if not (place / "copyright").is_file():
            raise PackageError(f"package {name} has no licence text")
        _copy(place / "copyright", folder / "debian" / name)
    for metadata in sorted(site.glob("*.dist-info")):
        texts = sorted(set(_licences_of(metadata)))
        if not texts:
            raise PackageError(f"wheel {metadata.name} has no licence text")
        for text in texts:
            name = str(text.relative_to(metadata)).removeprefix("licenses/").replace("/", "-")
            _copy(text, folder / "python" / metadata.name.partition("-")[0] / name)
    own = next((path for path in _own_licences() if path.is_file()), None)
    if own is not None:
        _copy(own, folder / "diego-cell")


def _licences_of(metadata: Path) -> Iterator[Path]:
    for pattern in _WHEEL_LICENCES:
        yield from (path for path in metadata.glob(pattern) if path.is_file())


def _own_licences() -> Iterator[Path]:
    """In a checkout, and in an installed wheel."""
    yield ROOT / "LICENSE"
    yield from ROOT.glob("diego_cell-*.dist-info/**/LICENSE")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
