"""Module collector of the bundle: compiles the programs' imports and writes the library's zip.

``collect.py OUT --beside PACKAGE,... ROOT_MODULE... -- SOURCE_FOLDER...`` runs in the bundle's own
interpreter. It looks for the closure of the root modules in the source folders first, then in the standard
library. The zip is uncompressed: the bundle's archive is compressed as a whole, and a start reads straight
from the file. Byte code carries a constant hash and no time, so the same sources give the same bytes.
"""

from __future__ import annotations

import sys
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined] # not in the stubs
from modulefinder import ModuleFinder
from pathlib import Path

NEVER = (
    *("_bz2", "_curses", "_lzma", "_osx_support", "_pydatetime", "_pydecimal", "_pyio", "_scproxy"),
    *(
        "_strptime",
        "bz2",
        "ctypes",
        "curses",
        "distutils",
        "doctest",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "lzma",
    ),
    *("multiprocessing", "nt", "ntpath", "nturl2path", "pdb", "pydoc", "pydoc_data", "pyexpat", "readline"),
    *("rlcompleter", "sqlite3", "test", "tkinter", "turtle", "unittest", "venv", "webbrowser", "winreg"),
    *("xml", "xmlrpc"),
)
"""Modules that only convenience functions of the standard library import."""

ALWAYS = (
    "encodings.aliases",
    "encodings.ascii",
    "encodings.cp437",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "traceback",
    "warnings",
)
"""Modules imported by name at run time, by the interpreter or by a codec look-up."""


WITHOUT = ("_decimal",)
"""Optional extension modules: their importers work without them."""


def closure(roots: list[str], folders: list[Path]) -> dict[str, Path]:
    """Module -> file for every module that ``roots`` import, inside functions too, with extension modules."""
    finder = ModuleFinder(path=[*map(str, folders), *sys.path], excludes=list(NEVER))
    for root in [*roots, *ALWAYS]:
        finder.import_hook(root)
        parent, _, child = root.rpartition(".")
        if parent:
            finder.import_hook(parent, fromlist=[child])
    files = {name: getattr(module, "__file__", None) for name, module in finder.modules.items()}
    return {name: Path(file) for name, file in files.items() if file}


def left_behind(modules: dict[str, Path], folder: Path) -> list[str]:
    """Extension modules that are imported but missing from ``folder``."""
    extensions = {name for name, source in modules.items() if source.suffix == ".so"}
    there = {
        str(path.relative_to(folder)).partition(".")[0].replace("/", ".") for path in folder.rglob("*.so")
    }
    return sorted(extensions - there - set(WITHOUT))


def extensions_folder(out: Path) -> Path:
    """The extension module folder of the bundle whose module zip is ``out``."""
    return next(out.parent.glob("python3.*/lib-dynload"))


def write(out: Path, modules: dict[str, Path], beside: list[str]) -> None:
    """``beside``: top-level packages with extension modules; they go into the extension module folder."""
    folder = extensions_folder(out)
    with zipfile.ZipFile(out, "w") as archive:
        for name, source in sorted(modules.items()):
            if source.suffix != ".py":
                continue
            package = source.name == "__init__.py"
            inside = name.replace(".", "/") + ("/__init__" if package else "")
            code = compile(source.read_bytes(), f"{inside}.py", "exec", dont_inherit=True, optimize=2)
            data = _code_to_hash_pyc(code, bytes(8), False)
            if name.partition(".")[0] in beside:
                target = folder / f"{inside}.pyc"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            else:
                archive.writestr(zipfile.ZipInfo(f"{inside}.pyc", (1980, 1, 1, 0, 0, 0)), data)


def main() -> None:
    out, _, beside, *rest = sys.argv[1:]
    cut = rest.index("--")
    modules = closure(rest[:cut], [Path(folder) for folder in rest[cut + 1 :]])
    if missing := left_behind(modules, extensions_folder(Path(out))):
        sys.exit(f"programs import what the bundle lacks: {', '.join(missing)}; see EXTENSIONS in build.py")
    write(Path(out), modules, beside.split(","))


if __name__ == "__main__":
    main()
