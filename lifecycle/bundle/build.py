"""Builder of the relocatable bundle, and its command line: ``python -m lifecycle.bundle.build``.

``lifecycle.tgz`` has the programs of both lifecycles: those of buildpack apps at its root, those of docker
apps under ``docker/``. ``buildpack_app_lifecycle.tgz`` and ``docker_app_lifecycle.tgz`` hold the same files
with one lifecycle's programs at the root, as the Cloud Controller expects. ``lib/`` has everything they need:
Debian's interpreter, its shared objects with their loader, and the modules of the standard library that the
programs import.

The same packages and sources give the same bytes. Packages are downloaded once and kept in the cache folder
(``--refresh`` downloads newer ones). A bundle is stored under the hash of all its inputs until a newer bundle
replaces it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lifecycle.bundle import notices, wheels
from lifecycle.bundle.debian import (
    COMPILERS,
    Archive,
    PackageError,
    compiler,
    default_python,
    drop_others,
    native_architecture,
    one_at_a_time,
    run,
    unpack,
)
from lifecycle.bundle.sources import HERE, PACKAGES, ROOT, default_cache, sources_hash
from lifecycle.programs import BUILDPACK, DOCKER, PROGRAMS

COMPILE = (
    *("-Os", "-Wall", "-Wextra", "-Werror", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-pic", "-no-pie", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)

SHARED_OBJECTS = {
    "libc6": ("libc.so.6", "libm.so.6", "libpthread.so.0", "libresolv.so.2"),
    "libgcc-s1": ("libgcc_s.so.1",),
    "zlib1g": ("libz.so.1",),
    "libexpat1": ("libexpat.so.1",),
    "libssl3": ("libssl.so.3", "libcrypto.so.3"),
    "libyaml-0-2": ("libyaml-0.so.2",),
}
"""Package -> files that go into ``lib/``."""
EXTENSIONS = (
    *("_asyncio", "_contextvars", "_hashlib", "_json", "_queue", "_ssl", "_typing"),
    *("resource", "termios"),
)
"""Extension modules of the standard library that are separate from Debian's interpreter."""
PYTHON_PACKAGES = ("python3-yaml",)
"""Debian packages of Python modules that the programs import."""
PACKAGE_EXTENSIONS = ("yaml/_yaml.cpython-*.so",)
"""Extension modules of these packages."""
WHEEL_EXTENSIONS = ("_cffi_backend.cpython-*.so", "cryptography/hazmat/bindings/_rust.abi3.so")
"""Extension modules of the wheels. Packages that contain one are stored beside the library's zip."""
UNZIPPED = ("cryptography", "yaml")
"""The packages that contain an extension module."""
DEBIAN_SITE = "usr/lib/python3/dist-packages"
"""Debian's folder of Python packages."""
BUNDLES = {
    "lifecycle.tgz": {BUILDPACK: "", DOCKER: "docker/"},
    "buildpack_app_lifecycle.tgz": {BUILDPACK: ""},
    "docker_app_lifecycle.tgz": {DOCKER: ""},
}
"""Archive -> lifecycle -> folder of its programs."""


class Build:
    """One bundle for one architecture, from packages to a file tree."""

    def __init__(self, architecture: str, cache: Path, refresh: bool = False) -> None:
        self.architecture = architecture
        self.cache = cache
        self.python = default_python()
        self.native = native_architecture()
        self._compiler = compiler(architecture)
        self.packages = self._fetch(architecture, refresh)
        self.wheels = wheels.fetch(architecture, self.python, cache / "wheels", refresh)
        self.native_packages = (
            self.packages if architecture == self.native else self._fetch(self.native, refresh)
        )

    def _fetch(self, architecture: str, refresh: bool) -> list[Path]:
        version = self.python
        names = [f"python{version}-minimal", f"libpython{version}-minimal", f"libpython{version}-stdlib"]
        return Archive(architecture, self.cache / "packages").fetch(
            [*names, *SHARED_OBJECTS, *PYTHON_PACKAGES], refresh
        )

    @property
    def key(self) -> str:
        """The hash of all inputs."""
        digest = hashlib.sha256(sources_hash().encode())
        for path in (*self.packages, *self.wheels):
            digest.update(path.name.encode())
        return digest.hexdigest()[:16]

    def tree(self) -> Path:
        """The folder with the bundle's files; built if it does not exist. Raises PackageError."""
        done = self.cache / "trees" / f"{self.architecture}-{self.key}"
        if not done.is_dir():
            _make(done, self.fill)
            drop_others(done, f"{self.architecture}-*")
        return done

    def _unpacked(self, architecture: str, packages: list[Path], purpose: str = "") -> Path:
        names = "\n".join(path.name for path in packages)
        prefix = f"{purpose}{architecture}-"
        place = self.cache / "unpacked" / f"{prefix}{hashlib.sha256(names.encode()).hexdigest()[:16]}"
        if not place.is_dir():
            _make(place, lambda fresh: unpack(packages, fresh))
            drop_others(place, f"{prefix}*")
        return place

    def fill(self, tree: Path) -> None:
        debian = self._unpacked(self.architecture, self.packages)
        library = tree / "lib"
        dynamic = library / f"python{self.python}" / "lib-dynload"
        dynamic.mkdir(parents=True)
        _take(debian / f"usr/bin/python{self.python}", library / "python3", 0o755)
        _take(_only(debian, "ld-linux-*.so.*"), library / "ld.so", 0o755)
        for names in SHARED_OBJECTS.values():
            for name in names:
                _take(_only(debian, name), library / name, 0o644)
        for name in EXTENSIONS:
            source = _only(debian, f"{name}.cpython-*.so")
            _take(source, dynamic / source.name, 0o644)
        with tempfile.TemporaryDirectory() as unpacked:
            site = Path(unpacked)
            wheels.unpack(self.wheels, site)
            for place, patterns in ((site, WHEEL_EXTENSIONS), (debian / DEBIAN_SITE, PACKAGE_EXTENSIONS)):
                for pattern in patterns:
                    (source,) = place.glob(pattern)
                    target = dynamic / source.relative_to(place)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _take(source, target, 0o644)
            self._compile_library(library / f"python{self.python.replace('.', '')}.zip", debian, site)
            licences = library / notices.LICENCES_FOLDER
            notices.write_licences(licences, debian, self._shared_licences(debian), self.packages, site)
        (library / notices.PACKAGES_FILE).write_text(notices.listing((*self.packages, *self.wheels)))
        for lifecycle in (BUILDPACK, DOCKER):
            define, out = f'-DLIFECYCLE="{lifecycle}"', tree / f"start-{lifecycle}"
            run(self._compiler, *COMPILE, define, "-o", out, HERE / "start.c")

    def _shared_licences(self, debian: Path) -> Path:
        """The unpacked packages with licences that others refer to."""
        names = notices.shared_licences(debian)
        packages = Archive(self.architecture, self.cache / "packages").fetch(names) if names else []
        return self._unpacked(self.architecture, packages, "licences-")

    def _compile_library(self, out: Path, debian: Path, site: Path) -> None:
        """Compile with Debian's interpreter for this machine: byte code is the same for all architectures."""
        native = self._unpacked(self.native, self.native_packages)
        loader = _only(native, "ld-linux-*.so.*")
        with tempfile.TemporaryDirectory() as sources:
            for package in PACKAGES:
                shutil.copytree(ROOT / package, Path(sources, package))
            run(
                loader, "--library-path", loader.parent, native / f"usr/bin/python{self.python}", "-I", "-S",
                HERE / "collect.py", out, "--beside", ",".join(UNZIPPED), "lifecycle.entry",
                *sorted(set(PROGRAMS.values())), "--",
                sources, site, debian / DEBIAN_SITE,
            )  # fmt: skip


