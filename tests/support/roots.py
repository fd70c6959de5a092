"""Root file systems for the bundle; ``roots.py NAME`` prints the path of an archive.

``debian``: minbase with git, by debootstrap (takes a minute, as root, once). ``machine``: the same way, a
machine with systemd, a container engine and what the project's packages depend on. ``musl``: Debian's musl, a
program linked to it and a static busybox. ``bash``: a static busybox and Debian's bash. ``busybox``: only a
static busybox. ``static``: only one static program. ``--arch`` selects another architecture, except for
``debian`` and ``machine``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from lifecycle.bundle.debian import (
    COMPILERS,
    Archive,
    PackageError,
    compiler,
    drop_others,
    native_architecture,
    need_tools,
    one_at_a_time,
    run,
    unpack,
)
from lifecycle.bundle.sources import default_cache

APP = Path(__file__).with_name("roots_app.c")
CACHE = default_cache()
INCLUDE = "git,ca-certificates"
"""Packages that staging needs in addition to Debian's minimum."""
MACHINE = (
    "systemd-sysv,dbus,udev,kmod,procps,docker.io,nftables,iproute2,iptables,busybox-static,catatonit,"
    "curl,ca-certificates,python3,man-db"
)
"""Packages of a machine that is a cell."""
LEFT_OUT = (
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./var/cache/*",
    "./var/lib/apt/*",
)
DIGEST_LENGTH = 12
_LOADERS = {"amd64": "lib64/ld-linux-x86-64.so.2", "arm64": "lib/ld-linux-aarch64.so.1"}
"""Loader path of Debian's programs."""
_MUSL = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}


def root(name: str, architecture: str) -> Path:
    """The archive of a root file system; made if it does not exist. Raises PackageError."""
    build, recipe = ROOTS[name]
    foreign = "" if architecture == native_architecture() else f"-{architecture}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:DIGEST_LENGTH]
    path = CACHE / "roots" / f"{name}{foreign}-{digest}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        try:
            build(fresh, architecture)
            fresh.rename(path)
            drop_others(path, f"{name}{foreign}-{'?' * DIGEST_LENGTH}.tar")
        finally:
            fresh.unlink(missing_ok=True)
    return path


def _debian(archive: Path, architecture: str, include: str = INCLUDE) -> None:
    if architecture != native_architecture():
        raise PackageError(
            "debootstrap runs programs of the root it makes: only for this machine's architecture"
        )
    need_tools({"debootstrap": "debootstrap"})
    source = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages")
    pairs = [line.split() for line in source.splitlines() if len(line.split()) == 2]
    address, codename = next((pair for pair in pairs if "-" not in pair[1]), (None, None))
    if address is None or codename is None:
        raise PackageError("apt knows no Debian archive")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "root")
        run("debootstrap", "--variant=minbase", f"--include={include}", codename, tree, address)
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        run("tar", "-C", tree, "--exclude=./dev/*", *left_out, "-cf", archive, ".")


def _machine(archive: Path, architecture: str) -> None:
    _debian(archive, architecture, MACHINE)


def _packages(architecture: str, *names: str) -> Path:
    """The unpacked packages."""
    folder = CACHE / "unpacked" / "-".join(["roots", architecture, *names])
    if not folder.is_dir():
        packages = Archive(architecture, CACHE / "packages").fetch(names)
        with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
            unpack(packages, Path(fresh, "tree"))
            folder.parent.mkdir(exist_ok=True)
            Path(fresh, "tree").rename(folder)
    return folder


def _compile_app(out: Path, architecture: str, static: bool) -> None:
    tree = _packages(architecture, "musl", "musl-dev")
    triple = _MUSL[architecture]
    library, headers = tree / "usr/lib" / triple, tree / "usr/include" / triple
    loader = f"/lib/ld-musl-{triple.partition('-')[0]}.so.1"
    link = (
        ["-static", library / "libc.a", "-lgcc"]
        if static
        else [f"-Wl,-dynamic-linker,{loader}", "-L", _shared_library(tree).parent, "-lc"]
    )
    run(
        compiler(architecture), "-Os", "-nostdinc", "-nostdlib", "-no-pie", "-fno-pic",
        "-fno-stack-protector", "-isystem", headers, "-o", out, library / "crt1.o", library / "crti.o",
        APP, *link, library / "crtn.o",
    )  # fmt: skip


def _shared_library(tree: Path) -> Path:
    return next(path for path in tree.rglob("libc.so") if not path.is_symlink())


def _musl(archive: Path, architecture: str) -> None:
    tree = _packages(architecture, "musl", "musl-dev")
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        _compile_app(app, architecture, static=False)
        loader = next(path for path in tree.glob("lib/ld-musl-*.so.1"))
        own = {"app": app, f"lib/{loader.name}": _shared_library(tree)}
        _write(archive, {**own, **_busybox_files(architecture)}, _applets())


def _bash(archive: Path, architecture: str) -> None:
    tree = _packages(architecture, "bash", "libc6", "libtinfo6")
    loader = _LOADERS[architecture]
    files = {"bin/bash": tree / "bin/bash", loader: next(tree.rglob(f"lib/*/{Path(loader).name}"))}
    for name in ("libc.so.6", "libtinfo.so.6"):
        found = next(tree.rglob(f"lib/*/{name}"))
        files[f"lib/{found.parent.name}/{name}"] = found
    _write(archive, {**files, **_busybox_files(architecture)}, {**_applets(), "usr/bin": "../bin"})


def _busybox(archive: Path, architecture: str) -> None:
    _write(archive, _busybox_files(architecture), _applets())


def _static(archive: Path, architecture: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        _compile_app(app, architecture, static=True)
        _write(archive, {"app": app}, {})


def _busybox_files(architecture: str) -> dict[str, Path]:
    return {"bin/busybox": _packages(architecture, "busybox-static") / "bin/busybox"}


def _applets() -> dict[str, str]:
    """The applets of this machine's busybox: one version has the same applets on every architecture."""
    busybox = _busybox_files(native_architecture())["bin/busybox"]
    listing = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout
    return {f"bin/{name}": "busybox" for name in listing.split() if name != "busybox"}


def _write(archive: Path, files: dict[str, Path], links: dict[str, str]) -> None:
    with tarfile.open(archive, "w") as tar:
        for name in sorted({str(Path(name).parent) for name in [*files, *links]} - {"."}):
            tar.addfile(_member(name, tarfile.DIRTYPE))
        for name, path in files.items():
            member = _member(name, tarfile.REGTYPE)
            content = path.read_bytes()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = _member(name, tarfile.SYMTYPE)
            member.linkname = target
            tar.addfile(member)


def _member(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, 0o755
    return member


_APP = APP.read_text()
ROOTS: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "debian": (_debian, f"{INCLUDE} {LEFT_OUT}"),
    "machine": (_machine, f"{MACHINE} {LEFT_OUT}"),
    "musl": (_musl, f"{_APP} by name"),
    "bash": (_bash, "busybox and bash in /bin and /usr/bin"),
    "busybox": (_busybox, "busybox"),
    "static": (_static, _APP),
}
"""Name -> its builder, and the text that identifies it in the cache."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the path of a root file system's archive.")
    parser.add_argument("name", choices=sorted(ROOTS))
    parser.add_argument("--arch", choices=sorted(COMPILERS), help="default: this machine's")
    options = parser.parse_args()
    try:
        with one_at_a_time(CACHE):
            print(root(options.name, options.arch or native_architecture()))
    except PackageError as error:
        print(f"roots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
