"""Root file systems that the bundle must work in, as archives: ``roots.py NAME`` prints the archive's path.

``debian``: minbase with git, by debootstrap (takes a minute, as root, once). ``musl``: Debian's musl, a
program linked to it and a static busybox. ``busybox``: a static busybox alone. ``static``: one static
program and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from debian import Archive, PackageError, native_architecture, need_tools, run, unpack  # noqa: E402

CACHE = ROOT / ".cache/bundle"
INCLUDE = "git,ca-certificates"
"""What staging needs beyond Debian's minimum."""
LEFT_OUT = (
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./var/cache/*",
    "./var/lib/apt/*",
)
_MUSL = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}


def root(name: str) -> Path:
    """The archive of a root file system, made unless it is there. Raises PackageError."""
    build, recipe = ROOTS[name]
    path = CACHE / "roots" / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        try:
            build(fresh)
            fresh.rename(path)
        finally:
            fresh.unlink(missing_ok=True)
    return path


def _debian(archive: Path) -> None:
    need_tools({"debootstrap": "debootstrap"})
    source = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages")
    pairs = [line.split() for line in source.splitlines() if len(line.split()) == 2]
    address, codename = next((pair for pair in pairs if "-" not in pair[1]), (None, None))
    if address is None or codename is None:
        raise PackageError("apt knows no Debian archive")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "root")
        run("debootstrap", "--variant=minbase", f"--include={INCLUDE}", codename, tree, address)
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        run("tar", "-C", tree, "--exclude=./dev/*", *left_out, "-cf", archive, ".")


def _packages(*names: str) -> Path:
    """The unpacked packages."""
    folder = CACHE / "unpacked" / "-".join(["roots", *names])
    if not folder.is_dir():
        packages = Archive(native_architecture(), CACHE / "packages").fetch(names)
        with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
            unpack(packages, Path(fresh, "tree"))
            folder.parent.mkdir(exist_ok=True)
            Path(fresh, "tree").rename(folder)
    return folder


def _compile_app(out: Path, static: bool) -> None:
    need_tools({"gcc": "gcc"})
    tree = _packages("musl", "musl-dev")
    triple = _MUSL[native_architecture()]
    library, headers = tree / "usr/lib" / triple, tree / "usr/include" / triple
    loader = f"/lib/ld-musl-{triple.partition('-')[0]}.so.1"
    link = (
        ["-static", library / "libc.a"]
        if static
        else [f"-Wl,-dynamic-linker,{loader}", "-L", _shared_library(tree).parent, "-lc"]
    )
    run(
        "gcc", "-Os", "-nostdinc", "-nostdlib", "-no-pie", "-fno-pic", "-fno-stack-protector",
        "-isystem", headers, "-o", out, library / "crt1.o", library / "crti.o", HERE / "roots/app.c",
        *link, library / "crtn.o",
    )  # fmt: skip


def _shared_library(tree: Path) -> Path:
    return next(path for path in tree.rglob("libc.so") if not path.is_symlink())


def _musl(archive: Path) -> None:
    tree = _packages("musl", "musl-dev")
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        _compile_app(app, static=False)
        loader = next(path for path in tree.glob("lib/ld-musl-*.so.1"))
        files = {"app": app, f"lib/{loader.name}": _shared_library(tree), **_busybox_files()}
        _write(archive, files, _applets())


def _busybox(archive: Path) -> None:
    _write(archive, _busybox_files(), _applets())


def _static(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app")
        _compile_app(app, static=True)
        _write(archive, {"app": app}, {})


def _busybox_files() -> dict[str, Path]:
    return {"bin/busybox": _packages("busybox-static") / "bin/busybox"}


def _applets() -> dict[str, str]:
    listing = subprocess.run(
        [_busybox_files()["bin/busybox"], "--list"], check=True, capture_output=True, text=True
    )
    return {f"bin/{name}": "busybox" for name in listing.stdout.split() if name != "busybox"}


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


_APP = (HERE / "roots/app.c").read_text()
ROOTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "debian": (_debian, f"{INCLUDE} {LEFT_OUT}"),
    "musl": (_musl, f"{_APP} by name"),
    "busybox": (_busybox, "busybox"),
    "static": (_static, _APP),
}
"""Name -> what makes it, and the text that says which one it is in the cache."""


def main() -> int:
    try:
        print(root(sys.argv[1]))
    except PackageError as error:
        print(f"roots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