def _only(tree: Path, name: str) -> Path:
    """The only regular file with this name, in any folder of the package."""
    found = {path.resolve() for path in tree.rglob(name) if path.is_file()}
    # not a file of this machine that an absolute link points to
    found = {path for path in found if path.is_relative_to(tree.resolve())}
    if len(found) != 1:
        raise PackageError(f"{len(found)} files are called {name} in the packages, not one")
    return found.pop()


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that is either complete or absent; keep one that another process made meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        fill(fresh)
        if not folder.is_dir():
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _take(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)


def programs(folders: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(member name, lifecycle) of the programs in an archive."""
    for lifecycle, name in sorted(PROGRAMS):
        if lifecycle in folders:
            yield folders[lifecycle] + name, lifecycle


def lay_out(tree: Path, folders: dict[str, str], into: Path) -> None:
    """Put a bundle's files into a folder; programs are hard links to one file per lifecycle."""
    shutil.copytree(tree / "lib", into / "lib")
    first: dict[str, Path] = {}
    for name, lifecycle in programs(folders):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if lifecycle in first:
            target.hardlink_to(first[lifecycle])
        else:
            _take(tree / f"start-{lifecycle}", target, 0o755)
            first[lifecycle] = target


def archive(tree: Path, folders: dict[str, str]) -> bytes:
    """A .tgz of the bundle: sorted, owned by root, without timestamps."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        links: dict[str, str] = {}
        for name, lifecycle in programs(folders):
            member = _member(name, 0o755)
            if lifecycle in links:
                member.type, member.linkname = tarfile.LNKTYPE, links[lifecycle]
                tar.addfile(member)
            else:
                data = (tree / f"start-{lifecycle}").read_bytes()
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
                links[lifecycle] = name
        for path in sorted((tree / "lib").rglob("*")):
            if path.is_file():
                member = _member(str(path.relative_to(tree)), path.stat().st_mode & 0o777)
                member.size = path.stat().st_size
                with path.open("rb") as content:
                    tar.addfile(member, content)
    return gzip.compress(raw.getvalue(), 6, mtime=0)


def _contents(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in an archive, links included."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None, "an archive of files only"
            yield member.name, content.read()


def _member(name: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = mode
    return member


def write_archives(output: Path, cache: Path, architecture: str | None = None, refresh: bool = False) -> None:
    """Write the archives of ``BUNDLES``, each with the digests of its files beside it.

    The caller holds the cache's lock. Raises PackageError.
    """
    tree = Build(architecture or native_architecture(), cache, refresh).tree()
    output.mkdir(parents=True, exist_ok=True)
    for name, folders in BUNDLES.items():
        data = archive(tree, folders)
        (output / name).write_bytes(data)
        (output / f"{name}.sha256sums").write_text(notices.manifest(_contents(data)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Build lifecycle.tgz and the two archives made of it.")
    parser.add_argument("--arch", choices=sorted(COMPILERS), help="default: this machine's")
    parser.add_argument("--output", type=Path, default=Path("dist"), help="folder for the archives")
    parser.add_argument("--tree-only", type=Path, help="make no archives, just this new folder")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--refresh", action="store_true", help="fetch the newest packages")
    options = parser.parse_args()
    cache = options.cache.resolve()
    try:
        with one_at_a_time(cache):
            if options.tree_only:
                tree = Build(options.arch or native_architecture(), cache, options.refresh).tree()
                lay_out(tree, BUNDLES["lifecycle.tgz"], options.tree_only)
            else:
                write_archives(options.output, cache, options.arch, options.refresh)
    except PackageError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    if not options.tree_only:
        for name in BUNDLES:
            print(f"{options.output / name} {(options.output / name).stat().st_size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
